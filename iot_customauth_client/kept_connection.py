"""One kept-alive HTTPS connection, over `awscrt.http`: requests go out one after the other, in the order of the calls.

awscrt gives a connection and streams, no more: no pool, no retry, no time limit. Here is what one publisher needs::

    idle --submit--> dialling --> ready <--answer-- busy
      ^                 |           |  ^--send------> |
      |                 v           v                 v
      +---------- dial failed    closed by the peer, time-out, lost

- one request at a time: HTTP/1.1 answers have no name, so what was not answered in time costs the connection;
- a connection that had answered before and is found closed is dialled once more, and the request sent again: the peer
  ends idle connections when it likes. A message may then arrive twice, as MQTT QoS 1 may; a first request is not sent
  again;
- TLS that fails is explained by a second handshake (`tls_probe.py`): awscrt needs 12 to 28 s to say less.

Every decision runs on `_serial`, so there is one owner and no lock. It knows neither futures nor event loops.
"""

from __future__ import annotations

import io
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from .clock import Timer
from .diagnosis import Context, Policy, explain_dial, policy_of
from .dialling import proxy_of, proxy_options, socket_options, tls_options
from .errors import (
    ConfigurationError,
    ConnectError,
    ConnectionClosed,
    CustomAuthError,
    EndpointUnreachable,
    OperationTimeout,
    ProxyRefused,
    TlsFailed,
)
from .http_answers import HttpAnswer
from .https_exchange import Done, Exchange
from .https_request import PublishRequest
from .limits import ALPN_MQTT
from .links.base import native_name
from .runtime import Runtime
from .settings import ConnectionSettings
from .workers import Serial

if TYPE_CHECKING:
    from awscrt.http import HttpClientConnection, HttpClientStream

_PROBE_AFTER_SECONDS: Final = 2.0
_PROBE_TIMEOUT_SECONDS: Final = 5.0
_EXPLAINED_BY_PROBE: Final = (TlsFailed, ProxyRefused)


