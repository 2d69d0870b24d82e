"""Time, and calls at a later time; on the real clock or on one that a test moves by hand.

A `Clock` answers two questions and keeps one promise: `now()` is the wall clock (aware, UTC), `monotonic()` never goes
back, and `call_at(when, callback)` calls once when `monotonic()` has reached `when`. Callbacks must be short: they run
on the clock's one thread (`SystemClock`), or on the thread that moves the time (`ManualClock`).

What a `ManualClock` moves is what this package decides by time: back-off, expiry, renewal. Sockets, keep alive and
the native library go on in real time.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias

Callback: TypeAlias = Callable[[], None]

_MANY_CANCELLED = 64

_log = logging.getLogger("iot_customauth_client.clock")


class Timer:
    """A call that is due later. `cancel()` may come from any thread, and more than once."""

    __slots__ = ("_callback", "_on_cancel", "when")

    def __init__(self, when: float, callback: Callback) -> None:
        self.when = when
        self._callback: Callback | None = callback
        self._on_cancel: Callback | None = None

    def cancel(self) -> None:
        """Do not call; without effect if the call was made already."""
        was_due, self._callback = self._callback, None
        if was_due is not None and self._on_cancel is not None:
            self._on_cancel()

    def notify_cancel(self, call: Callback) -> None:
        """Have `call` called when this is cancelled before its time."""
        self._on_cancel = call

    @property
    def cancelled(self) -> bool:
        """Whether nothing will be called any more."""
        return self._callback is None

    def fire(self) -> None:
        """Call once, unless cancelled. An exception is logged: it has nowhere else to go."""
        callback, self._callback = self._callback, None
        if callback is None:
            return
        try:
            callback()
        except Exception:  # noqa: BLE001 - a callback of the owner; logged in full
            _log.exception("a timer's callback failed")


class Clock(Protocol):
    """What the session asks of time."""

    def now(self) -> datetime:
        """Return the wall clock: an aware datetime in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, on the scale of `time.monotonic()`."""
        ...

    def call_at(self, when: float, callback: Callback) -> Timer:
        """Call `callback` once `monotonic()` has reached `when` (seconds). Thread-safe."""
        ...


class _Agenda:
    """Timers in the order in which they are due; cancelled ones go when they come up, or when they are half."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._cancelled = 0

    def add(self, timer: Timer) -> None:
        if self._cancelled > _MANY_CANCELLED and self._cancelled * 2 > len(self._heap):
            self._cancelled = 0
            self._heap = [each for each in self._heap if not each[2].cancelled]
            heapq.heapify(self._heap)
        timer.notify_cancel(self._note_cancelled)
        heapq.heappush(self._heap, (timer.when, next(self._numbers), timer))

    def _note_cancelled(self) -> None:
        self._cancelled += 1  # from any thread, without the lock: a rough count is enough

    def due(self, now: float) -> Timer | None:
        """Take out the first timer that is due, or `None`."""
        if self.next_time() is None or self._heap[0][0] > now:
            return None
        return heapq.heappop(self._heap)[2]

    def next_time(self) -> float | None:
        while self._heap and self._heap[0][2].cancelled:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None


class SystemClock:
    """The real clock. Its one daemon thread starts with the first timer; one instance serves a process."""

    def __init__(self) -> None:
        self._agenda = _Agenda()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def now(self) -> datetime:
        """Return the wall clock, in UTC."""
        return datetime.now(UTC)

    monotonic = staticmethod(time.monotonic)  # three times for each message: so no call that only calls

    def call_at(self, when: float, callback: Callback) -> Timer:
        """Call `callback` on the clock's thread once `monotonic()` has reached `when`."""
        timer = Timer(when, callback)
        with self._changed:
            self._agenda.add(timer)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="iot-customauth-clock", daemon=True)
                self._thread.start()
            self._changed.notify()
        return timer

    def _run(self) -> None:
        while True:
            with self._changed:
                timer = self._agenda.due(time.monotonic())
                if timer is None:
                    following = self._agenda.next_time()
                    left = None if following is None else max(0.0, following - time.monotonic())
                    self._changed.wait(left if left is None else min(left, threading.TIMEOUT_MAX))
                    continue
            timer.fire()


class ManualClock:
    """A clock that stands still until `advance()` moves it. It starts at the real time unless told otherwise.

    It counts microseconds from a whole second on, so that what is due after 86,400 s is due after 288 times 300 s:
    sums of arbitrary floats would come out a little before or behind.
    """

    def __init__(self, start: datetime | None = None) -> None:
        if start is not None and start.tzinfo is None:
            raise ValueError("start must be an aware datetime, for example datetime.now(UTC)")
        self._lock = threading.RLock()
        self._agenda = _Agenda()
        self._now = start or datetime.now(UTC)
        self._monotonic = float(int(time.monotonic()))

    def now(self) -> datetime:
        """Return this clock's wall time."""
        with self._lock:
            return self._now

    def monotonic(self) -> float:
        """Return this clock's monotonic time."""
        with self._lock:
            return self._monotonic

    def call_at(self, when: float, callback: Callback) -> Timer:
        """Call `callback` from within the `advance()` that reaches `when`."""
        timer = Timer(when, callback)
        with self._lock:
            self._agenda.add(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Move the time on, calling what falls due in the order of time, at its time.

        Returns when every timer has been handed to its owner; what the owners do then takes real time, and is waited
        for by other means. `seconds` must not be negative.
        """
        if seconds < 0:
            raise ValueError("time does not go back: seconds must be 0 or more")
        target = round(self.monotonic() + seconds, 6)
        while True:
            with self._lock:
                timer = self._agenda.due(target)
                self._move_to(max(target if timer is None else timer.when, self._monotonic))
            if timer is None:
                return
            timer.fire()

    def _move_to(self, monotonic: float) -> None:
        self._now += timedelta(seconds=monotonic - self._monotonic)
        self._monotonic = monotonic
