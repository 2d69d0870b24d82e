"""The future of a publish, for asyncio.

It is the outbox's `Promise`: told on the native thread, it brings the news to the loop. It never keeps the loop waiting
and is never the reason for a line in the log: whoever forgets it has still published, and the connection counts what
failed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from . import outbox_errors
from .aio_waker import settle
from .errors import CustomAuthError, OperationTimeout
from .messages import Message
from .timeouts import check_timeout

if TYPE_CHECKING:
    from .aio_core import Core
    from .clock import Timer
    from .messages import PublishResult
    from .outgoing import Outgoing

    _Future = asyncio.Future[PublishResult]
else:
    _Future = asyncio.Future


class PublishFuture(_Future):
    """Resolves when the service has acknowledged the message (QoS 0: when it was written).

    An `asyncio.Future`: await it, gather it, or forget it: the message is published all the same, and what happened to
    a forgotten one is counted in `stats()` and not logged as an exception "never retrieved". Awaiting raises
    `PolicyDenied` and other `OperationError`s for this message, `ConnectionClosed` if the connection ended before,
    `OperationTimeout` after the `timeout` of `publish()`.

    Cancelling it, or the task that awaits it, withdraws the message if it was not sent yet; one that was sent may
    still arrive. Other messages and the connection are not touched.
    """

    __slots__ = ("_core", "_entry", "_storing", "_timer")

    def __init__(self, core: Core) -> None:
        super().__init__(loop=core.loop)
        self._core = core
        self._entry: Outgoing | None = None
        self._storing: asyncio.Future[None] | None = None
        self._timer: Timer | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        """Stop waiting, and withdraw the message if it was not sent yet; `False` if the end is known already."""
        entry = self._entry
        if entry is not None and not self.done():
            self._core.session.outbox.withdraw(entry)
            self._release()
        return super().cancel(msg)

    async def wait_stored(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - with an error of its own
        """Wait until the message is stored, which is before it is sent: from then on it survives the process.

        Returns at once if it was acknowledged. Raises the error of the message if it ended before it was stored,
        `OperationTimeout` after `timeout` seconds (it may be stored yet), and `NotSupported` if the connection has no
        `SqliteOutbox`, or with QoS 0: then nothing is ever stored.
        """
        self._core.check()
        check_timeout(timeout)
        entry = self._entry
        if entry is not None and not self.done():
            keeps = self._core.keeps
            if not keeps or not entry.qos:
                raise outbox_errors.never_stored(entry, keeps=keeps)
            storing = self._storing
            if storing is None:
                storing = self._storing = self._core.loop.create_future()
            if not entry.stored:
                await asyncio.wait((storing, self), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if entry.stored:
                return
        if not self.done():
            assert entry is not None  # noqa: S101 - only a future that has ended knows no entry
            raise OperationTimeout(
                f"the message to {entry.topic!r} was not stored within {timeout:g} s; it may be yet", stage="queued"
            )
        await self

    # -- the outbox's side: see outgoing.Promise (any thread) ---------------------------------------------------------

    def resolve(self, result: PublishResult) -> None:
        """It arrived."""
        self._core.post(self._resolved, result)

    def reject(self, error: CustomAuthError) -> None:
        """It did not, or nobody can tell."""
        self._core.post(self._rejected, error)

    def stored(self) -> None:
        """A journal has committed it."""
        if self._storing is not None:
            self._core.post(self._was_stored, None)

    # -- on the loop --------------------------------------------------------------------------------------------------

    def follow(self, entry: Outgoing) -> None:
        """Know what to withdraw. Called before the outbox accepts the entry."""
        self._entry = entry

    def expire_in(self, timeout: float) -> None:
        """End with `OperationTimeout` after some seconds of the connection's clock."""
        core = self._core
        self._timer = core.session.call_in(timeout, lambda: core.post(self._time_out, timeout))

    def _resolved(self, result: PublishResult) -> None:
        if not self.done():  # cancelled or timed out: that end counts
            self._release()
            self.set_result(result)

    def _rejected(self, error: CustomAuthError) -> None:
        if not self.done():
            self._release()
            self.set_exception(error)
            self.exception()  # so that asyncio does not log one that nobody awaits

    def _was_stored(self, _: None) -> None:
        if self._storing is not None:
            settle(self._storing, None)

    def _time_out(self, timeout: float) -> None:
        entry = self._entry
        if entry is None or self.done():
            return
        if self._core.session.outbox.withdraw(entry):
            message = f"the message to {entry.topic!r} was not sent within {timeout:g} s and is withdrawn"
            self._rejected(OperationTimeout(message, stage="queued"))
        else:
            message = f"the message to {entry.topic!r} was not acknowledged within {timeout:g} s; it may still arrive"
            self._rejected(OperationTimeout(message, stage="sent"))

    def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._entry = self._timer = None


class Reply:
    """Waits for the reply to a request: the `Answer` that `Requests` tells, on any thread."""

    def __init__(self, core: Core) -> None:
        self._post = core.post
        self.future: asyncio.Future[Message] = core.loop.create_future()

    def replied(self, message: Message) -> None:
        """The reply came."""
        self._post(self._replied, message)

    def failed(self, error: CustomAuthError) -> None:
        """There will be none."""
        self._post(self._failed, error)

    def _replied(self, message: Message) -> None:
        settle(self.future, message)

    def _failed(self, error: CustomAuthError) -> None:
        if not self.future.done():
            self.future.set_exception(error)
