"""The sync face: a connection for scripts with threads.

Everything that decides is in the session; here callers wait, and futures and iterators are made. Every method may be
called from any thread and from handlers: none of our threads ever waits for something that only it could do.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, Unpack

from .clock import Clock
from .credentials import Credentials
from .errors import ConfigurationError, ConnectionClosed, CustomAuthError, OperationTimeout
from .futures import PublishFuture
from .inbox import Registration
from .messages import CloseReport
from .publishing import Payload, PublishArguments, check_qos, make_outgoing
from .runtime import runtime
from .session import Session
from .settings import ConnectionSettings, SettingsDict
from .state import State, StateChange
from .subscription import Ack, Handler, Subscription
from .topics import check_topic_filter
from .workers import Serial, Workers

_LAST_MOMENT_SECONDS: Final = 0.2
_NO_LIMIT_SECONDS: Final = 365 * 86_400.0


def connect(
    endpoint: str | ConnectionSettings,
    *,
    client_id: str | None = None,
    credentials: Credentials,
    on_state_change: Callable[[StateChange], None] | None = None,
    clock: Clock | None = None,
    timeout: float | None = 60,
    **settings: Unpack[SettingsDict],
) -> Connection:
    """Connect and return a `Connection`.

    `endpoint` is a host name or finished `ConnectionSettings`; further settings override those. Waits until `timeout`
    seconds are over (`None`: for ever; 0: returns at once and goes on in the background):

    - a `ConfigurationError`, a certificate that is refused, a proxy's 407, expired credentials, and a refusal of the
      endpoint (`AuthenticationRefused`) are raised at once;
    - `ClosedBeforeConnack` is raised at the second time in a row: MQTT 3.1.1 refusals look like this, and so does a
      bad link;
    - all else (DNS, TCP, time-outs, an unavailable server) is tried again, with growing, jittered pauses; at last
      `ConnectTimeout` tells the last attempt's diagnosis.

    If it raises, nothing of it can connect any more. The service may still end the connection at any time: its policy
    can change, and the authorizer's `disconnectAfterInSeconds` ends it.
    """
    overrides: dict[str, Any] = dict(settings)
    if client_id is not None:
        overrides["client_id"] = client_id
    if isinstance(endpoint, ConnectionSettings):
        finished = endpoint.replace(**overrides)
    else:
        finished = ConnectionSettings(endpoint=endpoint, **overrides)
    connection = Connection(finished, credentials, on_state_change=on_state_change, clock=clock)
    connection.open(timeout)
    return connection


class Connection:
    """A connection to AWS IoT Core. Made by `connect()`; a context manager that closes it."""

    def __init__(
        self,
        settings: ConnectionSettings,
        credentials: Credentials,
        *,
        on_state_change: Callable[[StateChange], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        shared = runtime()
        self._runtime = shared
        self._changed = threading.Condition()
        self._listeners: list[Callable[[StateChange], None]] = []
        self._telling = Serial(shared.workers)
        self._state = State.CONNECTING
        if on_state_change is not None:
            self._listeners.append(on_state_change)
        self._session = Session(
            settings, credentials, clock=clock or shared.clock, runtime=shared, observer=self._observe
        )

    # -- connecting and ending ----------------------------------------------------------------------------------------

    def open(self, timeout: float | None) -> None:
        """Begin to connect, and wait for it; `connect()` does this."""
        self._session.start(self)
        if timeout == 0:
            return
        try:
            if not self._wait_for(lambda: self._state in (State.CONNECTED, State.CLOSED), timeout):
                self._session.give_up(timeout or 0.0)
                self._wait_for(lambda: self._state in (State.CONNECTED, State.CLOSED), None)
        except BaseException:  # Ctrl+C, or what a signal handler raised: nobody will have the connection to close it
            self.begin_close()
            self.finish_close(_LAST_MOMENT_SECONDS)
            raise
        if self._state is State.CLOSED:
            error = self._session.error
            raise error if error is not None else self.closed_error("closed while connecting")

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._state

    @property
    def connected(self) -> bool:
        """Whether it is connected just now."""
        return self._state is State.CONNECTED

    @property
    def last_error(self) -> CustomAuthError | None:
        """The last error of connecting, or of what ended the connection."""
        return self._session.error

    @property
    def native(self) -> Any:
        """The live `awscrt.mqtt5.Client` or `awscrt.mqtt.Connection`; `None` before the first attempt."""
        self._runtime.check()
        return self._session.native

    @property
    def workers(self) -> Workers:
        """The threads that handlers run on."""
        return self._runtime.workers

    def wait_connected(self, timeout: float | None = None) -> None:
        """Wait until it is connected. Raises what ended it, or `OperationTimeout` after `timeout` seconds."""
        self._runtime.check()
        if not self._wait_for(lambda: self._state in (State.CONNECTED, State.CLOSED), timeout):
            raise OperationTimeout(f"not connected within {timeout} s", stage="queued")
        if self._state is State.CLOSED:
            raise self.closed_error("the connection is closed")

    def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until it is over; raises `ConnectionClosed` with the cause, if an error ended it.

        Raises `OperationTimeout` after `timeout` seconds.
        """
        self._runtime.check()
        if not self._wait_for(lambda: self._state is State.CLOSED, timeout):
            raise OperationTimeout(f"still open after {timeout} s", stage="queued")
        if self._session.error is not None:
            raise self.closed_error("the connection is closed")

    def on_state_change(self, callback: Callable[[StateChange], None]) -> Callable[[], None]:
        """Call `callback(change)`, on a worker thread and in order, at every change; returns what removes it."""
        self._runtime.check()
        self._listeners = [*self._listeners, callback]

        def remove() -> None:
            self._listeners = [each for each in self._listeners if each is not callback]

        return remove

    def close(self, *, timeout: float | None = 5.0, drain: bool = True) -> CloseReport:
        """Close, and say what was left: back within `timeout` seconds, whatever the network does.

        With `drain` it first waits for acknowledgements of what was accepted (`timeout=None`: for ever). A second call
        does nothing. A handler,
        any thread, and a callback may call it; a signal handler should not.
        """
        self._runtime.check()
        deadline = time.monotonic() + (_NO_LIMIT_SECONDS if timeout is None else timeout)
        if drain and self._state is not State.CLOSED:
            self._drain(deadline)
        self.begin_close()
        self.finish_close(max(_LAST_MOMENT_SECONDS, deadline - time.monotonic()))
        return CloseReport(unacknowledged=self._session.lost, kept=0)

    def begin_close(self) -> None:
        """Begin to close, without draining; returns at once."""
        self._session.end()

    def finish_close(self, timeout: float) -> None:
        """Wait until it is closed, at most `timeout` seconds; then abandon what is left of it."""
        if not self._wait_for(lambda: self._state is State.CLOSED, timeout):
            self._session.abandon()
            self._wait_for(lambda: self._state is State.CLOSED, _LAST_MOMENT_SECONDS if timeout else 0.0)

    def closed_error(self, message: str) -> ConnectionClosed:
        """Return a `ConnectionClosed` with the cause of the end, if there is one."""
        return self._session.closed_error(message)

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
        session = self._session
        future = PublishFuture(self._runtime.workers)
        entry = make_outgoing(
            topic,
            payload,
            promise=future,
            accepted_at=session.monotonic(),
            mqtt5=session.settings.protocol == "mqtt5",
            **arguments,
        )
        future.follow(session.outbox, entry)
        session.publish(entry)
        if timeout is not None:
            future.expire_at(partial(session.call_in, timeout), timeout)
        return future

    def subscribe(
        self,
        topic_filter: str,
        handler: Handler | None = None,
        *,
        qos: int = 1,
        ack: Ack = "auto",
        max_queued: int = 1_000,
    ) -> Subscription:
        """Subscribe to a topic filter; returns at once.

        With a `handler`, it is called with each `Message` on a worker thread, one at a time and in order, and may
        block, publish and wait. Without one, the `Subscription` is an iterator. `ack="manual"`: messages are
        acknowledged by `Message.ack()` only (MQTT 5). `max_queued` bounds what waits here with QoS 0: the oldest is
        dropped and counted. QoS 1 is never dropped: with MQTT 5 the service holds back after 100 unacknowledged ones,
        with 3.1.1, where awscrt acknowledges on arrival, what waits here has no bound.

        Raises `InvalidTopic`, `NotSupported` (QoS 2), `ConnectionClosed`, and `TypeError` for a coroutine function.
        The service may refuse it later: see `Subscription.wait_granted`.
        """
        check_topic_filter(topic_filter)
        check_qos(qos)
        if handler is not None and _is_async(handler):
            raise TypeError("a coroutine function cannot be a handler here: nothing would await it")
        if handler is not None and not callable(handler):
            raise TypeError(f"the handler must be callable, not {type(handler).__name__}")
        if max_queued < 1:
            raise ConfigurationError("max_queued must be 1 or more")
        if ack not in ("auto", "manual"):
            raise ConfigurationError(f'ack must be "auto" or "manual", not {ack!r}')
        subscription = Subscription(self, topic_filter, handler=handler, ack=ack, max_queued=max_queued)
        registration = Registration(topic_filter, qos, subscription)
        subscription.attach(registration)
        self._session.register(registration)
        return subscription

    def unregister(self, registration: Registration) -> None:
        """Take a subscription away; `Subscription.close()` does this."""
        self._runtime.check()
        self._session.unregister(registration)

    def __repr__(self) -> str:
        settings = self._session.settings
        return f"Connection({settings.client_id!r} at {settings.endpoint}:{settings.port}, {self._state.value})"

    # -- inside -------------------------------------------------------------------------------------------------------

    def _drain(self, deadline: float) -> None:
        """Wait until nothing is under way, until the monotonic time `deadline`."""
        quiet = threading.Event()
        self._session.when_quiet(quiet.set)
        self._session.outbox.wait_empty(max(0.0, deadline - time.monotonic()))
        quiet.wait(max(0.0, deadline - time.monotonic()))

    def _observe(self, change: StateChange) -> None:
        with self._changed:
            self._state = change.state
            self._changed.notify_all()
        for listener in self._listeners:
            self._telling.post(partial(listener, change))

    def _wait_for(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout)


def _is_async(handler: object) -> bool:
    # An object with `async def __call__` is one as well.
    call = type(handler).__call__ if callable(handler) else None
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
