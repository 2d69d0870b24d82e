"""What the parts of one asyncio connection share: its loop, its session, and what still runs for it.

The session tells what happens on worker threads and on the native thread; `Core` brings it to the loop. A connection
belongs to the loop that opened it: `check` turns users of other loops and threads away, since asyncio's futures know no
locks. Nothing here blocks: what may block is handed to `in_worker`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .aio_waker import in_worker, settle, waker_of
from .clock import Clock
from .errors import ConfigurationError
from .outbox_memory import MemoryOutbox
from .runtime import Runtime
from .session import Session
from .settings import ConnectionSettings
from .state import State, StateChange
from .waiting import Waiting

if TYPE_CHECKING:
    from .opening import GivenOutbox
    from .shared_credentials import Source

T = TypeVar("T")
Listener = Callable[[StateChange], object]

_SLICE_SECONDS: Final = 0.25

_log = logging.getLogger("iot_customauth_client.aio")


class Core:
    """One connection on one event loop. Making it may block: see `Session`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        runtime: Runtime,
        settings: ConnectionSettings,
        source: Source,
        *,
        outbox: GivenOutbox,
        clock: Clock | None,
    ) -> None:
        self.loop = loop
        self.runtime = runtime
        self.waker = waker_of(loop)
        self.post = self.waker.post
        self.state = State.CONNECTING
        self.listeners: list[Listener] = []
        self._over = False
        self._lock = threading.Lock()
        self._ending = Waiting(self._lock)
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._fetches: dict[asyncio.Task[Any], None] = {}
        self.keeps = not isinstance(outbox, MemoryOutbox)
        self.session = Session(
            settings,
            source,
            outbox=outbox,
            clock=clock or runtime.clock,
            runtime=runtime,
            observer=self.observe,
            run_async=self.run_async,
        )

    def start(self) -> None:
        """Begin to connect. Raises `ConfigurationError` if the client id is open already in this process."""
        self.waker.adopt(self)
        self.session.start(self)

    def check(self) -> None:
        """Raise `ConfigurationError` if this is another thread, another event loop, or a child of `fork`."""
        if asyncio._get_running_loop() is not self.loop:
            self.runtime.check()
            raise ConfigurationError(
                "this connection belongs to another event loop or thread than the one that uses it",
                code="wrong_event_loop",
                what_to_do="use it inside the loop that opened it; from a thread with "
                "asyncio.run_coroutine_threadsafe() or loop.call_soon_threadsafe(); or use the sync connect()",
            )
        self.runtime.check()

    # -- what the session tells (worker threads) ----------------------------------------------------------------------

    def observe(self, change: StateChange) -> None:
        """The session's state has changed."""
        if change.state is State.CLOSED:
            with self._lock:
                self._over = True
                self._ending.tell()
        self.post(self._changed, change)

    def run_async(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a user's coroutine on the loop, from any thread; it is cancelled when the connection closes."""
        fetching = self._fetch(coroutine)
        try:
            return asyncio.run_coroutine_threadsafe(fetching, self.loop)
        except RuntimeError:  # the loop is closed
            fetching.close()
            coroutine.close()
            raise

    async def _fetch(self, coroutine: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - coroutines run in tasks
        if self.state is State.CLOSED:
            coroutine.close()
            raise asyncio.CancelledError
        self._fetches[task] = None
        try:
            return await coroutine
        finally:
            self._fetches.pop(task, None)

    # -- waiting (on the loop) ----------------------------------------------------------------------------------------

    async def wait_until(self, condition: Callable[[], bool], timeout: float | None) -> bool:  # noqa: ASYNC109
        """Wait until a condition on the state holds, however briefly; `False` if `timeout` seconds were not enough."""
        if condition():
            return True
        waiter: asyncio.Future[None] = self.loop.create_future()
        entry = (condition, waiter)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(entry)
        return True

    async def in_worker(self, call: Callable[[], T]) -> T:
        """Run what may block on a worker thread and await its result."""
        return await in_worker(self.loop, self.runtime, call)

    async def wait_empty(self, timeout: float | None) -> bool:  # noqa: ASYNC109 - hands it on
        """Wait until the outbox is empty; `False` if `timeout` seconds were not enough."""
        outbox = self.session.outbox
        if not outbox.unacknowledged:
            return True
        cancelled = threading.Event()

        def wait() -> bool:
            # In slices, so that nobody waits on for a coroutine that was cancelled.
            deadline = None if timeout is None else self.runtime.clock.monotonic() + timeout
            while not cancelled.is_set():
                left = _SLICE_SECONDS if deadline is None else deadline - self.runtime.clock.monotonic()
                if outbox.wait_empty(max(0.0, min(left, _SLICE_SECONDS))):
                    return True
                if left <= 0:
                    break
            return False

        try:
            return await self.in_worker(wait)
        finally:
            cancelled.set()

    async def up_or_over(self, timeout: float | None) -> bool:  # noqa: ASYNC109
        """Wait until it is connected or closed; `False` if `timeout` seconds were not enough."""
        return await self.wait_until(lambda: self.state in (State.CONNECTED, State.CLOSED), timeout)

    async def closed(self, timeout: float | None) -> bool:  # noqa: ASYNC109
        """Wait until it is closed; `False` if `timeout` seconds were not enough."""
        return await self.wait_until(lambda: self.state is State.CLOSED, timeout)

    def end_soon(self, seconds: float) -> None:
        """End the connection without anybody waiting for it, whatever the network does."""
        self.session.end()
        clock = self.runtime.clock
        clock.call_at(clock.monotonic() + seconds, self.session.abandon)

    # -- what runs (on the loop) --------------------------------------------------------------------------------------

    def hold(self, task: asyncio.Task[Any]) -> None:
        """Hold a task until it is done; the end of the connection waits for it, then cancels it."""
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def end_tasks(self, timeout: float) -> None:  # noqa: ASYNC109 - after it, they are cancelled
        """Give handlers some time to finish, but for the one that asks for this; then cancel them."""
        await asyncio.sleep(0)  # what was just cancelled leaves its `try` blocks
        current = asyncio.current_task()
        tasks = {task for task in self._tasks if task is not current}
        if not tasks:
            return
        try:
            await asyncio.wait(tasks, timeout=timeout)
        finally:
            for task in tasks:
                task.cancel()
        await asyncio.sleep(0)  # and these theirs

    def _changed(self, change: StateChange) -> None:
        self.state = change.state
        if change.state is State.CLOSED:
            for fetch in list(self._fetches):
                fetch.cancel()
        for condition, waiter in self._waiting:
            if condition():
                settle(waiter, None)
        for listener in tuple(self.listeners):
            self._tell(listener, change)

    def _tell(self, listener: Listener, change: StateChange) -> None:
        try:
            result = listener(change)
        except Exception:  # noqa: BLE001 - the user's code; logged in full
            _log.exception("a callback for state changes failed")
            return
        if inspect.iscoroutine(result):
            task = self.loop.create_task(result)
            task.add_done_callback(_log_failure)
            self.hold(task)

    # -- what the process asks (any thread): see runtime.Closable, aio_waker.Orphan -----------------------------------

    def begin_close(self) -> None:
        """Begin to close, without draining; returns at once."""
        self.session.end()

    def finish_close(self, timeout: float) -> None:
        """Wait until it is closed, at most `timeout` seconds; then abandon what is left of it."""
        if not self._ending.wait_for(lambda: self._over, timeout):
            self.session.abandon()

    def orphaned(self) -> None:
        """The loop is closed: nobody can use the connection any more."""
        self.session.end()


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a callback for state changes failed", exc_info=error)
