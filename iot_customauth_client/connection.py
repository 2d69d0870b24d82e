"""The sync face: a connection for scripts with threads.

Everything that decides is in the session; here callers wait, and futures and iterators are made. Every method may be
called from any thread and from handlers: none of our threads ever waits for something that only it could do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from .clock import Clock
from .errors import CustomAuthError
from .futures import PublishFuture, ReplyFuture
from .inbox import Registration
from .messages import CloseReport, Message
from .opening import (
    Ack,
    GivenCredentials,
    GivenOutbox,
    OnHandlerError,
    check_handler,
    check_subscription,
    check_timeout,
    outbox_of,
    settings_of,
)
from .publishing import UNSET, Payload, PublishArguments, check_qos, outgoing_of
from .runtime import runtime
from .session import Session
from .settings import ConnectionSettings, SettingsDict
from .shared_credentials import source_of
from .standing import Standing
from .state import State, StateChange
from .subscription import Handler, Subscription
from .topics import check_topic_filter

if TYPE_CHECKING:
    from .service_handle import ServiceHandle
    from .stats import Stats

ServiceT = TypeVar("ServiceT")


def connect(
    endpoint: str | ConnectionSettings,
    *,
    client_id: str | None = None,
    credentials: GivenCredentials,
    outbox: GivenOutbox | None = None,
    on_state_change: Callable[[StateChange], object] | None = None,
    clock: Clock | None = None,
    timeout: float | None = 60,
    **settings: Unpack[SettingsDict],
) -> Connection:
    """Connect and return a `Connection`.

    `endpoint` is a host name or finished `ConnectionSettings`; further settings override those. `credentials` are
    `Credentials`, a function (plain or async) that returns some and is asked for new ones before they end, or a
    `SharedCredentials`. `outbox` holds what was accepted and is not acknowledged: a `MemoryOutbox()` unless a
    `SqliteOutbox(path)` shall keep it beyond this process. `on_state_change` is told of every change, the first one
    included, as by `Connection.on_state_change`.

    Waits until `timeout` seconds are over (`None`: for ever; 0: returns at once and goes on in the background):

    - a `ConfigurationError`, a certificate that is refused, a proxy's 407, expired credentials that cannot be renewed,
      `CredentialsRejected`, and a refusal of the endpoint (`AuthenticationRefused`; after one more attempt if fresh
      credentials can be had) are raised at once;
    - `ClosedBeforeConnack` is raised at the second time in a row: MQTT 3.1.1 refusals look like this, and so does a
      bad link;
    - all else (DNS, TCP, time-outs, an unavailable server or source of credentials) is tried again, with growing,
      jittered pauses; at last `ConnectTimeout` tells the last attempt's diagnosis.

    If it raises, nothing of it can connect any more. Once it was connected, a lost connection is made again, and only
    `close()` or an error that more attempts cannot mend ends it. The service may end a connection at any time: its
    policy can change, and the authorizer's `disconnectAfterInSeconds` ends it (see `disconnect_after_seconds`).
    """
    check_timeout(timeout)
    connection = Connection(
        settings_of(endpoint, client_id, dict(settings)),
        credentials,
        outbox=outbox,
        on_state_change=on_state_change,
        clock=clock,
    )
    connection._open(timeout)
    return connection


class Connection:
    """A connection to AWS IoT Core. Made by `connect()`; a context manager that closes it.

    It outlives its network and its credentials: it connects again after a loss, and renews before credentials or the
    connection's own time are over; what was accepted is kept and sent, subscriptions stay.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        credentials: GivenCredentials,
        *,
        outbox: GivenOutbox | None = None,
        on_state_change: Callable[[StateChange], object] | None = None,
        clock: Clock | None = None,
    ) -> None:
        shared = self._runtime = runtime()
        self._standing = Standing(shared)
        if on_state_change is not None:
            self._standing.listen(on_state_change)
        self._session = self._standing.session = Session(
            settings,
            source_of(credentials),
            outbox=outbox_of(outbox),
            clock=clock or shared.clock,
            runtime=shared,
            observer=self._standing.observe,
        )
        # What each `publish()` needs, so that it need not ask its way.
        self._outbox = self._session.outbox
        self._monotonic = (clock or shared.clock).monotonic
        self._mqtt5 = settings.protocol == "mqtt5"

    def _open(self, timeout: float | None) -> None:
        """Begin to connect, and wait for it; `connect()` does this."""
        self._standing.open(timeout)

    # -- where it stands ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._standing.state

    @property
    def connected(self) -> bool:
        """Whether it is connected just now."""
        return self._standing.connected

    @property
    def last_error(self) -> CustomAuthError | None:
        """The last error of connecting, or of what ended the connection."""
        return self._session.error

    @property
    def native(self) -> Any:
        """The live `awscrt.mqtt5.Client` or `awscrt.mqtt.Connection`; `None` before the first attempt.

        It stays the same across reconnects while the carried credentials do. It is another one after a renewal on
        `mqtt5` with credentials in CONNECT: bind to it by `service()`.
        """
        self._runtime.check()
        return self._session.native

    def service(self, factory: Callable[[Any], ServiceT]) -> ServiceHandle[ServiceT]:
        """Make a client that binds to the native object, such as awsiot's shadow, jobs and identity clients.

        `factory(native)` is called now (or, before the first attempt, once there is a native object), and again
        whenever that is replaced; `.current` of the handle is the latest.
        """
        self._runtime.check()
        return self._session.service(factory)

    def stats(self) -> Stats:
        """Return counts of this moment: attempts, renewals, messages, what waits in the outbox and how old it is."""
        self._runtime.check()
        return self._session.stats()

    def on_state_change(self, callback: Callable[[StateChange], object]) -> Callable[[], None]:
        """Call `callback(change)`, on a worker thread and in order, at every change; returns what removes it."""
        self._runtime.check()
        return self._standing.listen(callback)

    def wait_connected(self, timeout: float | None = None) -> None:
        """Wait until it is connected. Raises what ended it, or `OperationTimeout` after `timeout` seconds."""
        self._runtime.check()
        check_timeout(timeout)
        self._standing.wait_connected(timeout)

    def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until it is over; raises `ConnectionClosed` with the cause, if an error ended it.

        Raises `OperationTimeout` after `timeout` seconds.
        """
        self._runtime.check()
        check_timeout(timeout)
        self._standing.wait_closed(timeout)

    def retry_now(self) -> None:
        """Try to connect at once, if it waits for the next attempt: the modem came up. Else without effect.

        Never more than one CONNECT a second is sent for a client id.
        """
        self._runtime.check()
        self._session.retry_now()

    # -- ending -------------------------------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was accepted is acknowledged, across reconnects.

        Raises `OperationTimeout` after `timeout` seconds (`None`: no limit), `ConnectionClosed` if the connection
        ended with messages unacknowledged. What became of each message is told by its future.
        """
        self._runtime.check()
        check_timeout(timeout)
        self._standing.flush(timeout)

    def close(self, *, timeout: float | None = 5.0, drain: bool = True) -> CloseReport:
        """Close, and say what was left: back within `timeout` seconds (and 0.4 s), whatever the network does.

        With `drain` it first waits for acknowledgements of what was accepted (`timeout=None`: for ever). What a
        `SqliteOutbox` has stored by then is kept, and goes out with the next process. Session and subscriptions stay
        at the service for `session_expiry_seconds`. A second call does nothing. A handler, any thread, and a callback
        may call it; on a signal use `close_on_signal`, or call it from another thread.
        """
        self._runtime.check()
        check_timeout(timeout)
        return self._standing.close(timeout, drain=drain)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(drain=kind is None)

    # -- messages -----------------------------------------------------------------------------------------------------

    def publish(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        timeout: float | None = None,
        **arguments: Unpack[PublishArguments],
    ) -> PublishFuture:
        """Accept a message to be sent, in the order of the calls, and return its future. Does not wait.

        `payload` (bytes, or text as UTF-8; at most 128 KiB) or `json`; `qos` 0 or 1; `timeout` in seconds from now
        until the acknowledgement. `expiry_seconds`, `content_type`, `response_topic`, `correlation_data` and
        `user_properties` are properties of MQTT 5.

        Raises at once `InvalidTopic`, `PayloadTooLarge`, `NotSupported`, `OutboxFull`, `ConnectionClosed` and
        `ConfigurationError`. The service may refuse it later (`PolicyDenied`), with MQTT 3.1.1 by hanging up.
        """
        self._runtime.check()
        if timeout is not None:
            check_timeout(timeout)
        outbox = self._outbox
        future = PublishFuture(self._runtime)
        entry = outgoing_of(topic, payload, arguments, future, self._monotonic(), self._mqtt5)
        future.follow(outbox, entry)
        outbox.accept(entry)
        if timeout is not None:
            future.expire_at(partial(self._session.call_in, timeout), timeout)
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
        """Subscribe to a topic filter; returns at once. It lives on across reconnects, until closed.

        With a `handler`, it is called with each `Message` on a worker thread, one at a time and in order, and may
        block, publish and wait. Without one, the `Subscription` is an iterator. `ack="manual"`: messages are
        acknowledged by `Message.ack()` only (MQTT 5). `on_handler_error="redeliver"` leaves the message of a handler
        that raised unacknowledged: the service sends it again when the session is resumed (MQTT 5), and until then it
        counts among the 100 that may be unacknowledged. `max_queued` bounds what waits here with QoS 0: the oldest is
        dropped and counted. QoS 1 is never dropped: with MQTT 5 the service holds back after 100 unacknowledged ones,
        with 3.1.1, where awscrt acknowledges on arrival, what waits here has no bound.

        Raises `InvalidTopic`, `NotSupported` (QoS 2), `ConnectionClosed`, and `TypeError` for a coroutine function.
        The service may refuse it later: see `Subscription.wait_granted`.
        """
        check_topic_filter(topic_filter)
        check_qos(qos)
        check_handler(handler)
        check_subscription(
            handler,
            qos=qos,
            ack=ack,
            on_handler_error=on_handler_error,
            max_queued=max_queued,
            mqtt5=self._session.settings.protocol == "mqtt5",
        )
        subscription = Subscription(
            self._standing,
            topic_filter,
            handler=handler,
            ack=ack,
            max_queued=max_queued,
            on_handler_error=on_handler_error,
        )
        registration = Registration(topic_filter, qos, subscription)
        subscription.attach(registration)
        self._session.register(registration)
        return subscription

    # -- request and response -----------------------------------------------------------------------------------------

    def request(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        json: Any = UNSET,
        response_topic: str | None = None,
        timeout: float | None,
    ) -> Message:
        """Publish a request (QoS 1), wait for its reply, and return it.

        The reply comes on `response_topic`, by default `<topic>/response`; the policy must allow `iot:Subscribe` and
        `iot:Receive` for it, and the responder's policy `iot:Publish`. With MQTT 3.1.1 no other topic can be named, and
        one request at a time is under way for each. `timeout`, in seconds, spans everything, also a time without
        connection; `None` waits for ever. May be called from handlers.

        Raises `OperationTimeout` (`stage` "queued": it was never sent), `PolicyDenied`, `ConnectionClosed`, and what
        `publish()` raises.
        """
        self._runtime.check()
        check_timeout(timeout)
        reply = ReplyFuture()
        request = self._session.requests.ask(
            topic, payload, answer=reply, timeout=timeout, json=json, response_topic=response_topic
        )
        try:
            return reply.result()
        finally:  # by Ctrl+C it is left early; once it has ended, without effect
            request.cancel()

    def respond(
        self,
        topic_filter: str,
        handler: Callable[[Message], object],
        *,
        max_queued: int = 1_000,
        on_handler_error: OnHandlerError = "acknowledge",
    ) -> Subscription:
        """Answer requests: what `handler(message)` returns is published as the reply (QoS 1).

        It may return bytes, text, a dict or a list (sent as JSON), or `None` (an empty reply). The reply goes to the
        request's response topic, with MQTT 3.1.1 to `<topic>/response`. The request is acknowledged once the reply is
        accepted. A handler that raises sends no reply: the requester's time runs out. Requests are answered one after
        the other. The subscription is one as by `subscribe()`, with its arguments and errors.
        """
        check_handler(handler, needed=True)
        answering = self._session.requests.responder(handler)
        return self.subscribe(topic_filter, answering, max_queued=max_queued, on_handler_error=on_handler_error)

    def __repr__(self) -> str:
        settings = self._session.settings
        return (
            f"Connection({settings.client_id!r} at {settings.endpoint}:{settings.port}, {self._standing.state.value})"
        )