class KeptConnection:
    """The connection of one publisher to one endpoint. All methods return at once, but `close`, from any thread."""

    def __init__(self, settings: ConnectionSettings, runtime: Runtime) -> None:
        self._settings = settings
        self._runtime = runtime
        self._serial = Serial(runtime.workers)
        self._key = ("https", id(self))
        self._queue: deque[Exchange] = deque()
        self._current: Exchange | None = None
        self._native: HttpClientConnection | None = None
        self._has_answered = False
        self._dial_number = 0
        self._dialling_since: float | None = None
        self._probe_timer: Timer | None = None
        self._dial_timer: Timer | None = None
        self._probed: ConnectError | None = None
        self._closing = False
        self._closed = threading.Event()
        self._quiet = threading.Event()
        self._draining = False
        self._shut_down = False
        runtime.enter(self._key, self)

    def submit(self, request: PublishRequest, timeout: float, done: Done) -> Exchange:
        """Send a request after those before it; `done` follows, after `timeout` seconds at the latest.

        Raises `ConnectionClosed` after `close`, and `ConfigurationError` in a forked child.
        """
        self._runtime.check()
        if self._closing:
            raise ConnectionClosed("the publisher is closed", phase="closing")
        clock = self._runtime.clock
        exchange = Exchange(request, done, clock.monotonic())
        late = self._posting(lambda me: me._timed_out(exchange, timeout))
        exchange.timer = clock.call_at(exchange.accepted_at + timeout, late)
        self._serial.post(partial(self._accept, exchange))
        return exchange

    def withdraw(self, exchange: Exchange) -> None:
        """Do not send it if it was not sent yet; else drop its answer. The connection stays as it is."""
        exchange.forget()
        self._serial.post(partial(self._withdrawn, exchange))

    def close(self, timeout: float) -> None:
        """Take nothing more, wait for what was taken, then close: all that within `timeout` seconds."""
        deadline = self._runtime.clock.monotonic() + timeout
        self._closing = True
        self._serial.post(self._drain)  # behind all that was accepted
        self._quiet.wait(timeout)
        self.begin_close()
        self.finish_close(max(0.0, deadline - self._runtime.clock.monotonic()))

    def begin_close(self) -> None:
        """Begin to close without waiting for answers."""
        self._closing = True
        self._closed = threading.Event()
        self._serial.post(partial(self._shut, self._closed))

    def finish_close(self, timeout: float) -> None:
        """Wait until it is closed, at most `timeout` seconds."""
        self._closed.wait(timeout)

    # -- the queue (on _serial) ---------------------------------------------------------------------------------------

    def _accept(self, exchange: Exchange) -> None:
        if self._draining or self._shut_down:  # it was submitted while another thread closed
            self._turn_away(exchange)
            return
        self._queue.append(exchange)
        self._next()

    def _drain(self) -> None:
        self._draining = True
        self._next()

    def _turn_away(self, exchange: Exchange) -> None:
        if exchange.timer is not None:
            exchange.timer.cancel()
        exchange.tell(None, ConnectionClosed("the publisher was closed before the answer", phase="closing"))

    def _next(self) -> None:
        if self._current is not None:
            return
        while self._queue and self._queue[0].over:
            self._queue.popleft()
        if not self._queue:
            if self._draining:
                self._quiet.set()
            return
        self._current = self._queue.popleft()
        if self._native is not None and self._native.is_open():
            self._send(self._native)
        else:
            self._dial()

    def _end_current(self, answer: HttpAnswer | None, error: CustomAuthError | None) -> None:
        exchange, self._current = self._current, None
        if exchange is not None:
            if exchange.timer is not None:
                exchange.timer.cancel()
            exchange.tell(answer, error)
        self._next()

    def _timed_out(self, exchange: Exchange, timeout: float) -> None:
        words = f"the message to {exchange.request.sent.topic!r}"
        sent = exchange.sent or exchange.resent
        stage: Literal["queued", "sent"] = "sent" if sent else "queued"
        error = OperationTimeout(
            f"{words} was not answered within {timeout:g} s; it may still have arrived"
            if sent
            else f"{words} was not sent within {timeout:g} s",
            stage=stage,
            **self._context(exchange).common("connected" if sent else "connect"),
        )
        if not sent and self._probed is not None:
            error.likely_causes = (f"a second handshake says: {self._probed.message}",)
            error.__cause__ = self._probed
        exchange.tell(None, error)
        if exchange is self._current:
            if exchange.sent:
                self._drop_native()  # its answer may still come, and would be taken for the next one's
            self._end_current(None, None)

    def _withdrawn(self, exchange: Exchange) -> None:
        if exchange is self._current and not exchange.sent:
            self._end_current(None, None)
        # One that was sent keeps its timer: should no answer come, the connection is of no use.
        elif exchange is not self._current and exchange.timer is not None:
            exchange.timer.cancel()

    # -- dialling (on _serial) ----------------------------------------------------------------------------------------

    def _dial(self) -> None:
        if self._dialling_since is not None:
            return
        self._drop_native()
        self._dial_number += 1
        clock = self._runtime.clock
        self._dialling_since, self._probed = clock.monotonic(), None
        settings = self._settings
        try:
            from awscrt import http

            dialled = http.HttpClientConnection.new(
                settings.endpoint,
                settings.port,
                bootstrap=self._runtime.bootstrap(),
                socket_options=socket_options(settings),
                tls_connection_options=tls_options(settings, self._runtime, http_alpn(settings)),
                proxy_options=proxy_options(proxy_of(settings)),
            )
        except (CustomAuthError, RuntimeError) as error:
            self._dial_over()
            self._end_current(None, error if isinstance(error, CustomAuthError) else self._explained(error))
            return
        number = self._dial_number
        slow = self._posting(lambda me: me._probe(number, None))
        self._probe_timer = clock.call_at(self._dialling_since + _PROBE_AFTER_SECONDS, slow)
        too_long = self._posting(lambda me: me._dial_too_long(number))
        self._dial_timer = clock.call_at(self._dialling_since + settings.connect_timeout_seconds, too_long)
        # Holds this object until awscrt has an outcome: a dial that nobody waits for any more must still be closed.
        dialled.add_done_callback(lambda future: self._serial.post(partial(self._dialled, number, future)))

    def _dialled(self, number: int, future: Any) -> None:
        error = future.exception()
        if number != self._dial_number:
            if error is None:
                future.result().close()
            return
        if error is None:
            self._dial_over()
            self._native, self._has_answered = future.result(), False
            self._send(self._native)
            return
        explained = self._explained(error)
        if self._probed is not None and isinstance(explained, _EXPLAINED_BY_PROBE):
            explained = self._probed
        elif isinstance(explained, _EXPLAINED_BY_PROBE) or explained.code == "dial_failed":
            self._probe(number, explained)
            return
        self._dial_over()
        self._end_current(None, explained)

    def _dial_too_long(self, number: int) -> None:
        """Give a dial up: awscrt waits for ever for a proxy that does not answer CONNECT."""
        if number != self._dial_number or self._dialling_since is None:
            return
        self._dial_number += 1  # whatever becomes of this dial is closed unseen
        self._dial_over()
        settings = self._settings
        self._end_current(
            None,
            self._probed
            or EndpointUnreachable(
                f"no connection to {settings.endpoint}:{settings.port} in {settings.connect_timeout_seconds:g} s",
                code="attempt_timeout",
                likely_causes=("the network drops what is sent", "the endpoint or the proxy is overloaded"),
                **self._context(self._current).common("connect"),
            ),
        )

    def _dial_over(self) -> None:
        self._dialling_since = None
        for timer in (self._probe_timer, self._dial_timer):
            if timer is not None:
                timer.cancel()
        self._probe_timer = self._dial_timer = None

    def _explained(self, error: BaseException) -> ConnectError:
        return explain_dial(error, native_name(error), self._context(self._current))

    def _probe(self, number: int, failed: ConnectError | None) -> None:
        """Shake hands a second time: because the dial takes long, or because it failed and awscrt cannot say why."""
        if number != self._dial_number or self._dialling_since is None:
            return
        from .tls_probe import ProbeTarget, probe

        settings = self._settings
        target = ProbeTarget(
            settings.endpoint, settings.port, settings.ca_file, http_alpn(settings), proxy_of(settings)
        )
        tell = self._posting_with(lambda me, found: me._probe_done(number, failed, found))

        def knock() -> None:
            found: ConnectError | None = None
            try:
                found = probe(target, _PROBE_TIMEOUT_SECONDS)
            finally:
                tell(found)

        self._runtime.workers.submit(knock)

    def _probe_done(self, number: int, failed: ConnectError | None, found: ConnectError | None) -> None:
        if number != self._dial_number or self._dialling_since is None:
            return
        context = self._context(self._current)
        if found is not None:
            found.client_id, found.elapsed_seconds = context.settings.client_id, round(context.elapsed_seconds, 3)
            self._probed = found
        if failed is not None:
            if found is not None:
                found.__cause__ = failed.__cause__
            self._dial_over()
            self._end_current(None, found or failed)
        elif found is not None and policy_of(found) is Policy.RAISE:
            self._dial_number += 1  # whatever becomes of this dial is closed unseen
            self._dial_over()
            self._end_current(None, found)

    # -- one request (on _serial) -------------------------------------------------------------------------------------

    def _send(self, native: HttpClientConnection) -> None:
        exchange = self._current
        if exchange is None or exchange.over:  # nobody wants it any more
            self._end_current(None, None)
            return
        from awscrt import http

        request = exchange.request
        message = http.HttpRequest("POST", request.target, http.HttpHeaders(list(request.headers)))
        if request.body:
            message.body_stream = io.BytesIO(request.body)
        exchange.sent = True
        try:
            stream: HttpClientStream = native.request(message, exchange.on_response, exchange.on_body)
            stream.completion_future.add_done_callback(partial(self._completed, exchange, native))
            stream.activate()
        except RuntimeError as error:
            self._broken(exchange, native, error)

    def _completed(self, exchange: Exchange, native: HttpClientConnection, future: Any) -> None:
        # On the native thread. Whoever waits is woken from here; a status that came counts, whatever came after it.
        error = future.exception()
        answer = exchange.answer()
        if answer is not None:
            exchange.tell(answer, None)
            self._serial.post(partial(self._answered, exchange, native))
        else:
            self._serial.post(partial(self._broken, exchange, native, error))

    def _answered(self, exchange: Exchange, native: HttpClientConnection) -> None:
        if native is self._native:
            self._has_answered = True
        if exchange is self._current:
            self._end_current(None, None)

    def _broken(self, exchange: Exchange, native: HttpClientConnection, error: BaseException | None) -> None:
        if exchange is not self._current:
            return
        was_kept = self._has_answered
        if native is self._native:
            self._drop_native()
        if was_kept and not exchange.over:
            exchange.resent, exchange.sent = True, False
            self._dial()
            return
        hung_up = native_name(error) == "AWS_ERROR_HTTP_CONNECTION_CLOSED"  # in good order, before its first answer
        not_spoken = "the domain configuration of this host name does not speak HTTPS (it is a SECURE_MQTT one)"
        causes = (f"the endpoint hung up: {not_spoken}", "the network went away")
        lost = ConnectError(
            f"the connection to {self._settings.endpoint}:{self._settings.port} ended before the answer to the message "
            f"for {exchange.request.sent.topic!r} ({native_name(error) or 'no error code'}); it may have arrived",
            code="connection_lost",
            likely_causes=causes if hung_up else tuple(reversed(causes)),
            **self._context(exchange).common("connected"),
        )
        lost.__cause__ = error
        self._end_current(None, lost)

    # -- the end and small things (on _serial) ------------------------------------------------------------------------

    def _shut(self, closed: threading.Event) -> None:
        left = [*([] if self._current is None else [self._current]), *self._queue]
        self._current = None
        self._queue.clear()
        self._dial_number += 1
        self._dial_over()
        self._shut_down = True
        for exchange in left:
            self._turn_away(exchange)
        self._quiet.set()
        self._runtime.leave(self._key, self)
        native, self._native = self._native, None
        if native is None:
            closed.set()
        else:
            native.close().add_done_callback(lambda _: closed.set())

    def _drop_native(self) -> None:
        native, self._native = self._native, None
        self._has_answered = False
        if native is not None:
            native.close()

    def _context(self, exchange: Exchange | None) -> Context:
        now = self._runtime.clock.monotonic()
        return Context(self._settings, now - (now if exchange is None else exchange.accepted_at))

    def _posting(self, call: Callable[[KeptConnection], None]) -> Callable[[], None]:
        tell = self._posting_with(lambda me, _: call(me))
        return lambda: tell(None)

    def _posting_with(self, call: Callable[[KeptConnection, Any], None]) -> Callable[[Any], None]:
        """Return a callback that posts a call to `_serial`, and does not keep this object alive."""
        reference = weakref.ref(self)

        def post(value: Any) -> None:
            connection = reference()
            if connection is not None:
                connection._serial.post(partial(call, connection, value))

        return post


def http_alpn(settings: ConnectionSettings) -> str | None:
    """Return the ALPN name to offer for HTTPS: none, unless the settings name one. Raises `ConfigurationError`."""
    if settings.alpn == ALPN_MQTT:
        raise ConfigurationError(
            f"alpn {ALPN_MQTT!r} selects MQTT: the service would not read HTTP behind it",
            code="settings_invalid",
            phase="configuration",
            what_to_do='leave alpn at "auto", which offers no name for HTTPS',
        )
    return None if settings.alpn == "auto" else settings.alpn
