"""What is owed to the service: one acknowledgement for each received QoS 1 packet (MQTT 5).

The service keeps at most 100 packets unacknowledged and then sends nothing more on the whole connection, whichever
subscription holds them. So all open receipts of a connection stand in one `Receipts`, in the order of arrival; when it
has been full for some seconds with the same oldest packet, a warning tells who holds how many.

The native thread adds, any thread settles. Neither takes a lock for a packet that went to one subscription: adding to
and taking from a dict is atomic, and a second settling finds nothing.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from .clock import Clock
from .limits import MAX_IN_FLIGHT

if TYPE_CHECKING:
    from .inbox import Registration

STALL_AFTER_SECONDS: Final = 5.0

_log = logging.getLogger("iot_customauth_client.inbox")

Acknowledge = Callable[[], bool]
"""Sends the acknowledgement and says whether it could: not once the connection of the packet is gone."""


class Receipt:
    """The acknowledgement owed for one packet by the one who has it; `holder` is `None` while nobody does."""

    __slots__ = ("_acknowledge", "_open", "holder")

    def __init__(
        self, open_receipts: dict[Receipt, None], acknowledge: Acknowledge, holder: Registration | None
    ) -> None:
        self._open = open_receipts
        self._acknowledge = acknowledge
        self.holder = holder
        open_receipts[self] = None

    def settle(self) -> bool:
        """Acknowledge the packet; return whether that could be sent."""
        self._open.pop(self, None)
        return self._acknowledge()

    @property
    def void(self) -> bool:
        """Whether the connection of the packet is gone: the service will send it again to a kept session."""
        return self._acknowledge is _gone

    def make_void(self) -> None:
        """Let go of the connection that the packet came by."""
        self._acknowledge = _gone

    def holders(self) -> Sequence[Registration | None]:
        """Who has not settled yet."""
        return (self.holder,)


class JointReceipt(Receipt):
    """The acknowledgement owed for one packet by several; it is sent when the last of them has settled."""

    __slots__ = ("_lock", "_owing")

    def __init__(
        self, open_receipts: dict[Receipt, None], acknowledge: Acknowledge, holders: Sequence[Registration]
    ) -> None:
        super().__init__(open_receipts, acknowledge, None)
        self._lock = threading.Lock()
        self._owing = list(holders)

    def settle_for(self, holder: Registration) -> bool:
        """Note that one is done with the packet; return whether that could be passed on."""
        with self._lock:
            if holder in self._owing:
                self._owing.remove(holder)
            if self._owing:
                return not self.void
        return self.settle()

    def holders(self) -> Sequence[Registration | None]:
        """Who has not settled yet."""
        with self._lock:
            return tuple(self._owing)


class Share:
    """One holder's part of a `JointReceipt`."""

    __slots__ = ("_holder", "_joint")

    def __init__(self, joint: JointReceipt, holder: Registration) -> None:
        self._joint = joint
        self._holder = holder

    def settle(self) -> bool:
        """Note that this holder is done."""
        return self._joint.settle_for(self._holder)


class Receipts:
    """The open receipts of one connection. `clock` is the real one: what stalls here is a socket."""

    def __init__(self, clock: Clock, *, limit: int = MAX_IN_FLIGHT, client_id: str | None = None) -> None:
        self._clock = clock
        self._limit = limit
        self._client_id = client_id
        self._open: dict[Receipt, None] = {}
        self._watching = False
        self._warned = False

    def __len__(self) -> int:
        return len(self._open)

    def owe(self, acknowledge: Acknowledge, holder: Registration | None) -> Receipt:
        """Note a packet that went to one holder, or to nobody yet (native thread)."""
        receipt = Receipt(self._open, acknowledge, holder)
        if len(self._open) >= self._limit and not self._watching:
            self._watch()
        return receipt

    def owe_jointly(self, acknowledge: Acknowledge, holders: Sequence[Registration]) -> JointReceipt:
        """Note a packet that went to several holders (native thread)."""
        receipt = JointReceipt(self._open, acknowledge, holders)
        if len(self._open) >= self._limit and not self._watching:
            self._watch()
        return receipt

    def make_void(self) -> None:
        """The connection is gone: nothing of it can be acknowledged any more, and the next one begins with none."""
        for receipt in self._open.copy():
            receipt.make_void()
            self._open.pop(receipt, None)

    def _watch(self) -> None:
        """Look again in some seconds, if the oldest of this moment is still there."""
        self._watching = True
        oldest = next(iter(self._open.copy()), None)
        me = weakref.ref(self)

        def look() -> None:
            receipts = me()
            if receipts is not None:
                receipts._look(oldest)

        self._clock.call_at(self._clock.monotonic() + STALL_AFTER_SECONDS, look)

    def _look(self, oldest: Receipt | None) -> None:
        count = len(self._open)
        if self._warned and count < self._limit // 2:
            self._warned = False
            _log.info("received messages are acknowledged again client_id=%s unacknowledged=%d", self._client_id, count)
        elif not self._warned and count >= self._limit and oldest in self._open:
            self._warned = True
            self._warn(count)
        self._watching = False
        if self._warned or len(self._open) >= self._limit:
            self._watch()

    def _warn(self, count: int) -> None:
        held = Counter(holder for receipt in self._open.copy() for holder in receipt.holders())
        names = ", ".join(f"{_name(holder)} holds {number}" for holder, number in held.most_common(5))
        _log.warning(
            "%d received messages have been unacknowledged for %g s: the service sends nothing more on this connection "
            "until some are acknowledged client_id=%s (%s). Read the iterator, let the handler return sooner, or call "
            'Message.ack() with ack="manual".',
            count,
            STALL_AFTER_SECONDS,
            self._client_id,
            names,
        )


def _name(holder: Registration | None) -> str:
    return "no subscription yet" if holder is None else repr(holder.topic_filter)


def _gone() -> bool:
    """Stand in for the acknowledgement of a packet whose connection is gone."""
    return False
