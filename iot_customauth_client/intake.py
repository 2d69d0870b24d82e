"""Between acceptance and the pump: messages that wait for the outbox to be opened, or to be stored.

They leave in the order in which they came. A QoS 0 message is not stored, but it waits behind the QoS 1 messages
before it; one that has ended meanwhile is passed over. The outbox's lock of acceptance guards all of this.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .journal import Journal
    from .outgoing import Outgoing


class Intake:
    """What was accepted and may not be sent yet. Has no lock of its own."""

    def __init__(self) -> None:
        self.waiting: deque[Outgoing] | tuple[()] = ()  # a deque with the first: an empty one takes 760 bytes
        self.opened = False
        self.journal: Journal | None = None

    @property
    def direct(self) -> bool:
        """Whether messages need not wait here at all."""
        return self.opened and self.journal is None

    def add(self, entry: Outgoing) -> None:
        """Take a message that was accepted after all that wait here."""
        if not isinstance(self.waiting, deque):
            self.waiting = deque()
        self.waiting.append(entry)
        self._store(entry)

    def open(self, journal: Journal | None) -> list[Outgoing]:
        """Begin to store, or to pass on, what waits; return what may be sent."""
        self.opened, self.journal = True, journal
        for entry in self.waiting:
            self._store(entry)
        return self.ready()

    def ready(self) -> list[Outgoing]:
        """Take out what may be sent, in order."""
        found: list[Outgoing] = []
        waiting = self.waiting
        while isinstance(waiting, deque) and waiting and (self.direct or self._passes(waiting[0])):
            entry = waiting.popleft()
            if not entry.settled:
                found.append(entry)
        return found

    def _passes(self, entry: Outgoing) -> bool:
        return self.opened and (entry.settled or entry.stored or not entry.qos)

    def _store(self, entry: Outgoing) -> None:
        if self.journal is not None and entry.qos and not entry.settled:
            entry.journaled = True
            self.journal.add(entry)
