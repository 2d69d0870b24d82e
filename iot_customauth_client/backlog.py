"""What waits to be sent, in order: what comes from the intake, and what comes back from a lost connection.

`pending` is always in the order of acceptance (`Outgoing.number`). What comes back is put into `returned`, by any
thread and without a lock, and merged in by `put_back` where it was, which is at the front. Nothing here has a lock of
its own: the locks of acceptance and of the pump guard what takes entries out, the one of the pump `put_back`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Final

from .intake import Intake
from .outgoing import Outgoing

_BY_NUMBER: Final = attrgetter("number")


class Backlog:
    """The queues of one outbox."""

    def __init__(self) -> None:
        self.intake = Intake()
        self.pending: deque[Outgoing] = deque()
        self.returned: list[Outgoing] = []

    def __iter__(self) -> Iterator[Outgoing]:
        return chain(self.pending, self.intake.waiting)

    def clear(self) -> None:
        """Forget everything."""
        self.pending.clear()
        self.intake.waiting = ()

    def put_back(self) -> None:
        """Merge what came back into pending, at its place in the order of acceptance. The pump is locked."""
        returned: list[Outgoing] = []
        while self.returned:
            returned.append(self.returned.pop())
        if not returned:
            return
        returned.sort(key=_BY_NUMBER)
        pending, last, before = self.pending, returned[-1].number or 0, []
        while pending and (pending[0].number or 0) < last:
            before.append(pending.popleft())
        pending.extendleft(reversed(list(heapq.merge(before, returned, key=_BY_NUMBER))))

    def remove(self, entry: Outgoing) -> None:
        """Take one message that has ended out of the queues. Accepting and pumping are locked."""
        try:
            self.pending.remove(entry)  # the first ones are found at once
        except ValueError:
            waiting = self.intake.waiting
            if isinstance(waiting, deque) and entry in waiting:
                waiting.remove(entry)
                self.pending.extend(self.intake.ready())

    def take_out(self, unwanted: Callable[[Outgoing], bool]) -> list[Outgoing]:
        """Take some messages out; what was waiting for them in the intake moves on."""
        found = self.take_pending(unwanted) + _take_out(self.intake.waiting, unwanted)
        self.pending.extend(self.intake.ready())
        return found

    def take_pending(self, unwanted: Callable[[Outgoing], bool]) -> list[Outgoing]:
        """Take some messages out of those that may be sent."""
        return _take_out(self.pending, unwanted)

    def oldest_unsent(self, messages: int, size: int) -> Sequence[Outgoing] | None:
        """Return the oldest messages that were never sent: so many, with so many bytes; `None` if there are fewer."""
        found: list[Outgoing] = []
        for entry in self:
            if messages <= 0 and size <= 0:
                break
            if not entry.attempts and not entry.settled:
                found.append(entry)
                messages -= 1
                size -= len(entry.payload)
        return None if messages > 0 or size > 0 else found


def _take_out(place: deque[Outgoing] | tuple[()], unwanted: Callable[[Outgoing], bool]) -> list[Outgoing]:
    """Take some messages, and those that have ended, out of a queue."""
    if not isinstance(place, deque):
        return []
    found = [entry for entry in place if unwanted(entry)]
    if found:
        kept = [entry for entry in place if not entry.settled and not unwanted(entry)]
        place.clear()
        place.extend(kept)
    return found
