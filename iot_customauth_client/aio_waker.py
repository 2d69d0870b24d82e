"""How other threads reach an event loop: one wake-up for many calls, and a short pause under load.

Waking a loop costs more than handing it a message: a write to its self-pipe, a system call to read it back, and the
interpreter lock changes hands twice. So acknowledgements and messages are appended to one list for each loop, and the
loop is woken only when no wake-up is under way. Under load even that is once for every message or two, so then the
loop comes back by itself two milliseconds later (it *lingers*), and the native thread works on undisturbed.

Whether lingering pays can only be seen by trying: it doubles what a flood achieves, and it slows down whoever waits for
one answer before the next question. `Pace` tries, compares the rates, and tries ever more rarely what did not help. A
lone message is never delayed.

Nothing here may block, and `post` never raises: it is called on the native thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from .runtime import Runtime

LINGER_SECONDS: Final = 0.002
_QUIET_SECONDS: Final = 0.002
_FEWEST: Final = 8
_MOST: Final = 4_096
_FEW_FACTOR: Final = 32
_CROWD: Final = 3
_WORTHWHILE: Final = 4
_TRIAL: Final = 5
_TERM: Final = 1_000
_AS_GOOD: Final = 0.85

ArgumentT = TypeVar("ArgumentT")
ResultT = TypeVar("ResultT")

_log = logging.getLogger("iot_customauth_client.aio")


class Orphan(Protocol):
    """What is told when its loop was closed."""

    def orphaned(self) -> None:
        """There is no loop any more: end, without waiting. On any thread."""
        ...


class Pace:
    """Decides after each wake-up of a loop whether the next one comes by itself, after `LINGER_SECONDS`.

    *Direct* wake-ups are counted while they follow each other closely. After enough of them comes a trial of a few
    lingering ones. If those handle as much in the same time, lingering goes on, for a term; if not, the number of
    direct wake-ups before the next trial doubles. Wake-ups for one or two things look like question and answer: many
    more of them are needed, so that such a chain meets a trial once in hundreds of rounds.
    """

    __slots__ = ("_began", "_direct_rate", "_handled", "_last", "_lingering", "_needed", "_wakes")

    def __init__(self) -> None:
        self._lingering = False
        self._needed = _FEWEST
        self._wakes = 0
        self._handled = 0
        self._began = 0.0
        self._last = float("-inf")
        self._direct_rate = 0.0

    def lingers(self, handled: int, now: float) -> bool:
        """Note a wake-up and what was handled since the last one, at a time in seconds; say whether to linger now."""
        if self._lingering:
            return self._after_linger(handled, now)
        if now - self._last > _QUIET_SECONDS:
            self._restart(now)
        else:
            self._wakes += 1
            self._handled += handled
        self._last = now
        if self._wakes < self._needed:
            return False
        if self._handled < _CROWD * self._wakes and self._wakes < _FEW_FACTOR * self._needed:
            return False
        self._direct_rate = self._rate(now)
        self._lingering = True
        self._restart(now)
        return True

    def _after_linger(self, handled: int, now: float) -> bool:
        if self._wakes == 0:  # what was handled belongs to the last direct one
            self._restart(now)
            self._wakes = 1
            return True
        self._wakes += 1
        self._handled += handled
        if handled >= _WORTHWHILE and self._wakes < _TERM:
            if self._wakes != _TRIAL:
                return True
            if self._rate(now) >= _AS_GOOD * self._direct_rate:
                self._needed = _FEWEST
                return True
        if self._wakes <= _TRIAL:
            self._needed = min(_MOST, 2 * self._needed)
        self._lingering = False
        self._restart(now)
        self._last = now
        return False

    def _rate(self, now: float) -> float:
        return self._handled / max(now - self._began, 1e-6)

    def _restart(self, now: float) -> None:
        self._wakes = self._handled = 0
        self._began = now


class Waker:
    """Runs calls from any thread on one event loop, in order. Get it by `waker_of`."""

    __slots__ = ("__weakref__", "_awake", "_calls", "_closed", "_later", "_orphans", "_pace", "handled", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.handled = 0
        """What was handled since the last wake-up; consumers add messages that needed none of their own."""
        self._calls: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._awake = False
        self._closed = False
        self._pace = Pace()
        self._later: asyncio.TimerHandle | None = None
        self._orphans: weakref.WeakSet[Orphan] = weakref.WeakSet()

    def adopt(self, orphan: Orphan) -> None:
        """Tell this object, which is held weakly, should the loop be closed. On the loop."""
        self._orphans.add(orphan)

    def post(self, call: Callable[[ArgumentT], None], argument: ArgumentT) -> None:
        """Run `call(argument)` on the loop soon, after all that was posted before. A closed loop drops it."""
        self._calls.append((call, argument))
        # Read without a lock: `_run` looks at the calls again after it has cleared the flag.
        if self._awake and not self.loop.is_closed():
            return
        self._awake = True
        try:
            self.loop.call_soon_threadsafe(self._run)
        except RuntimeError:  # the loop is closed
            self._forsake()

    def _run(self) -> None:
        lingers = False
        try:
            self._work_off()
            # With a timer on its way this run is a second one, from two threads that found the flag down at once.
            lingers = self._later is not None
            if not lingers:
                handled, self.handled = self.handled, 0
                lingers = self._pace.lingers(handled, self.loop.time())
        finally:  # also after a KeyboardInterrupt: whoever runs the loop again, to close, must be heard
            if not lingers:
                self._awake = False
                if self._calls:  # posted while the flag was still up
                    self._awake = True
                    self.loop.call_soon(self._run)
            elif self._later is None:
                self._later = self.loop.call_later(LINGER_SECONDS, self._lingered)

    def _lingered(self) -> None:
        self._later = None
        self._run()

    def _work_off(self) -> None:
        """Run what was posted until now."""
        calls = self._calls
        left = len(calls)
        self.handled += left
        while left:
            left -= 1
            call, argument = calls.popleft()
            try:
                call(argument)
            except Exception:  # noqa: BLE001 - the others have their turn all the same
                _log.exception("a call on the event loop failed")

    def _forsake(self) -> None:
        self._awake = False  # so that every later post comes here as well, and nothing piles up
        self._calls.clear()
        if self._closed:
            return
        self._closed = True
        for orphan in list(self._orphans):
            orphan.orphaned()


_wakers: weakref.WeakValueDictionary[int, Waker] = weakref.WeakValueDictionary()
_making = threading.Lock()


def waker_of(loop: asyncio.AbstractEventLoop) -> Waker:
    """Return the one waker of a loop; it lives as long as somebody uses it."""
    with _making:
        waker = _wakers.get(id(loop))
        if waker is None or waker.loop is not loop:
            waker = _wakers[id(loop)] = Waker(loop)
        return waker


def settle(waiter: asyncio.Future[ArgumentT], value: ArgumentT) -> None:
    """Give a future its result, unless it has ended by now. On the loop."""
    with contextlib.suppress(asyncio.InvalidStateError):
        waiter.set_result(value)


async def in_worker(loop: asyncio.AbstractEventLoop, runtime: Runtime, call: Callable[[], ResultT]) -> ResultT:
    """Run what may block on a worker thread and await its result. Cancelled, the result is dropped."""
    waiter: asyncio.Future[ResultT] = loop.create_future()

    def work() -> None:
        try:
            value = call()
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            finish: Callable[[], None] = partial(_fail, waiter, error)
        else:
            finish = partial(settle, waiter, value)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(finish)

    runtime.workers.submit(work)
    return await waiter


def _fail(waiter: asyncio.Future[Any], error: Exception) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):
        waiter.set_exception(error)
