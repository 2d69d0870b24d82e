"""Noticing that the device slept: timers stood still, and the world went on.

On Linux the monotonic clock stops while the machine is suspended, and so do all timers; a second clock counts on. The
difference of the two is the time slept. Where there is no second clock, the wall clock serves, which also jumps when
it is set: then a needless check follows, no more. A process that was stopped (SIGSTOP, a frozen container) finds its
timers late instead; that counts too.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .timers import Timers

if TYPE_CHECKING:
    from .clock import Clock
    from .workers import Serial

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


class SleepWatch:
    """Looks every 30 s of the real clock whether time jumped, and tells `woke_up(slept, late)` on the `Serial`.

    `woke_up` is a bound method, and held weakly: a watch keeps nobody alive. Its timer ends with it.
    """

    def __init__(
        self, clock: Clock, serial: Serial, client_id: str | None, *, woke_up: Callable[[float, float], None]
    ) -> None:
        self._clock = clock
        self._client_id = client_id
        self._woke_up = weakref.WeakMethod(woke_up)
        self._watch = SuspensionWatch()
        self._timers: Timers[SleepWatch] = Timers(self, serial)

    def start(self) -> None:
        """Look from now on."""
        self._timers.at(self._clock, self._clock.monotonic() + CHECK_SECONDS, SleepWatch._check, "watch")

    def stop(self) -> None:
        """Look no more."""
        self._timers.cancel()

    def _check(self) -> None:
        slept, late = self._watch.check()
        self.start()
        woke_up = self._woke_up()
        if woke_up is not None and (slept or late):
            _log.warning("time jumped: client_id=%s suspended_s=%.0f late_s=%.0f", self._client_id, slept, late)
            woke_up(slept, late)
