"""Which message or subscription makes the service hang up: found by what the ends of connections have in common.

A publish or a subscription that the policy does not allow ends the connection: with MQTT 3.1.1 always, by a hang-up
without a word; with MQTT 5 it is told by a reason code, except for messages with QoS 0. A client that just reconnects
and sends the same again is thrown out for ever. But networks hang up too, so one end proves nothing.

The rules
---------
*Suspects* of an end are what was sent within its last five seconds and not answered. What was sent with QoS 0 gets no
answer and cannot be sent again: there the topic is what is suspected, and only if the *first* message to it over that
connection went out just before the end; a topic that was survived once is allowed. *Just before* is within half a
second, or within the time that the connect took if that is longer (TLS and the authorizer take longer than a verdict on
a message), and two seconds at most. An end that is explained by
something else (a takeover, a time-out, our own DISCONNECT) has no suspects. There are three kinds of ends:

===========  =====================================================  ===================================
kind         how it looks                                           what it proves
===========  =====================================================  ===================================
*said*       DISCONNECT with a reason code (MQTT 5)                 the service did it
*hung up*    TLS was closed in good order, without a word           the service did it
*cut*        TCP ended in the middle of TLS (FIN or RST)            nothing: networks do that
===========  =====================================================  ===================================

A cut convicts nobody, ever, however often it happens. It only counts for rule 2: a service that hangs up on somebody
who goes on sending looks like a cut too, and does not if one thing is sent at a time. Ends of the other two kinds:

1. *alone, twice*: who was the only suspect of two of them in a row is guilty; a topic of QoS 0 of three of them, if
   nothing was said;
2. *one at a time*: if somebody is a suspect for the second time in a row, among others, the next connection sends one
   thing at a time until they are through (`narrow`). Whoever is innocent gets its answer; the guilty one is alone at
   the next end, and guilty then, since that is at least the third in a row that it is part of;
3. *known already*: a topic or filter that was found guilty within ten minutes, under the same credentials, is guilty
   at once when it is the only suspect.

So a lone message costs two connections, one among many costs three. If after four ends in a row several topics of
QoS 0 cannot be told apart, all of them are found guilty: they carry messages that may get lost anyway.

Pure: no clock, no socket, no message. The session collects suspects, and fails who is guilty with `PolicyDenied`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Literal

Action = Literal["iot:Publish", "iot:Subscribe"]

SUSPECT_SECONDS: Final = 5.0
"""The service hangs up at once; who has waited longer than this for an answer is not why."""
_QOS0_SUSPECT_SECONDS: Final = (0.5, 2.0)
_GUILTY_SECONDS: Final = 600.0
_IN_A_ROW: Final = 2
_AMONG_OTHERS: Final = 3
_CANNOT_TELL: Final = 4


def qos0_suspect_seconds(connect_seconds: float) -> float:
    """Return how soon after a message with QoS 0 an end may be its fault, given how long the connect took."""
    shortest, longest = _QOS0_SUSPECT_SECONDS
    return min(longest, max(shortest, connect_seconds))


class EndKind(Enum):
    """How a connection ended: see the table above."""

    SAID = auto()
    HUNG_UP = auto()
    CUT = auto()


@dataclass(frozen=True, slots=True)
class Suspect:
    """Something that was sent and not answered. `key` tells it from others; for QoS 0 it is the topic."""

    key: Hashable
    action: Action
    topic: str
    qos: int = 1


_NOBODY: Final[frozenset[Hashable]] = frozenset()


class Quarantine:
    """Compares the ends of one session's connections. Not thread-safe: for one owner."""

    def __init__(self) -> None:
        self._ends: dict[Hashable, int] = {}
        self._by_service: dict[Hashable, int] = {}
        self._alone: dict[Hashable, int] = {}
        self._guilty: dict[tuple[Action, str], float] = {}
        self._qos0 = _NOBODY
        self._narrow = False

    @property
    def narrow(self) -> bool:
        """Whether the next connection should send one thing at a time."""
        return self._narrow

    def cleared(self) -> None:
        """Nobody is suspected any more: what was suspected has been answered, or the end was explained."""
        self._ends, self._by_service, self._alone = {}, {}, {}
        self._narrow = False

    def got_through(self) -> None:
        """All that was suspected and can be answered has been; topics of QoS 0 get no answer, and stay suspected."""
        self._ends, self._by_service, self._alone = (
            {key: times for key, times in counts.items() if key in self._qos0}
            for counts in (self._ends, self._by_service, self._alone)
        )
        self._narrow = False

    def pardon(self) -> None:
        """Forget who was found guilty: other credentials may bring another policy."""
        self._guilty = {}
        self.cleared()

    def ended(self, suspects: Sequence[Suspect], now: float, kind: EndKind) -> tuple[Suspect, ...]:
        """Count an end that nothing else explains, at a monotonic time; return who is guilty."""
        self._guilty = {each: at for each, at in self._guilty.items() if now - at < _GUILTY_SECONDS}
        by_key = {each.key: each for each in suspects}
        self._qos0 = frozenset(key for key, each in by_key.items() if each.qos == 0)
        self._ends = _counted(self._ends, by_key)
        guilty: tuple[Suspect, ...] = ()
        if kind is not EndKind.CUT:
            self._by_service = _counted(self._by_service, by_key)
            self._alone = _counted(self._alone, by_key) if len(by_key) == 1 else {}
            guilty = self._verdict(list(by_key.values()), kind)
        for each in guilty:
            self._guilty[each.action, each.topic] = now
            for counts in (self._ends, self._by_service, self._alone):
                counts.pop(each.key, None)
        again = any(times >= _IN_A_ROW for times in self._ends.values())
        self._narrow = not guilty and (self._narrow or again) and bool(by_key)
        return guilty

    def _verdict(self, suspects: list[Suspect], kind: EndKind) -> tuple[Suspect, ...]:
        if len(suspects) == 1:
            (only,) = suspects
            known = (only.action, only.topic) in self._guilty
            wordless_qos0 = only.qos == 0 and kind is EndKind.HUNG_UP
            alone, times = self._alone[only.key], self._by_service[only.key]
            enough = times >= _AMONG_OTHERS if not wordless_qos0 else alone >= _AMONG_OTHERS
            return (only,) if known or enough or (alone >= _IN_A_ROW and not wordless_qos0) else ()
        unsure = [each for each in suspects if self._by_service[each.key] >= _CANNOT_TELL]
        if unsure and all(each.qos == 0 for each in unsure):
            return tuple(unsure)
        return ()


def _counted(before: dict[Hashable, int], keys: Iterable[Hashable]) -> dict[Hashable, int]:
    """Return how often in a row each of these was among them, this time included."""
    return {key: before.get(key, 0) + 1 for key in keys}
