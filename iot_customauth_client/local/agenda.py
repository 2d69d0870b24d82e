"""What is due later, in the order of time: ends of sessions, delayed wills, ends of connections, paced deliveries.

Times are those of the clock that can be moved (`Moment.at`). The agenda starts no timer: its owner asks `next_at` when
to come back, and takes out what is `due`. What was planned for the same time comes out in the order of planning.

A plan that was cancelled stays in the heap until its time, but never more of them than of the others: a client that
comes and goes plans the end of its session each time, and an hour of that must not fill the memory.
"""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Final, TypeAlias

from .effects import Effect
from .moment import Moment

Action: TypeAlias = Callable[[Moment, list[Effect]], None]
"""What is done when the time has come. It appends what has to be carried out to the effects."""

_FEW: Final = 64


class Planned:
    """Something that is due at `when`, unless it is cancelled before."""

    __slots__ = ("_action", "_agenda", "when")

    def __init__(self, agenda: "Agenda", when: float, action: Action) -> None:
        self.when = when
        self._agenda = agenda
        self._action: Action | None = action

    @property
    def pending(self) -> bool:
        """Whether it was neither done nor cancelled."""
        return self._action is not None

    def cancel(self) -> None:
        """Do not do it; without effect if it was done."""
        if self._action is not None:
            self._action = None
            self._agenda.cancelled()

    def fire(self, moment: Moment, effects: list[Effect]) -> None:
        """Do it, once."""
        action, self._action = self._action, None
        if action is not None:
            action(moment, effects)


class Agenda:
    """Everything that is due later."""

    __slots__ = ("_heap", "_idle", "_numbers")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Planned]] = []
        self._idle = 0
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._heap) - self._idle

    def plan(self, when: float, action: Action) -> Planned:
        """Have `action` done at `when`."""
        planned = Planned(self, when, action)
        heapq.heappush(self._heap, (when, next(self._numbers), planned))
        return planned

    def next_at(self) -> float | None:
        """Return when something is due next; None if nothing is planned."""
        while self._heap and not self._heap[0][2].pending:
            heapq.heappop(self._heap)
            self._idle -= 1
        return self._heap[0][0] if self._heap else None

    def due(self, at: float) -> Planned | None:
        """Take out the first that is due, to be done by the caller; None if none is."""
        if not self._heap or self._heap[0][0] > at:  # nothing, cancelled or not: asked for every packet
            return None
        following = self.next_at()
        if following is None or following > at:
            return None
        return heapq.heappop(self._heap)[2]

    def cancelled(self) -> None:
        """Count one that was cancelled; called by `Planned`."""
        self._idle += 1
        if self._idle > max(_FEW, len(self._heap) // 2):
            self._heap = [entry for entry in self._heap if entry[2].pending]
            heapq.heapify(self._heap)
            self._idle = 0
