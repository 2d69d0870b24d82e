"""Noticing that the device slept: timers stood still, and the world went on.

On Linux the monotonic clock stops while the machine is suspended, and so do all timers; a second clock counts on. The
difference of the two is the time slept. Where there is no second clock, the wall clock serves, which also jumps when
it is set: then a needless check follows, no more. A process that was stopped (SIGSTOP, a frozen container) finds its
timers late instead; that counts too.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from .clock import Clock, Timer
    from .workers import Workers

CHECK_SECONDS: Final = 30.0
_JUMP_SECONDS: Final = 10.0


_log = logging.getLogger("iot_customauth_client.session")


def _counts_on() -> float:
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time() if boot_time is None else time.clock_gettime(boot_time)


class SuspensionWatch:
    """Compares two clocks from time to time. `check` is to be called about every `CHECK_SECONDS`."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, counts_on: Callable[[], float] = _counts_on
    ) -> None:
        self._monotonic = monotonic
        self._counts_on = counts_on
        self._difference = counts_on() - monotonic()
        self._due = monotonic() + CHECK_SECONDS

    def check(self) -> tuple[float, float]:
        """Return by how many seconds timers stood still, and by how many they were late; 0 for less than 10 s."""
        now = self._monotonic()
        difference = self._counts_on() - now
        slept, late = difference - self._difference, now - self._due
        self._difference, self._due = difference, now + CHECK_SECONDS
        return (slept if slept > _JUMP_SECONDS else 0.0, late if late > _JUMP_SECONDS else 0.0)


class Sleeper(Protocol):
    """Who wants to know that time jumped."""

    def time_jumped(self, slept: float, late: float) -> None:
        """Timers stood still for `slept` seconds, or were `late`. Called on a worker thread; must return at once."""
        ...


class SleepWatch:
    """Looks every 30 s of the real clock whether time jumped, for all connections of a process.

    Sleepers are held weakly. There is a timer only while there are any.
    """

    def __init__(self, clock: Clock, workers: Workers) -> None:
        self._clock = clock
        self._workers = workers
        self._lock = threading.Lock()
        self._sleepers: weakref.WeakSet[Sleeper] = weakref.WeakSet()
        self._watch: SuspensionWatch | None = None
        self._timer: Timer | None = None

    def add(self, sleeper: Sleeper) -> None:
        """Tell this one from now on."""
        with self._lock:
            self._sleepers.add(sleeper)
            if self._timer is None:
                self._watch = SuspensionWatch()
                self._set_timer()

    def remove(self, sleeper: Sleeper) -> None:
        """Tell this one no more."""
        with self._lock:
            self._sleepers.discard(sleeper)
            if not self._sleepers and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _set_timer(self) -> None:
        look = partial(self._workers.submit, self._look)
        self._timer = self._clock.call_at(self._clock.monotonic() + CHECK_SECONDS, look)

    def _look(self) -> None:
        with self._lock:
            sleepers = list(self._sleepers)
            if not sleepers or self._watch is None:
                self._timer = None
                return
            slept, late = self._watch.check()
            self._set_timer()
        if slept or late:
            _log.warning("time jumped: suspended_s=%.0f late_s=%.0f connections=%d", slept, late, len(sleepers))
            for sleeper in sleepers:
                sleeper.time_jumped(slept, late)
