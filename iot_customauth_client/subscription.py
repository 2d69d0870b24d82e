"""A subscription of the sync face: an iterator, or a handler on a worker thread.

Messages are handed over from the native thread by appending to a queue; the native thread never waits, and wakes
nobody who is awake (`linger.py`). With an iterator, a message is acknowledged when the next one is asked for, or when
`with` is left without an exception; with a handler, when the handler has returned. So a crash in between loses nothing
that was sent with QoS 1 over MQTT 5.

A subscription outlives its connection's troubles: it is asked for again after a reconnect, and ends only when it or the
`Connection` is closed, or when the service refuses it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .errors import CustomAuthError, NotConnected, OperationTimeout
from .handler_watch import Run, handler_name
from .linger import DOZE_SECONDS, Linger
from .messages import Message
from .runtime import runtime
from .timeouts import GRANT_TIMEOUT_SECONDS, check_timeout

if TYPE_CHECKING:
    from .inbox import Registration
    from .opening import Ack, OnHandlerError
    from .standing import Standing

Handler = Callable[[Message], object]

_log = logging.getLogger("iot_customauth_client.subscription")


class Subscription:
    """A subscription to one topic filter. Made by `Connection.subscribe`.

    Without a handler it is an iterator of `Message`s, and `get(timeout)` gives the next one. It ends when it or the
    connection is closed, and raises if the service refused it (also after a reconnect) or the connection ended by an
    error; while the connection is away it waits. `with` waits for the service's answer, if connected, and closes at the
    end: the last subscription to a filter unsubscribes.

    Several threads may take messages from one subscription, each message goes to one of them. With `ack="auto"` it is
    acknowledged when any of them asks for the next: let them use `ack="manual"`, if a crash must lose nothing.
    """

    def __init__(
        self,
        connection: Standing,
        topic_filter: str,
        *,
        handler: Handler | None,
        ack: Ack,
        max_queued: int,
        on_handler_error: OnHandlerError = "acknowledge",
    ) -> None:
        self.topic_filter = topic_filter
        self._connection = connection
        self._runtime = runtime()
        self._handler = handler
        self._ack = ack
        self._max_queued = max_queued
        self._redeliver = on_handler_error == "redeliver"
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._queue: deque[Message] = deque()
        self._waiting = 0
        self._granted: int | None = None
        self._unanswered: OperationTimeout | None = None
        self._error: CustomAuthError | None = None
        self._ended = False
        self._handling = False
        self._linger = Linger()
        self._run = None if handler is None else Run(topic_filter, handler)
        self._unsettled: Message | None = None
        self._dropping = False
        self._droppable = 0
        self._dropped = 0
        self._registration: Registration | None = None

    # -- what users call ----------------------------------------------------------------------------------------------

    @property
    def granted_qos(self) -> int | None:
        """The QoS that the service granted, or `None` if it has not answered yet."""
        return self._granted

    @property
    def dropped(self) -> int:
        """QoS 0 messages that were dropped since `max_queued` messages were waiting."""
        return self._dropped

    def wait_granted(self, timeout: float | None = GRANT_TIMEOUT_SECONDS) -> int:
        """Wait for the service's answer and return the granted QoS.

        Raises `PolicyDenied` or another `OperationError` if it refused, `ConnectionClosed` if the connection ended,
        `OperationTimeout` after `timeout` seconds, and when the service was asked and said nothing for 30 s. The
        subscription goes on then: it is asked for again after the next connect.
        """
        self._runtime.check()
        check_timeout(timeout)
        with self._changed:
            answered = self._changed.wait_for(self._is_answered, timeout)
            if self._error is not None:
                raise self._error.copy()
            if self._granted is not None:
                return self._granted
            if self._unanswered is not None:
                raise self._unanswered.copy()
        if answered:
            raise NotConnected(f"the subscription to {self.topic_filter!r} was closed before it was granted")
        raise OperationTimeout(f"no answer to the subscription to {self.topic_filter!r} in {timeout} s", stage="sent")

    def get(self, timeout: float | None = None) -> Message:
        """Wait for the next message and return it; the one before is acknowledged.

        Raises `OperationTimeout` after `timeout` seconds, `ConnectionClosed` when the subscription has ended, and what
        iterating would raise.
        """
        if timeout is not None:
            check_timeout(timeout)
        message = self._next(timeout)
        if message is None:
            raise self._connection.closed_error(f"the subscription to {self.topic_filter!r} has ended")
        return message

    def close(self) -> None:
        """End it: nothing more is delivered, and what was not read is acknowledged and dropped.

        On a live connection, the last one of a filter unsubscribes.
        """
        self._settle_last()
        self._close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        message = self._next(None)
        if message is None:
            raise StopIteration
        return message

    def __enter__(self) -> Self:
        try:
            if self._connection.connected:
                self.wait_granted()
        except BaseException:
            self.close()  # nobody else will: `with` does not leave what it has not entered
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # After an exception the message in hand stays unacknowledged: the service sends it again to a kept session.
        if kind is None:
            self._settle_last()
        self._close()

    def __repr__(self) -> str:
        return f"Subscription({self.topic_filter!r}, granted_qos={self._granted})"

    # -- the inbox's side: see inbox.Sink -----------------------------------------------------------------------------

    def attach(self, registration: Registration) -> None:
        """Know what to take away at the end."""
        self._registration = registration

    def deliver(self, message: Message) -> None:
        """Take a message over (native thread)."""
        with self._lock:
            if self._ended:
                if self._dropping:
                    message.ack()
                return
            queue = self._queue
            if len(queue) >= self._max_queued and self._droppable:
                self._make_room()
            queue.append(message)
            if not message.qos:
                self._droppable += 1
            if self._handler is None:
                if self._waiting:
                    self._changed.notify()
                return
            if self._handling:
                return
            self._handling = True
        try:
            self._connection.workers.submit(self._handle_all)
        except RuntimeError:
            with self._lock:
                self._handling = False  # no thread is to be had now: the next message tries again
            raise

    def granted(self, qos: int) -> None:
        """The service said yes."""
        with self._changed:
            self._granted = qos
            self._unanswered = None
            self._changed.notify_all()

    def unanswered(self, error: OperationTimeout) -> None:
        """The service said nothing, and is asked again after the next connect."""
        with self._changed:
            self._unanswered = error
            self._changed.notify_all()

    def refused(self, error: CustomAuthError) -> None:
        """The service said no."""
        if self._handler is not None:
            _log.warning("subscription to %r refused: %s", self.topic_filter, error.message)
        self.ended(error)

    def ended(self, error: CustomAuthError | None) -> None:
        """There is nothing more to come."""
        with self._changed:
            if not self._ended:
                self._ended = True
                self._error = error
            self._changed.notify_all()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        registration, self._registration = self._registration, None
        if registration is None:
            return
        self._connection.unregister(registration)
        with self._changed:
            # Unread messages would fill the 100 that the service sends unacknowledged, and stall the whole connection.
            self._ended = True
            self._dropping = self._connection.connected
            unread, self._queue = (self._queue, deque()) if self._dropping else (deque[Message](), self._queue)
            self._droppable = 0
            self._changed.notify_all()
        for message in unread:
            message.ack()

    def _is_answered(self) -> bool:
        return self._granted is not None or self._ended or self._unanswered is not None

    def _next(self, timeout: float | None) -> Message | None:
        if self._handler is not None:
            raise TypeError("this subscription has a handler: its messages go there")
        with self._lock:
            last = self._unsettled
            message = self._unsettled = self._take() if self._queue else None
        self._settle(last)
        if message is None:
            message = self._wait(timeout)
        self._linger.taken += 1
        return message

    def _wait(self, timeout: float | None) -> Message | None:
        """Wait for a message; `None` if there will be none."""
        self._runtime.check()
        deadline = None if timeout is None else time.monotonic() + timeout
        linger = self._linger
        if linger.worth_it and (timeout is None or timeout > DOZE_SECONDS):
            time.sleep(DOZE_SECONDS)
            linger.gained(len(self._queue))
        with self._changed:
            waited = False
            while not self._queue:
                if self._error is not None:
                    raise self._error.copy()
                if self._ended:
                    return None
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise OperationTimeout(f"no message on {self.topic_filter!r} in {timeout} s", stage="queued")
                waited = True
                self._waiting += 1
                try:
                    self._changed.wait(left)
                finally:
                    self._waiting -= 1
            last = self._unsettled  # what another thread has taken meanwhile: this one has asked for the next
            message = self._unsettled = self._take()
        self._settle(last)
        if waited:
            linger.woken(time.monotonic())
        return message

    def _settle_last(self) -> None:
        with self._lock:
            last, self._unsettled = self._unsettled, None
        self._settle(last)

    def _settle(self, message: Message | None) -> None:
        if message is not None and self._ack == "auto":
            message.ack()

    def _take(self) -> Message:
        message = self._queue.popleft()
        if not message.qos:
            self._droppable -= 1
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

    def _handle_all(self) -> None:
        """Work off the queue, on a worker thread; the one that began it ends it."""
        run = self._run
        assert run is not None  # noqa: S101 - only called with a handler
        watch = self._runtime.handlers
        linger = self._linger
        linger.woken(time.monotonic())
        watch.enter(run)
        try:
            while True:
                self._handle_queued(run)
                if linger.worth_it:
                    time.sleep(DOZE_SECONDS)
                    linger.gained(len(self._queue))
                with self._lock:
                    if not self._queue:
                        self._handling = False
                        return
        finally:
            watch.leave(run)

    def _handle_queued(self, run: Run) -> None:
        handler, automatic, now = self._handler, self._ack == "auto", self._runtime.handlers.now
        assert handler is not None  # noqa: S101 - only called with one
        while True:
            with self._lock:
                if not self._queue:
                    return
                message = self._take()
            self._linger.taken += 1
            run.since = now()
            try:
                handler(message)
            except BaseException:  # noqa: BLE001 - the user's code, sys.exit() included; logged in full
                self._note_failure(message)
                if self._redeliver:
                    continue
            finally:
                run.since = None
            if automatic:
                message.ack()

    def _note_failure(self, message: Message) -> None:
        if self._registration is not None:
            self._registration.counts.add_handler_error()
        _log.exception(
            "the handler %s of %r failed for a message on %r; it is %s",
            handler_name(self._handler),
            self.topic_filter,
            message.topic,
            "left unacknowledged, the service sends it again after a reconnect" if self._redeliver else "acknowledged",
        )
