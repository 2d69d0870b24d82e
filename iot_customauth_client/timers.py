"""The session's timers: calls on its `Serial` at a later time, that never keep the session alive.

Times of the session's clock (back-off, renewal) can be moved by a test; times of the real clock are about the wire
(time-outs, the pace of CONNECTs), and cannot. Timers belong to a group, and are cancelled by it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from .clock import Clock, Timer
from .workers import Serial

OwnerT = TypeVar("OwnerT")


class Timers(Generic[OwnerT]):
    """Timers whose calls get their owner, if it still lives. All but `posting`'s result is for the owner's `Serial`."""

    __slots__ = ("_owner", "_serial", "_timers")

    def __init__(self, owner: OwnerT, serial: Serial) -> None:
        self._owner = weakref.ref(owner)
        self._serial = serial
        self._timers: dict[str, list[Timer]] = {}

    def at(self, clock: Clock, when: float, call: Callable[[OwnerT], None], group: str) -> None:
        """Call on the `Serial` when `clock` has reached `when`."""
        running = [each for each in self._timers.get(group, ()) if not each.cancelled]
        self._timers[group] = [*running, clock.call_at(when, self.posting(call))]

    def cancel(self, *groups: str) -> None:
        """Cancel the timers of these groups; without arguments, all."""
        for group in groups or tuple(self._timers):
            for timer in self._timers.pop(group, ()):
                timer.cancel()

    def posting(self, call: Callable[[OwnerT], Any]) -> Callable[[], None]:
        """Return a callback for any thread that posts a call to the `Serial`, and does not keep the owner alive."""
        return partial(self._serial.post, partial(_call_alive, self._owner, call))


def _call_alive(reference: weakref.ref[OwnerT], call: Callable[[OwnerT], Any]) -> None:
    owner = reference()
    if owner is not None:
        call(owner)
