"""When which connection's authorizer is asked again: `refreshAfterInSeconds`, as a schedule without clock or I/O.

::

    begin ──> due at CONNACK + interval ──take──> being asked ──answered──> due one interval after it was due before
                                                      │
                                 end, at any time ─────┴──> forgotten

The first turn of an idle connection may be put off once, as the service may do (`Choices.first_refresh_delay_seconds`).

Times are of the clock that can be moved (`at`), but for `now`, which is real: an authorizer answers in real time. A
test that moves the clock by a day in one step has passed many refreshes before the first answer is there. So that each
of them is still asked at its time, and what is due later does not overtake it, the schedule says how far time has come:
while an answer is outstanding, it goes on from the moment of the question no faster than real time does. On the real
clock that changes nothing.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from math import inf
from typing import Final

from .authentication import Question


@dataclass(slots=True, eq=False)
class Refresh:
    """One connection's turn: what is asked, and when it is due."""

    connection: int
    question: Question
    source_ip: str | None
    begun: float
    after_seconds: int
    """All intervals so far. Added up as whole numbers, a day of them comes out as the very end of a connection's life,
    which it would not as floats."""
    first: bool = True
    """Whether it is the first after CONNECT, and was not put off."""
    ended: bool = False

    @property
    def due(self) -> float:
        """When its turn is."""
        return self.begun + self.after_seconds


class Refreshes:
    """The connections whose authorizer is asked again."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Refresh]] = []
        self._order: Final = itertools.count()
        self._by_connection: dict[int, Refresh] = {}
        self._asking: dict[int, tuple[float, float]] = {}  # connection -> due, real time of the question; oldest first

    def __len__(self) -> int:
        return len(self._by_connection)

    def begin(
        self, connection: int, question: Question, source_ip: str | None, *, after_seconds: int, at: float
    ) -> None:
        """Have the question asked again, `after_seconds` from `at`."""
        refresh = Refresh(connection, question, source_ip, at, after_seconds)
        self._by_connection[connection] = refresh
        self._plan(refresh)

    def end(self, connection: int) -> None:
        """Ask no more for this connection."""
        refresh = self._by_connection.pop(connection, None)
        if refresh is not None:
            refresh.ended = True
        self._asking.pop(connection, None)

    def next_at(self) -> float | None:
        """Return when the next is due; None if none is."""
        while self._heap and self._heap[0][2].ended:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, at: float, *, now: float) -> Refresh | None:
        """Take the next that is due, to be asked now."""
        following = self.next_at()
        if following is None or following > at:
            return None
        refresh = heapq.heappop(self._heap)[2]
        self._asking[refresh.connection] = (refresh.due, now)
        return refresh

    def answered(self, refresh: Refresh) -> bool:
        """The answer is there; False if the connection has ended meanwhile."""
        self._asking.pop(refresh.connection, None)
        return not refresh.ended

    def again(self, refresh: Refresh, *, after_seconds: int) -> None:
        """Plan the next turn, counted from when this one was due."""
        refresh.after_seconds += after_seconds
        refresh.first = False
        self._plan(refresh)

    def put_off(self, refresh: Refresh, *, seconds: int) -> None:
        """Plan a turn that was taken for so much later; those after it are counted from there."""
        self._asking.pop(refresh.connection, None)
        self.again(refresh, after_seconds=seconds)

    def time_has_come_to(self, now: float) -> float:
        """Return the time up to which things may be done; without end when nothing is being asked."""
        for due, asked in self._asking.values():
            return due + now - asked
        return inf

    def _plan(self, refresh: Refresh) -> None:
        heapq.heappush(self._heap, (refresh.due, next(self._order), refresh))
