"""Publishing over HTTPS from asyncio.

The same connection and the same errors as `https.HttpsPublisher`; here nothing waits but coroutines. Dialling (DNS,
the CA file, the TLS context) happens on worker threads. A cancelled publish that was not sent yet is not sent; one that
was sent goes its way, and its answer is dropped: the connection stays as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from types import TracebackType
from typing import Self, Unpack

from .credentials import Credentials
from .errors import ConfigurationError, CustomAuthError
from .http_answers import HttpAnswer
from .https import DEFAULT_TIMEOUT_SECONDS, HttpsResult, PublisherCore
from .https_request import HttpPlace
from .plan import PublishPlan
from .publishing import Payload, PublishArguments
from .runtime import runtime
from .settings import ConnectionSettings


class HttpsPublisher:
    """Publishes over HTTPS on one kept-alive connection: see `iot_customauth_client.HttpsPublisher`.

    An asynchronous context manager. It belongs to the event loop that first publishes with it; another one raises
    `ConfigurationError`.
    """

    def __init__(self, settings: ConnectionSettings, credentials: Credentials) -> None:
        self._core = PublisherCore(settings, credentials)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def publish(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        credentials_in: HttpPlace = "headers",
        timeout: float = DEFAULT_TIMEOUT_SECONDS,  # noqa: ASYNC109 - as in the sync face; it knows "queued" from "sent"
        **arguments: Unpack[PublishArguments],
    ) -> HttpsResult:
        """Publish one message and await the service's answer, at most `timeout` seconds from now.

        Arguments and errors as for the sync `HttpsPublisher.publish`. Several may be awaited at once: they go out in
        the order of the calls, one at a time.
        """
        loop = self._own_loop()
        core = self._core
        entry = core.outgoing(topic, payload, **arguments)
        waiter: asyncio.Future[HttpAnswer] = loop.create_future()

        def done(answer: HttpAnswer | None, error: CustomAuthError | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_settle, waiter, answer, error)

        exchange = core.submit(entry, credentials_in, timeout, done)
        try:
            answer = await waiter
        except asyncio.CancelledError:
            core.connection.withdraw(exchange)
            raise
        return core.result(answer, exchange)

    def explain(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        credentials_in: HttpPlace = "headers",
        **arguments: Unpack[PublishArguments],
    ) -> PublishPlan:
        """Return what `publish()` with these arguments would send, with secrets hidden; see the sync face."""
        return self._core.explain(self._core.outgoing(topic, payload, **arguments), credentials_in)

    async def close(self, *, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - as in the sync face
        """Close: what is being published is waited for, within `timeout` seconds. A second call is harmless."""
        loop = asyncio.get_running_loop()
        closed: asyncio.Future[None] = loop.create_future()
        runtime().workers.submit(partial(_close, self._core, timeout, loop, closed))
        await asyncio.shield(closed)

    async def __aenter__(self) -> Self:
        self._own_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        settings = self._core.settings
        return f"aio.HttpsPublisher({settings.endpoint}:{settings.port})"

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise ConfigurationError(
                "this publisher belongs to another event loop",
                code="wrong_event_loop",
                what_to_do="make one publisher for each event loop, or use the sync HttpsPublisher from threads",
            )
        return loop


def _settle(waiter: asyncio.Future[HttpAnswer], answer: HttpAnswer | None, error: CustomAuthError | None) -> None:
    if waiter.done():  # cancelled
        return
    if answer is not None:
        waiter.set_result(answer)
    elif error is not None:
        waiter.set_exception(error)


def _close(core: PublisherCore, timeout: float, loop: asyncio.AbstractEventLoop, closed: asyncio.Future[None]) -> None:
    core.connection.close(timeout)
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(_mark, closed)


def _mark(closed: asyncio.Future[None]) -> None:
    if not closed.done():
        closed.set_result(None)
