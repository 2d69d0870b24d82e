"""How much was accepted and how much of that has ended: the counts of an outbox, and who waits for them.

An entry ends once: `_mark_settled` decides who of several is told of it, under the one lock that the acknowledgements
of the service take as well. So that lock must never be held while anything else is done, and publishers never hold it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .outgoing import SETTLED, Outgoing
from .waiting import Waiting


class Ledger:
    """The counts of one outbox. Acceptance is counted under the lock of the outbox for that, ends under `_settling`."""

    __slots__ = (
        "_accepted_bytes",
        "_accepted_messages",
        "_settled_bytes",
        "_settled_messages",
        "_settling",
        "_stored_messages",
        "_waiting",
        "acknowledged",
        "dropped",
        "failed",
        "lost",
        "throttled",
    )

    def __init__(self) -> None:
        self._settling = threading.Lock()
        self._waiting = Waiting(self._settling)
        self._accepted_messages: int = 0
        self._accepted_bytes: int = 0
        self._settled_messages: int = 0
        self._settled_bytes: int = 0
        self._stored_messages: int = 0
        self.acknowledged = 0
        """Messages that the service took (QoS 0: that were written)."""
        self.failed = 0
        """Messages that ended with an error, at the end of the connection or before."""
        self.lost = 0
        """Messages that were not acknowledged when the connection ended."""
        self.dropped = 0
        """Messages that had to make room for newer ones."""
        self.throttled = 0
        """How often the service put a message off (PUBACK 151)."""

    @property
    def accepted(self) -> int:
        """Messages accepted since the connection was made, with those that an earlier process left."""
        return self._accepted_messages

    @property
    def unacknowledged(self) -> int:
        """Messages accepted and not settled."""
        return self._accepted_messages - self._settled_messages

    def wait_empty(self, timeout: float | None) -> bool:
        """Wait until all that was accepted is settled; `False` if `timeout` seconds were not enough."""
        return self._wait_for(lambda: self.unacknowledged == 0, timeout)

    def _wait_for(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        return self._waiting.wait_for(condition, timeout)

    def _mark_settled(self, entry: Outgoing) -> bool:
        if entry.settled:
            entry.state = SETTLED  # the pump may have had it in its hands
            return False
        entry.settled = True
        entry.state = SETTLED
        self._settled_messages += 1
        self._settled_bytes += len(entry.payload)
        self._stored_messages -= entry.stored
        if self._waiting.condition is not None:
            self._waiting.tell()
        return True
