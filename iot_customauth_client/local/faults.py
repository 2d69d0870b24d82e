"""Faults on demand: what the broker is to do wrong, to whom, and how often.

    action     packet                                                 what happens
    swallow    CONNACK, PUBACK, SUBACK, UNSUBACK, PINGRESP, PUBLISH   it is not sent; after CONNACK nothing is
    delay      the same                                               it is sent later; all waits for a CONNACK
    answer     CONNECT, PUBLISH (QoS 1), SUBSCRIBE                    nothing is done; the client is told the code
    throttle   CONNECT, PUBLISH                                       it is treated as over the service's rate

`swallow` and `delay` name what the broker sends (so PUBLISH is a delivery), `answer` and `throttle` what a client
sends. A delay is of the clock that can be moved. MQTT 3.1.1 has no reason codes, so an `answer` hangs up on it, as the
service does. Only what the authorizer let through meets a fault of CONNECT or CONNACK. What is swallowed or delayed
is reported as sent. Lost connections are the endpoint's matter, not the broker's.

Each fault is used so many `times`, then it is gone; the oldest that fits is used first. The broker asks; whoever tests
a client tells, from any thread.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from threading import Lock
from typing import Final, Literal, TypeAlias

from ..topics import check_topic_filter, matches
from .codec import ReasonCode
from .codec.packet_types import PacketType
from .codec.reason_codes import ALLOWED

Action: TypeAlias = Literal["swallow", "delay", "answer", "throttle"]
PacketName: TypeAlias = Literal[
    "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "SUBSCRIBE", "SUBACK", "UNSUBACK", "PINGRESP"
]

_SENT: Final = frozenset[PacketName]({"CONNACK", "PUBACK", "SUBACK", "UNSUBACK", "PINGRESP", "PUBLISH"})
_PACKETS: Final[dict[Action, frozenset[PacketName]]] = {
    "swallow": _SENT,
    "delay": _SENT,
    "answer": frozenset({"CONNECT", "PUBLISH", "SUBSCRIBE"}),
    "throttle": frozenset({"CONNECT", "PUBLISH"}),
}
_ANSWERED_BY: Final[dict[PacketName, PacketType]] = {
    "CONNECT": PacketType.CONNACK,
    "PUBLISH": PacketType.PUBACK,
    "SUBSCRIBE": PacketType.SUBACK,
}
_TOPICLESS: Final = frozenset[PacketName]({"CONNECT", "CONNACK", "PINGRESP"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to do wrong.

    times: how often it is still used; None for always.
    client_id: whose packets; None for everybody's.
    topic: topic filter; None for every packet. An answer counts for the topics of its request, a SUBSCRIBE, SUBACK or
        UNSUBACK if any of its filters fits.
    seconds: of a delay.
    reason_code: of an answer.

    Raises ValueError for an action that this packet cannot have, and for a reason code that its answer cannot.
    """

    action: Action
    packet: PacketName
    times: int | None = 1
    client_id: str | None = None
    topic: str | None = None
    seconds: float = 0.0
    reason_code: int = 0

    def __post_init__(self) -> None:
        if self.action not in _PACKETS:
            raise ValueError(f"action {self.action!r} is not one of {', '.join(_PACKETS)}")
        if self.packet not in _PACKETS[self.action]:
            can = ", ".join(sorted(_PACKETS[self.action]))
            raise ValueError(f"{self.action} is not for {self.packet}: it is for {can}")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times is {self.times}: give 1 or more, or None for always")
        if not self.seconds >= 0:
            raise ValueError(f"seconds is {self.seconds}: give 0 or more")
        if self.topic is not None:
            if self.packet in _TOPICLESS:
                raise ValueError(f"{self.packet} has no topic: leave topic out")
            check_topic_filter(self.topic)
        if self.action == "answer":
            allowed = sorted(
                code for code in ALLOWED[_ANSWERED_BY[self.packet]] if code >= ReasonCode.UNSPECIFIED_ERROR
            )
            if self.reason_code not in allowed:
                raise ValueError(
                    f"{self.packet} cannot be answered with reason code {self.reason_code}: give one of "
                    f"{', '.join(map(str, allowed))}"
                )

    def fits(self, actions: Iterable[Action], packet: PacketName, client_id: str, topics: Iterable[str]) -> bool:
        """Tell whether the fault is for this packet."""
        return (
            self.packet == packet
            and self.action in actions
            and self.client_id in (None, client_id)
            and (self.topic is None or any(matches(self.topic, topic) for topic in topics))
        )


class Faults:
    """The faults of one endpoint, oldest first. Its methods may be called from any thread."""

    __slots__ = ("_faults", "_lock")

    def __init__(self) -> None:
        self._faults: tuple[Fault, ...] = ()
        self._lock = Lock()

    @property
    def pending(self) -> tuple[Fault, ...]:
        """The faults that are not used up, with how often they still are used."""
        return self._faults

    def add(self, fault: Fault) -> None:
        """Have a fault used."""
        with self._lock:
            self._faults = (*self._faults, fault)

    def clear(self) -> None:
        """Behave again."""
        with self._lock:
            self._faults = ()

    def swallow(
        self, packet: PacketName, *, times: int | None = 1, client_id: str | None = None, topic: str | None = None
    ) -> None:
        """Do not send a packet."""
        self.add(Fault("swallow", packet, times, client_id, topic))

    def delay(
        self,
        packet: PacketName,
        seconds: float,
        *,
        times: int | None = 1,
        client_id: str | None = None,
        topic: str | None = None,
    ) -> None:
        """Send a packet later, by seconds of the clock that can be moved."""
        self.add(Fault("delay", packet, times, client_id, topic, seconds=seconds))

    def answer(
        self,
        packet: PacketName,
        reason_code: int,
        *,
        times: int | None = 1,
        client_id: str | None = None,
        topic: str | None = None,
    ) -> None:
        """Refuse what a packet asks for, with a reason code."""
        self.add(Fault("answer", packet, times, client_id, topic, reason_code=reason_code))

    def refuse_connects(
        self,
        times: int | None = 1,
        *,
        reason_code: int = ReasonCode.UNSPECIFIED_ERROR,
        client_id: str | None = None,
    ) -> None:
        """Refuse the next CONNECTs."""
        self.answer("CONNECT", reason_code, times=times, client_id=client_id)

    def throttle(
        self, packet: PacketName, *, times: int | None = 1, client_id: str | None = None, topic: str | None = None
    ) -> None:
        """Treat a packet as one that is over the service's rate."""
        self.add(Fault("throttle", packet, times, client_id, topic))

    def take(
        self, actions: Iterable[Action], packet: PacketName, client_id: str, topics: Iterable[str] = ()
    ) -> Fault | None:
        """Use the oldest fault that fits, once; None if there is none. Called by the broker."""
        if not self._faults:
            return None
        topics = tuple(topics)
        with self._lock:
            for index, fault in enumerate(self._faults):
                if fault.fits(actions, packet, client_id, topics):
                    left = None if fault.times is None else fault.times - 1
                    rest = () if left == 0 else (replace(fault, times=left),)
                    self._faults = (*self._faults[:index], *rest, *self._faults[index + 1 :])
                    return fault
        return None
