"""A subscription of the sync face: an iterator, or a handler on a worker thread.

Messages are handed over from the native thread by appending to a queue; the native thread never waits. With an
iterator, a message is acknowledged when the next one is asked for, or when `with` is left without an exception; with a
handler, when the handler has returned. So a crash in between loses nothing that was sent with QoS 1 over MQTT 5.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

from .errors import CustomAuthError, NotConnected, OperationTimeout
from .messages import Message
from .runtime import runtime

if TYPE_CHECKING:
    from .inbox import Registration
    from .standing import Standing

Handler = Callable[[Message], object]
Ack = Literal["auto", "manual"]

GRANT_TIMEOUT_SECONDS: Final = 30.0

_log = logging.getLogger("iot_customauth_client.subscription")


class Subscription:
    """A subscription to one topic filter. Made by `Connection.subscribe`.

    Without a handler it is an iterator of `Message`s, and `get(timeout)` gives the next one. It ends when it or the
    connection is closed, and raises if the service refused it or the connection ended by an error. `with` waits for
    the service's answer, if connected, and closes at the end: the last subscription to a filter unsubscribes.
    """

    def __init__(
        self,
        connection: Standing,
        topic_filter: str,
        *,
        handler: Handler | None,
        ack: Ack,
        max_queued: int,
    ) -> None:
        self.topic_filter = topic_filter
        self._connection = connection
        self._runtime = runtime()
        self._handler = handler
        self._ack = ack
        self._max_queued = max_queued
        self._changed = threading.Condition()
        self._queue: deque[Message] = deque()
        self._granted: int | None = None
        self._error: CustomAuthError | None = None
        self._ended = False
        self._handling = False
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
        `OperationTimeout` after `timeout` seconds.
        """
        with self._changed:
            answered = self._changed.wait_for(lambda: self._granted is not None or self._ended, timeout)
            if self._error is not None:
                raise self._error.copy()
            if self._granted is not None:
                return self._granted
        if answered:
            raise NotConnected(f"the subscription to {self.topic_filter!r} was closed before it was granted")
        raise OperationTimeout(f"no answer to the subscription to {self.topic_filter!r} in {timeout} s", stage="sent")

    def get(self, timeout: float | None = None) -> Message:
        """Wait for the next message and return it; the one before is acknowledged.

        Raises `OperationTimeout` after `timeout` seconds, `ConnectionClosed` when the subscription has ended, and what
        iterating would raise.
        """
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
        with self._changed:
            if self._ended:
                if self._dropping:
                    message.ack()
                return
            if len(self._queue) >= self._max_queued and self._droppable:
                self._make_room()
            self._queue.append(message)
            self._droppable += message.qos == 0
            start = self._handler is not None and not self._handling
            self._handling = self._handling or start
            if self._handler is None:
                self._changed.notify()
        if start:
            self._connection.workers.submit(self._handle_all)

    def granted(self, qos: int) -> None:
        """The service said yes."""
        with self._changed:
            self._granted = qos
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

    def _next(self, timeout: float | None) -> Message | None:
        self._runtime.check()
        if self._handler is not None:
            raise TypeError("this subscription has a handler: its messages go there")
        self._settle_last()
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._queue:
                if self._error is not None:
                    raise self._error.copy()
                if self._ended:
                    return None
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise OperationTimeout(f"no message on {self.topic_filter!r} in {timeout} s", stage="queued")
                self._changed.wait(left)
            message = self._take()
        self._unsettled = message
        return message

    def _settle_last(self) -> None:
        message, self._unsettled = self._unsettled, None
        if message is not None and self._ack == "auto":
            message.ack()

    def _take(self) -> Message:
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
                return

    def _handle_all(self) -> None:
        handler = self._handler
        assert handler is not None  # noqa: S101 - only called with one
        while True:
            with self._changed:
                if not self._queue:
                    self._handling = False
                    return
                message = self._take()
            try:
                handler(message)
            except BaseException:  # noqa: BLE001 - the user's code, sys.exit() included; logged in full
                _log.exception("the handler of %r failed for a message on %r", self.topic_filter, message.topic)
            if self._ack == "auto":
                message.ack()
