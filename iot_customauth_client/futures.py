"""The future of a publish, for callers with threads: lazy, since most are never looked at while they are pending.

A `concurrent.futures.Future` makes a condition with a lock and two lists for each message, which costs more than the
rest of a publish and most of its memory. This one makes them when somebody looks under the condition: a thread that
waits, `wait()`, `as_completed()`, a callback. Until then its end is two assignments.

Two ways to the end, and which one is taken is decided under `_making`, in which the condition is made as well:

- nobody ever looked: state and result are set right there;
- there is a condition: the base class ends the future under it, and wakes who waits.

So nobody who holds the condition can see an end that its waiters have not been told. This rests on `_condition`,
`_state`, `_result`, `_exception`, `_waiters` and `_done_callbacks` of the base class, which are the same in Python
3.11, 3.12 and 3.13; the tests run `wait()`, `as_completed()` and asyncio against them.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from . import outbox_errors
from .clock import Timer
from .errors import CustomAuthError, OperationTimeout
from .messages import Message, PublishResult
from .timeouts import check_timeout

if TYPE_CHECKING:
    from .outbox import Outbox
    from .outgoing import Outgoing
    from .runtime import Runtime

_PENDING: Final = "PENDING"
_FINISHED: Final = "FINISHED"
_BUSY_MESSAGES: Final = 32
_NAP_SECONDS: Final = 0.001
_NAPS: Final = 2

_making = threading.RLock()
"""Guards the choice between the two ways, of all futures; held for a moment, and never while another lock is taken."""


def _after_fork() -> None:
    # Another thread may have held it at that moment, and does not exist here.
    global _making
    _making = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


class PublishFuture(concurrent.futures.Future[PublishResult]):
    """Resolves when the service has acknowledged the message (QoS 0: when it was written).

    Works with `concurrent.futures.wait` and `as_completed`. `result()` raises `PolicyDenied` and other
    `OperationError`s for this message, `ConnectionClosed` if the connection ended before, `OperationTimeout` after the
    `timeout` of `publish()`. Callbacks run on a worker thread, so they may block and publish. In a child of `fork` one
    that had no end yet never gets one: whatever would wait for it there raises `ConfigurationError`.
    """

    _state = _PENDING
    _result: PublishResult | None = None
    _exception: BaseException | None = None
    _made: threading.Condition | None = None
    _timer: Timer | None = None

    def __init__(self, runtime: Runtime) -> None:
        # Not the base class's: see above.
        self._runtime = runtime
        self._outbox: Outbox | None = None
        self._entry: Outgoing | None = None

    def _make_condition(self) -> threading.Condition:
        with _making:
            if self._made is None:
                self._waiters: list[Any] = []
                self._done_callbacks: list[Callable[[Any], object]] = []
                self._condition = threading.Condition()
                self._made = self._condition
            return self._made

    if not TYPE_CHECKING:  # to a type checker it is the attribute of the base class that it looks like

        def __getattr__(self, name: str) -> Any:
            """Make the condition when somebody looks for it; called for what is not there only."""
            if name == "_condition":
                self._check()
                return self._make_condition()
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def cancel(self) -> bool:
        """Withdraw the message if it was not sent yet; `False`, and no effect, once it was."""
        outbox, entry = self._outbox, self._entry
        if self.done():
            return self.cancelled()
        self._check()
        if outbox is None or entry is None or not outbox.withdraw(entry):
            return False
        self._release()
        if super().cancel():
            self.set_running_or_notify_cancel()
        return True

    def done(self) -> bool:
        """Tell whether the end is known."""
        return self._state != _PENDING

    def result(self, timeout: float | None = None) -> PublishResult:
        """Wait for the end, at most `timeout` seconds, and return it. Raises the error of the message.

        Raises `concurrent.futures.CancelledError` if it was cancelled, and `TimeoutError` if there is no end yet.
        """
        if self._state == _FINISHED and self._result is not None:
            return self._result
        self._check()
        outbox = self._outbox
        if (
            outbox is not None
            and outbox.unacknowledged >= _BUSY_MESSAGES
            and (timeout is None or timeout > _NAP_SECONDS)
        ):
            # Whoever walks along a list of futures would be woken for each of them, at three times the cost of a
            # message: with many more under way, a few naps find most of them done. Then it is waited for as usual.
            for _ in range(_NAPS):
                time.sleep(_NAP_SECONDS)
                if self._state != _PENDING:
                    return super().result(0)
            timeout = None if timeout is None else max(0.0, timeout - _NAPS * _NAP_SECONDS)
        if self._made is None:
            self._make_condition()  # the base class would find it by way of an exception
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait as `result()` does, and return the error of the message; `None` if it arrived."""
        self._check()
        return super().exception(timeout)

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[PublishResult]], object]) -> None:
        """Call `fn(future)` on a worker thread when the end is known."""
        self._runtime.check()  # also if it has ended: the worker threads are not here
        super().add_done_callback(lambda future: self._runtime.workers.submit(partial(_call, fn, future)))

    def wait_stored(self, timeout: float | None = None) -> None:
        """Wait until the message is stored, which is before it is sent: from then on it survives the process.

        Returns at once if it was acknowledged. Raises the error of the message if it ended before it was stored,
        `OperationTimeout` after `timeout` seconds (it may be stored yet), and `NotSupported` if the connection has no
        `SqliteOutbox`, or with QoS 0: then nothing is ever stored.
        """
        self._check()
        check_timeout(timeout)
        outbox, entry = self._outbox, self._entry
        if outbox is not None and entry is not None and not self.done():
            if not outbox.keeps or not entry.qos:
                raise outbox_errors.never_stored(entry, keeps=outbox.keeps)
            if not outbox.wait_stored(entry, timeout):
                raise OperationTimeout(
                    f"the message to {entry.topic!r} was not stored within {timeout} s; it may be yet", stage="queued"
                )
            if entry.stored:
                return
            if not entry.settled:  # the connection was only being opened when the wait began
                raise outbox_errors.never_stored(entry, keeps=outbox.keeps)
        self.result(None if self.done() else timeout)

    def __repr__(self) -> str:
        return f"<PublishFuture {self._state.lower()}>"

    def _check(self) -> None:
        """Raise `ConfigurationError` in a forked child, where what is pending stays so for ever."""
        if self._state == _PENDING:
            self._runtime.check()

    # -- the outbox's side: see outbox.Promise ------------------------------------------------------------------------

    def resolve(self, result: PublishResult) -> None:
        """It arrived."""
        if self._timer is None:
            self._outbox = self._entry = None
        else:
            self._release()
        with _making:
            made = self._made
            if made is None and self._state == _PENDING:
                self._result = result
                self._state = _FINISHED
        if made is not None:  # last, for whoever waits wants to go on at once
            try:  # noqa: SIM105 - `suppress` is an object more on the way to who waits
                self.set_result(result)
            except concurrent.futures.InvalidStateError:
                pass  # cancelled or timed out: that end counts

    def reject(self, error: CustomAuthError) -> None:
        """It did not, or nobody can tell."""
        with _making:
            if self._made is None and self._state == _PENDING:
                self._exception = error
                self._state = _FINISHED
        if self._made is not None:
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                self.set_exception(error)
        self._release()

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
            self._timer = None
            timer.cancel()
        self._outbox = self._entry = None


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
