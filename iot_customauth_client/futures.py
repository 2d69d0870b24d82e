"""The futures of a publish and of a reply, for callers with threads."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from .clock import Timer
from .errors import CustomAuthError, OperationTimeout
from .messages import Message, PublishResult

if TYPE_CHECKING:
    from .outbox import Outbox
    from .outgoing import Outgoing
    from .workers import Workers


class PublishFuture(concurrent.futures.Future[PublishResult]):
    """Resolves when the service has acknowledged the message (QoS 0: when it was written).

    Works with `concurrent.futures.wait` and `as_completed`. `result()` raises `PolicyDenied` and other
    `OperationError`s for this message, `ConnectionClosed` if the connection ended before, `OperationTimeout` after the
    `timeout` of `publish()`. Callbacks run on a worker thread, so they may block and publish.
    """

    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self._workers = workers
        self._outbox: Outbox | None = None
        self._entry: Outgoing | None = None
        self._timer: Timer | None = None

    def cancel(self) -> bool:
        """Withdraw the message if it was not sent yet; `False`, and no effect, once it was."""
        outbox, entry = self._outbox, self._entry
        if self.done():
            return self.cancelled()
        if outbox is None or entry is None or not outbox.withdraw(entry):
            return False
        self._release()
        if super().cancel():
            self.set_running_or_notify_cancel()
        return True

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[PublishResult]], object]) -> None:
        """Call `fn(future)` on a worker thread when the end is known."""
        super().add_done_callback(lambda future: self._workers.submit(partial(_call, fn, future)))

    # -- the outbox's side: see outbox.Promise ------------------------------------------------------------------------

    def resolve(self, result: PublishResult) -> None:
        """It arrived."""
        self._release()
        with contextlib.suppress(concurrent.futures.InvalidStateError):  # cancelled or timed out: that end counts
            self.set_result(result)

    def reject(self, error: CustomAuthError) -> None:
        """It did not, or nobody can tell."""
        self._release()
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.set_exception(error)

    def follow(self, outbox: Outbox, entry: Outgoing) -> None:
        """Know what to withdraw. Called before the outbox accepts the entry."""
        self._outbox, self._entry = outbox, entry

    def expire_at(self, timer_of: Callable[[Callable[[], None]], Timer], timeout: float) -> None:
        """End with `OperationTimeout` when the timer fires."""
        timer = self._timer = timer_of(partial(self._time_out, timeout))
        if self.done():
            timer.cancel()

    def _time_out(self, timeout: float) -> None:
        outbox, entry = self._outbox, self._entry
        if outbox is None or entry is None or self.done():
            return
        if outbox.withdraw(entry):
            message = f"the message to {entry.topic!r} was not sent within {timeout:g} s and is withdrawn"
            self.reject(OperationTimeout(message, stage="queued"))
        else:
            message = f"the message to {entry.topic!r} was not acknowledged within {timeout:g} s; it may still arrive"
            self.reject(OperationTimeout(message, stage="sent"))

    def _release(self) -> None:
        timer = self._timer
        if timer is not None:
            timer.cancel()
        self._outbox = self._entry = self._timer = None


def _call(fn: Callable[[Any], object], future: concurrent.futures.Future[PublishResult]) -> None:
    fn(future)


class ReplyFuture(concurrent.futures.Future[Message]):
    """The reply to a request; see `requests.Answer`."""

    def replied(self, message: Message) -> None:
        """It came."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.set_result(message)

    def failed(self, error: CustomAuthError) -> None:
        """There will be none."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.set_exception(error)
