"""One question to whoever gives credentials: the call of the user's function, and what became of it.

The function may block, raise, hang, or be async. Whatever it does has an end here, under a time limit; a call that
hangs cannot be stopped, but nobody waits for it any more. What it raised is handed on as the cause of an error of ours,
and never printed: it may hold a secret.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from .credentials import Credentials
from .errors import ConfigurationError, ConnectError, CredentialsRejected, CredentialsUnavailable, CustomAuthError

if TYPE_CHECKING:
    from .clock import Clock
    from .runtime import Runtime

RunAsync: TypeAlias = Callable[[Coroutine[Any, Any, Any]], "Future[Any]"]
"""Runs a coroutine on an event loop; may be called from any thread."""
Failure: TypeAlias = ConnectError | ConfigurationError


class FetchCall:
    """One call of the user's function, under a time limit of the real clock.

    `landed` is told its end, with what it returned or raised, also after that time; `gave_up` that the time is over.
    """

    def __init__(
        self,
        fetch: Callable[[], object],
        timeout_seconds: float,
        clock: Clock,
        runtime: Runtime,
        run_async: RunAsync | None,
        *,
        landed: Callable[[FetchCall, object, BaseException | None], None],
        gave_up: Callable[[CredentialsUnavailable], None],
    ) -> None:
        self.clock = clock
        self.overdue = False
        self.outdated = False
        self.process = os.getpid()  # a child of fork has no part in this
        self._fetch = fetch
        self._timeout_seconds = timeout_seconds
        self._landed = landed
        self._gave_up = gave_up
        self._runtime = runtime
        self._run_async = run_async
        self._task: Future[Any] | None = None
        now = runtime.clock.monotonic()
        self._timer = runtime.clock.call_at(now + timeout_seconds, partial(runtime.workers.submit, self._late))

    def start(self) -> None:
        """Make the call, on a worker thread; an async one goes on from there to its loop."""
        try:
            self._runtime.workers.submit(self._run)
        except RuntimeError as error:  # the system gives no more threads
            self._end(None, error)

    def too_long(self) -> CredentialsUnavailable:
        """Return the error for who waited."""
        return CredentialsUnavailable(
            f"the source of the credentials gave none within {self._timeout_seconds:g} s",
            code="credentials_timeout",
            phase="credentials",
            likely_causes=("what it asks is slow or unreachable", "it waits for something that waits for it"),
        )

    def _run(self) -> None:
        try:
            result = self._fetch()
            if inspect.isawaitable(result):
                from .private_loop import run_on_private_loop  # loads asyncio

                task = self._task = (self._run_async or run_on_private_loop)(_awaited(result))
                task.add_done_callback(self._awaited)
                return
        except BaseException as error:  # noqa: BLE001 - the user's code; told to whoever asked
            self._end(None, error)
        else:
            self._end(result, None)

    def _awaited(self, task: Future[Any]) -> None:
        error = TimeoutError() if task.cancelled() else task.exception()
        self._end(None if error is not None else task.result(), error)

    def _late(self) -> None:
        self.overdue = True
        self._gave_up(self.too_long())
        task = self._task
        if task is not None:
            task.cancel()

    def _end(self, result: object, error: BaseException | None) -> None:
        self._timer.cancel()
        if isinstance(error, TimeoutError) and self.overdue:
            error = self.too_long()
        self._landed(self, result, error)


def failure_of(result: object, error: BaseException | None) -> Failure | None:
    """Return what the end of a call means, or `None` if it gave credentials."""
    if isinstance(error, CredentialsUnavailable | CredentialsRejected):
        failure = error.copy()
        failure.phase = failure.phase or "credentials"
        failure.__cause__ = error.__cause__
        return failure
    if isinstance(error, CustomAuthError):
        # A copy: the original's context holds what was rejected, a token perhaps, for whoever prints all of it.
        unavailable = CredentialsUnavailable(
            f"the source of the credentials failed: {error.message}",
            phase="credentials",
            likely_causes=error.likely_causes,
            what_to_do=error.what_to_do,
        )
        unavailable.__cause__ = error.copy()
        return unavailable
    if error is not None:
        unavailable = CredentialsUnavailable(
            f"the source of the credentials failed: {type(error).__name__}",
            phase="credentials",
            likely_causes=("see the cause of this error: it comes from the function that was asked",),
        )
        unavailable.__cause__ = error
        return unavailable
    if not isinstance(result, Credentials):
        return ConfigurationError(
            f"the source of the credentials must return Credentials, not {type(result).__name__}",
            code="fetch_invalid",
            phase="credentials",
        )
    return None


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result
