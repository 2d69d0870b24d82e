"""A subscription of the asyncio face: an asynchronous iterator, or a handler on the event loop.

The native thread appends messages to a queue and wakes the loop only if somebody waits there: a consumer that is busy
finds the next message in the queue. A message is taken only in the step that hands it over, so one that a cancelled
`get()` was waiting for stays in the queue. Long runs without a pause give the loop back in between.

Acknowledgement is as in the sync face: after the iterator's next step, or when the handler has returned.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from .aio_waker import settle
from .errors import CustomAuthError, NotConnected, OperationTimeout
from .handler_watch import Run, handler_name
from .messages import Message
from .state import State
from .timeouts import GRANT_TIMEOUT_SECONDS, check_timeout

if TYPE_CHECKING:
    from .aio_core import Core
    from .inbox import Registration
    from .opening import Ack, OnHandlerError

Handler: TypeAlias = Callable[[Message], Awaitable[object] | object]

_TURN_SECONDS: Final = 0.005
"""How long messages are handed out before other tasks of the loop get their turn."""

_log = logging.getLogger("iot_customauth_client.subscription")


class Subscription:
    """A subscription to one topic filter. Made by `Connection.subscribe`.

    Without a handler it is an asynchronous iterator of `Message`s, and `get(timeout)` gives the next one. It ends when
    it or the connection is closed, and raises if the service refused it (also after a reconnect) or the connection
    ended by an error; while the connection is away it waits. `async with` waits for the service's answer, if connected,
    and closes at the end: the last subscription to a filter unsubscribes. Several tasks may take messages from one
    subscription; with `ack="auto"` a message is acknowledged when any of them asks for the next.
    """

    def __init__(
        self,
        core: Core,
        topic_filter: str,
        *,
        handler: Handler | None,
        ack: Ack,
        max_queued: int,
        on_handler_error: OnHandlerError,
    ) -> None:
        self.topic_filter = topic_filter
        self._core = core
        self._handler = handler
        self._context = contextvars.copy_context()
        self._ack = ack
        self._redeliver = on_handler_error == "redeliver"
        self._max_queued = max_queued
        self._lock = threading.Lock()
        self._queue: deque[Message] = deque()
        self._droppable = 0
        self._dropped = 0
        self._dropping = False
        self._ended = False
        self._error: CustomAuthError | None = None
        self._wanted = handler is not None
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._answer: asyncio.Future[None] = core.loop.create_future()
        self._granted: int | None = None
        self._unanswered: OperationTimeout | None = None
        self._serving: asyncio.Task[None] | None = None
        self._unsettled: Message | None = None
        self._registration: Registration | None = None
        self._turn_began = 0.0

    # -- what users call ----------------------------------------------------------------------------------------------

    @property
    def granted_qos(self) -> int | None:
        """The QoS that the service granted, or `None` if it has not answered yet."""
        return self._granted

    @property
    def dropped(self) -> int:
        """QoS 0 messages that were dropped since `max_queued` messages were waiting."""
        return self._dropped

    async def wait_granted(self, timeout: float | None = GRANT_TIMEOUT_SECONDS) -> int:  # noqa: ASYNC109
        """Wait for the service's answer and return the granted QoS.

        Raises `PolicyDenied` or another `OperationError` if it refused, `ConnectionClosed` if the connection ended,
        `OperationTimeout` after `timeout` seconds.
        """
        self._core.check()
        check_timeout(timeout)
        if self._granted is None:
            await asyncio.wait((self._answer,), timeout=timeout)
        if self._error is not None:
            raise self._error.copy()
        if self._granted is not None:
            return self._granted
        if self._unanswered is not None:
            raise self._unanswered.copy()
        if self._ended:
            raise NotConnected(f"the subscription to {self.topic_filter!r} was closed before it was granted")
        raise OperationTimeout(f"no answer to the subscription to {self.topic_filter!r} in {timeout} s", stage="sent")

    async def get(self, timeout: float | None = None) -> Message:  # noqa: ASYNC109 - an error that says what was missed
        """Wait for the next message and return it; the one before is acknowledged.

        Raises `OperationTimeout` after `timeout` seconds, `ConnectionClosed` when the subscription has ended, and what
        iterating would raise. Cancelled, it takes no message.
        """
        if timeout is not None:
            check_timeout(timeout)
        message = await self._next(timeout)
        if message is None:
            raise self._core.session.closed_error(f"the subscription to {self.topic_filter!r} has ended")
        return message

    def close(self) -> asyncio.Future[None]:
        """End it at once: nothing more is delivered, and what was not read is acknowledged and dropped.

        On a live connection, the last one of a filter unsubscribes. Await the result to know that a handler which is
        just running has finished; inside that handler there is nothing to await.
        """
        self._core.check()
        self._settle_last()
        return self._close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        message = await self._next(None)
        if message is None:
            raise StopAsyncIteration
        return message

    async def __aenter__(self) -> Self:
        self._core.check()
        try:
            if self._core.state is State.CONNECTED:
                await self.wait_granted()
        except BaseException:
            self._close()  # nobody else will: `async with` does not leave what it has not entered
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # After an exception the message in hand stays unacknowledged: the service sends it again to a kept session.
        if kind is None:
            self._settle_last()
        await self._close()

    def __repr__(self) -> str:
        return f"aio.Subscription({self.topic_filter!r}, granted_qos={self._granted})"

    # -- the inbox's side: see inbox.Sink (any thread) ----------------------------------------------------------------

    def attach(self, registration: Registration) -> None:
        """Know what to take away at the end."""
        self._registration = registration

    def deliver(self, message: Message) -> None:
        """Take a message over (native thread)."""
        with self._lock:
            over = self._ended
            if not over:
                if len(self._queue) >= self._max_queued and self._droppable:
                    self._make_room()
                self._queue.append(message)
                self._droppable += message.qos == 0
            wake, self._wanted = self._wanted and not over, self._wanted and over
        if wake:
            self._core.post(self._arrived, None)
        elif over and self._dropping:
            message.ack()

    def granted(self, qos: int) -> None:
        """The service said yes."""
        self._core.post(self._was_granted, qos)

    def unanswered(self, error: OperationTimeout) -> None:
        """The service has said nothing; it is asked again after the next connect."""
        self._core.post(self._was_not_answered, error)

    def refused(self, error: CustomAuthError) -> None:
        """The service said no, now or after a reconnect."""
        if self._handler is not None:
            _log.warning("subscription to %r refused: %s", self.topic_filter, error.message)
        self.ended(error)

    def ended(self, error: CustomAuthError | None) -> None:
        """There is nothing more to come."""
        with self._lock:
            if not self._ended:
                self._ended = True
                self._error = error
        self._core.post(self._has_ended, None)

    # -- on the loop --------------------------------------------------------------------------------------------------

    def _arrived(self, _: None) -> None:
        self._core.waker.handled -= 1  # the messages count, not the news of them
        if self._handler is None:
            self._wake_one()
        elif self._serving is None:
            self._serving = self._core.loop.create_task(self._serve(self._handler), context=self._context)
            self._core.hold(self._serving)

    def _was_granted(self, qos: int) -> None:
        self._granted, self._unanswered = qos, None
        settle(self._answer, None)

    def _was_not_answered(self, error: OperationTimeout) -> None:
        self._unanswered = error
        settle(self._answer, None)

    def _has_ended(self, _: None) -> None:
        settle(self._answer, None)
        for waiter in self._waiters:
            settle(waiter, None)

    def _wake_one(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
                return

    async def _next(self, timeout: float | None) -> Message | None:  # noqa: ASYNC109 - see get()
        core = self._core
        core.check()
        if self._handler is not None:
            raise TypeError("this subscription has a handler: its messages go there")
        self._settle_last()
        await self._take_turns()
        deadline = None if timeout is None else core.loop.time() + timeout
        while True:
            with self._lock:
                message = self._take()
                if message is None:
                    if self._error is not None:
                        raise self._error.copy()
                    if self._ended:
                        return None
                if message is None or self._waiters:
                    self._wanted = True
            if message is not None:
                self._settle_last()  # what another task has taken meanwhile: this one has asked for the next
                self._unsettled = message
                if self._waiters and self._queue:
                    self._wake_one()
                return message
            if deadline is not None and core.loop.time() >= deadline:
                raise OperationTimeout(f"no message on {self.topic_filter!r} in {timeout} s", stage="queued")
            await self._wait(deadline)
            self._turn_began = core.loop.time()

    async def _wait(self, deadline: float | None) -> None:
        """Wait until a message may have come, or until a time of the loop's clock."""
        loop = self._core.loop
        waiter: asyncio.Future[None] = loop.create_future()
        timer = None if deadline is None else loop.call_at(deadline, settle, waiter, None)
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if self._queue:  # the wake-up was perhaps this one's: pass it on
                self._wake_one()
            raise
        finally:
            self._waiters.remove(waiter)
            if timer is not None:
                timer.cancel()

    async def _take_turns(self) -> None:
        """Let the other tasks of the loop run, if messages have been handed out for a while without a pause."""
        now = self._core.loop.time()
        if now - self._turn_began > _TURN_SECONDS:
            if self._queue:
                await asyncio.sleep(0)
            self._turn_began = now

    async def _serve(self, handler: Handler) -> None:
        """Give the handler what is there, one after the other; the next arrival starts this anew."""
        self._turn_began = self._core.loop.time()
        watch, run = self._core.runtime.handlers, Run(self.topic_filter, handler)
        watch.enter(run)
        try:
            while True:
                with self._lock:
                    message = self._take()
                    if message is None:
                        self._wanted = True
                        return
                run.since = watch.now()
                failed = await self._handle(handler, message)
                run.since = None
                if self._ack == "auto" and not (failed and self._redeliver):
                    message.ack()
                del message
                await self._take_turns()
        except BaseException:
            self._wanted = True  # should it be a handler that cancelled its own task, the next arrival goes on
            raise
        finally:
            self._serving = None
            watch.leave(run)

    async def _handle(self, handler: Handler, message: Message) -> bool:
        """Call the handler for one message; return whether it failed."""
        try:
            result: Any = handler(message)
            if inspect.isawaitable(result):
                await result
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # the connection or the loop ends; otherwise something that the handler awaited was cancelled
            self._count_failure()
            _log.warning("the handler of %r was cancelled for a message on %r", self.topic_filter, message.topic)
            return True
        except Exception:  # noqa: BLE001 - the user's code; logged in full
            self._count_failure()
            name = handler_name(handler)
            _log.exception("the handler %s of %r failed for a message on %r", name, self.topic_filter, message.topic)
            return True
        return False

    # -- inside -------------------------------------------------------------------------------------------------------

    def _close(self) -> asyncio.Future[None]:
        core = self._core
        registration, self._registration = self._registration, None
        if registration is not None:
            core.session.unregister(registration)
            with self._lock:
                # Unread messages would fill the 100 that the service sends unacknowledged, and stall the connection.
                self._ended = True
                self._dropping = core.state is State.CONNECTED
                unread, self._queue = (self._queue, deque()) if self._dropping else (deque[Message](), self._queue)
                self._droppable = 0
            for message in unread:
                message.ack()
            self._has_ended(None)
        finished: asyncio.Future[None] = core.loop.create_future()
        serving = self._serving
        if serving is None or serving is asyncio.current_task():
            finished.set_result(None)
        else:
            serving.add_done_callback(lambda _: settle(finished, None))
        return finished

    def _settle_last(self) -> None:
        message, self._unsettled = self._unsettled, None
        if message is not None and self._ack == "auto":
            message.ack()

    def _take(self) -> Message | None:
        """Take the next message, under the lock."""
        if not self._queue:
            return None
        self._core.waker.handled += 1
        message = self._queue.popleft()
        self._droppable -= message.qos == 0
        return message

    def _make_room(self) -> None:
        """Drop the oldest QoS 0 message; QoS 1 is never dropped (MQTT 5: the service holds 100 at most)."""
        for index, waiting in enumerate(self._queue):
            if waiting.qos == 0:
                del self._queue[index]
                self._droppable -= 1
                self._dropped += 1
                if self._registration is not None:
                    self._registration.counts.add_dropped()
                return

    def _count_failure(self) -> None:
        if self._registration is not None:
            self._registration.counts.add_handler_error()
