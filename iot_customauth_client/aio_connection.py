"""The asyncio face: a connection for one event loop.

Everything that decides is in the session, which is the sync face's as well; here coroutines wait, and futures and
iterators are made. No method does files, names, TLS or native start-up on the loop, and cancelling any of them leaves
the connection as it was.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, Unpack

from .aio_core import Core, Listener
from .aio_futures import PublishFuture, Reply
from .aio_subscription import Handler, Subscription
from .errors import ConnectionClosed, CustomAuthError, OperationTimeout
from .inbox import Registration
from .messages import CloseReport, Message
from .opening import check_subscription, check_timeout
from .publishing import UNSET, Payload, check_qos, outgoing_of
from .requests import is_reply
from .state import State
from .topics import check_topic_filter

if TYPE_CHECKING:
    from .opening import Ack, OnHandlerError
    from .publishing import PublishArguments
    from .service_handle import ServiceHandle
    from .stats import Stats

ServiceT = TypeVar("ServiceT")

LAST_MOMENT_SECONDS: Final = 0.2
_NO_LIMIT_SECONDS: Final = 365 * 86_400.0


async def open_connection(core: Core, timeout: float | None) -> Connection:  # noqa: ASYNC109
    """Begin to connect, and wait for it as `connect()` promises."""
    session = core.session
    core.start()
    connection = Connection(core)
    if timeout == 0:
        return connection
    try:
        if not await core.up_or_over(timeout):
            session.give_up(timeout or 0.0)
            await core.up_or_over(None)
    except BaseException:  # cancelled: nobody will have the connection to close it
        core.end_soon(LAST_MOMENT_SECONDS)
        await core.closed(LAST_MOMENT_SECONDS)
        raise
    if core.state is State.CLOSED:
        raise session.error or session.closed_error("closed while connecting")
    return connection


class Connection:
    """A connection to AWS IoT Core, on the event loop that opened it. Made by `aio.connect()`.

    An asynchronous context manager that closes it. Another loop or thread that uses it gets a `ConfigurationError`;
    `state`, `connected`, `last_error` and `native` may be read anywhere.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._session = core.session
        self._mqtt5 = core.session.settings.protocol == "mqtt5"
        self._monotonic = core.session.monotonic

    # -- connecting and ending ----------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._core.state

    @property
    def connected(self) -> bool:
        """Whether it is connected just now."""
        return self._core.state is State.CONNECTED

    @property
    def last_error(self) -> CustomAuthError | None:
        """The last error of connecting, or of what ended the connection."""
        return self._session.error

    @property
    def native(self) -> Any:
        """The live `awscrt.mqtt5.Client` or `awscrt.mqtt.Connection`; `None` before the first attempt."""
        self._core.runtime.check()
        return self._session.native

    def service(self, factory: Callable[[Any], ServiceT]) -> ServiceHandle[ServiceT]:
        """Make a client that binds to the native object, such as awsiot's shadow, jobs and identity clients.

        As in the sync face. `factory(native)` must return at once; it is called here, and on a worker thread whenever
        the native object is replaced.
        """
        self._core.check()
        return self._session.service(factory)

    def stats(self) -> Stats:
        """Return counts of this moment: attempts, renewals, messages, what waits in the outbox and how old it is."""
        self._core.runtime.check()
        return self._session.stats()

    def retry_now(self) -> None:
        """Try to connect at once, if it waits for the next attempt: the modem came up. Else without effect."""
        self._core.check()
        self._session.retry_now()

    async def wait_connected(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - with an error of its own
        """Wait until it is connected. Raises what ended it, or `OperationTimeout` after `timeout` seconds."""
        core = self._core
        core.check()
        check_timeout(timeout)
        if not await core.up_or_over(timeout):
            raise OperationTimeout(f"not connected within {timeout} s", stage="queued")
        if core.state is State.CLOSED:
            raise self._closed_error()

    async def wait_closed(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait until it is over; raises `ConnectionClosed` with the cause, if an error ended it.

        Raises `OperationTimeout` after `timeout` seconds.
        """
        core = self._core
        core.check()
        check_timeout(timeout)
        if not await core.closed(timeout):
            raise OperationTimeout(f"still open after {timeout} s", stage="queued")
        if self._session.error is not None:
            raise self._closed_error()

    def on_state_change(self, callback: Listener) -> Callable[[], None]:
        """Call `callback(change)` on the loop, in order, at every change; returns what removes it.

        An async function runs as a task.
        """
        core = self._core
        core.check()
        entry: Listener = partial(callback)  # its own identity: one function may listen twice
        core.listeners.append(entry)

        def remove() -> None:
            core.listeners = [each for each in core.listeners if each is not entry]

        return remove

    async def flush(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait until all that was accepted is acknowledged, across reconnects.

        Raises `OperationTimeout` after `timeout` seconds (`None`: no limit), `ConnectionClosed` if the connection
        ended with messages unacknowledged. What became of each message is told by its future.
        """
        core, session = self._core, self._session
        core.check()
        check_timeout(timeout)
        if not await core.wait_empty(timeout) and (left := session.outbox.unacknowledged):
            last = session.error
            because = "" if self.connected or last is None else f"; not connected: {last.message}"
            raise OperationTimeout(f"{left} messages are not acknowledged after {timeout} s{because}", stage="queued")
        if core.state is State.CLOSED and session.lost:
            raise session.closed_error(f"{session.lost} messages were not acknowledged when the connection closed")

    async def close(self, *, timeout: float | None = 5.0, drain: bool = True) -> CloseReport:  # noqa: ASYNC109
        """Close, and say what was left: back within `timeout` seconds (and 0.4 s), whatever the network does.

        With `drain` it first waits for acknowledgements of what was accepted (`timeout=None`: for ever). Handlers that
        are running may finish within the time, then they are cancelled; the one that calls this goes on. A second
        call does nothing. Cancelled, it closes without waiting any longer.
        """
        core = self._core
        core.check()
        check_timeout(timeout)
        deadline = core.loop.time() + (_NO_LIMIT_SECONDS if timeout is None else timeout)
        try:
            if drain and core.state is not State.CLOSED:
                await self._drain(deadline)
            self._session.end()
            await self._over(max(LAST_MOMENT_SECONDS, deadline - core.loop.time()))
            await core.end_tasks(max(0.0, deadline - core.loop.time()) if drain else 0.0)
        except asyncio.CancelledError:
            core.end_soon(LAST_MOMENT_SECONDS)
            raise
        return CloseReport(unacknowledged=self._session.lost, kept=self._session.kept)

    async def __aenter__(self) -> Self:
        self._core.check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close(drain=kind is None)

    # -- messages -----------------------------------------------------------------------------------------------------

    def publish(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        timeout: float | None = None,
        **arguments: Unpack[PublishArguments],
    ) -> PublishFuture:
        """Accept a message to be sent, in the order of the calls, and return its future. Not a coroutine.

        It is published also if nobody awaits the future. Arguments, limits and what is raised at once are those of the
        sync face: `json`, `qos`, `retain`, `expiry_seconds`, `content_type`, `response_topic`, `correlation_data`,
        `user_properties`, and `timeout`, in seconds from now until the acknowledgement.
        """
        core = self._core
        core.check()
        if timeout is not None:
            check_timeout(timeout)
        future = PublishFuture(core)
        entry = outgoing_of(topic, payload, arguments, future, self._monotonic(), self._mqtt5)
        future.follow(entry)
        self._session.outbox.accept(entry)
        if timeout is not None:
            future.expire_in(timeout)
        return future

    def subscribe(
        self,
        topic_filter: str,
        handler: Handler | None = None,
        *,
        qos: int = 1,
        ack: Ack = "auto",
        max_queued: int = 1_000,
        on_handler_error: OnHandlerError = "acknowledge",
    ) -> Subscription:
        """Subscribe to a topic filter; returns at once. Not a coroutine. It lives on across reconnects, until closed.

        With a `handler`, it is called with each `Message` on the loop, one at a time and in order; an async function
        is awaited before the next message. A plain one must not block: hand slow work to `asyncio.to_thread`. Without
        one, the `Subscription` is an asynchronous iterator. Other arguments and errors are those of the sync face.
        """
        core = self._core
        core.check()
        check_topic_filter(topic_filter)
        check_qos(qos)
        if handler is not None and not callable(handler):
            raise TypeError(f"the handler must be callable, not {type(handler).__name__}")
        check_subscription(
            handler, qos=qos, ack=ack, on_handler_error=on_handler_error, max_queued=max_queued, mqtt5=self._mqtt5
        )
        subscription = Subscription(
            core, topic_filter, handler=handler, ack=ack, max_queued=max_queued, on_handler_error=on_handler_error
        )
        registration = Registration(topic_filter, qos, subscription)
        subscription.attach(registration)
        self._session.register(registration)
        return subscription

    async def request(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        json: Any = UNSET,
        response_topic: str | None = None,
        timeout: float | None,  # noqa: ASYNC109 - it knows "queued" from "sent"
    ) -> Message:
        """Publish a request with QoS 1, await its reply, and return it.

        Arguments and errors are those of the sync face. Cancelled, a request that was not sent yet is withdrawn.
        """
        core = self._core
        core.check()
        check_timeout(timeout)
        reply = Reply(core)
        request = self._session.requests.ask(
            topic, payload, json=json, response_topic=response_topic, timeout=timeout, answer=reply
        )
        try:
            return await reply.future
        finally:  # cancelled, it is left early; once it has ended, without effect
            request.cancel()

    def respond(
        self,
        topic_filter: str,
        handler: Callable[[Message], Awaitable[object] | object],
        *,
        max_queued: int = 1_000,
        on_handler_error: OnHandlerError = "acknowledge",
    ) -> Subscription:
        """Answer requests: what `handler(message)` returns, or gives when awaited, is published as the reply (QoS 1).

        It may be bytes, text, a dict or a list (sent as JSON), or `None` (an empty reply). The request is acknowledged
        once the reply is accepted. A handler that raises sends no reply: the requester's time runs out. Requests are
        answered one after the other. Raises what `subscribe()` raises.
        """
        requests = self._session.requests

        async def answer(message: Message) -> None:
            if is_reply(message):  # the filter matches the reply topic as well
                return
            result = handler(message)
            requests.respond(message, await result if inspect.isawaitable(result) else result)

        if not callable(handler):
            raise TypeError(f"the handler must be callable, not {type(handler).__name__}")
        return self.subscribe(
            topic_filter, wraps(handler)(answer), max_queued=max_queued, on_handler_error=on_handler_error
        )

    def __repr__(self) -> str:
        settings = self._session.settings
        return f"aio.Connection({settings.client_id!r} at {settings.endpoint}:{settings.port}, {self.state.value})"

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _drain(self, deadline: float) -> None:
        """Wait until nothing is under way, until a time of the loop's clock."""
        core = self._core
        quiet = asyncio.Event()
        self._session.when_quiet(lambda: core.post(_set, quiet))
        await core.wait_empty(max(0.0, deadline - core.loop.time()))
        try:
            async with asyncio.timeout_at(deadline):
                await quiet.wait()
        except TimeoutError:
            pass

    async def _over(self, timeout: float) -> None:  # noqa: ASYNC109 - then it is abandoned
        core = self._core
        if not await core.closed(timeout):
            self._session.abandon()
            await core.closed(LAST_MOMENT_SECONDS)

    def _closed_error(self) -> ConnectionClosed:
        return self._session.closed_error("the connection is closed")


def _set(event: asyncio.Event) -> None:
    event.set()
