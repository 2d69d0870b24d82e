"""Publishing over HTTPS: the sync face, and what both faces share.

For a device that sends now and then and never listens: one request a message, no session, no client id. The service
asks the authorizer for every request, unless the authorizer caches for HTTP and the connection is the same; so the
connection is kept.
"""

from __future__ import annotations

import concurrent.futures
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, Unpack

from .carriage import redact_headers, redact_query
from .commands import curl_publish, openssl, placeholders, with_placeholders
from .credentials import Credentials
from .dialling import proxy_of
from .errors import ConfigurationError, CredentialsExpired, CustomAuthError
from .http_answers import HttpAnswer, explain_publish_answer
from .https_exchange import Done, Exchange
from .https_request import HttpPlace, credential_parts, make_request, message_parts
from .kept_connection import KeptConnection, http_alpn
from .messages import PublishResult
from .outgoing import Outgoing
from .plan import PublishPlan, host_notes, size_notes, trust_of
from .publishing import Payload, PublishArguments, make_outgoing
from .runtime import runtime
from .settings import ConnectionSettings

DEFAULT_TIMEOUT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class HttpsResult:
    """The service took the message. `trace_id` is its own name for the request, `None` if it gave none."""

    trace_id: str | None
    status: int


class _Nobody:
    """Stands where a message of the outbox has somebody who waits: over HTTPS the answer goes to the caller."""

    def resolve(self, result: PublishResult) -> None:
        """Not called."""

    def reject(self, error: CustomAuthError) -> None:
        """Not called."""


class PublisherCore:
    """What both faces do: check, make the request, hand it over, read the answer.

    Raises `ConfigurationError` for settings that HTTPS cannot use.
    """

    def __init__(self, settings: ConnectionSettings, credentials: Credentials) -> None:
        if not isinstance(settings, ConnectionSettings):
            raise ConfigurationError(f"settings must be a ConnectionSettings, not {type(settings).__name__}")
        if not isinstance(credentials, Credentials):
            raise ConfigurationError(
                f"credentials must be a Credentials, not {type(credentials).__name__}: see Credentials.from_...()"
            )
        http_alpn(settings)
        self.settings = settings
        self._credentials = credentials
        self._runtime = runtime()
        self.connection = KeptConnection(settings, self._runtime)

    def outgoing(self, topic: str, payload: Payload, **arguments: Unpack[PublishArguments]) -> Outgoing:
        """Check the arguments as `publish()` over MQTT does. Raises what `publishing.make_outgoing` raises."""
        return make_outgoing(topic, payload, promise=_Nobody(), accepted_at=0.0, mqtt5=True, **arguments)

    def submit(self, entry: Outgoing, place: HttpPlace, timeout: float, done: Done) -> Exchange:
        """Hand the message over; `done` follows. Raises what the faces say that they raise at once."""
        if not timeout > 0:
            raise ConfigurationError("timeout must be more than 0 seconds: without an answer nothing else could go out")
        if self._credentials.expired(self._runtime.clock.monotonic()):
            raise CredentialsExpired("the credentials have expired", client_id=self.settings.client_id)
        settings = self.settings
        request = make_request(entry, self._credentials.reveal(), place, settings.endpoint, settings.port)
        return self.connection.submit(request, timeout, done)

    def result(self, answer: HttpAnswer, exchange: Exchange) -> HttpsResult:
        """Return what an accepted message gives. Raises the error that another answer means."""
        elapsed = self._runtime.clock.monotonic() - exchange.accepted_at
        common = {"phase": "connected", "client_id": self.settings.client_id, "elapsed_seconds": round(elapsed, 3)}
        error = explain_publish_answer(answer, exchange.request.sent, common)
        if error is not None:
            raise error
        return HttpsResult(answer.trace_id, answer.status)

    def explain(self, entry: Outgoing, place: HttpPlace) -> PublishPlan:
        """Return what would be sent for a message, with secrets hidden."""
        settings, raw = self.settings, self._credentials.reveal()
        parts = message_parts(entry)
        whole = credential_parts(parts, raw, place)
        proxy, alpn = proxy_of(settings), http_alpn(settings)
        in_headers = place == "headers"
        query = whole.target[len(parts.target) :]  # what the credentials added
        shown_target = parts.target + (f"&{redact_query(query[1:])}" if query else "")
        shown_headers = parts.headers + redact_headers(whole.headers[len(parts.headers) :])
        command_target = parts.target if in_headers else with_placeholders(parts.target, raw)
        command_headers = parts.headers + (placeholders(raw, encoded=False) if in_headers else ())
        return PublishPlan(
            host=settings.endpoint,
            port=settings.port,
            server_name=settings.endpoint,
            alpn=alpn,
            trust=trust_of(settings),
            proxy=None if proxy is None else repr(proxy),
            target=shown_target,
            headers=shown_headers,
            payload_bytes=len(entry.payload),
            notes=(*host_notes(settings), *size_notes(whole.target, whole.headers)),
            commands=(
                openssl(settings, proxy, alpn),
                curl_publish(settings, proxy, command_target, command_headers),
            ),
        )


class HttpsPublisher:
    """Publishes over HTTPS on one kept-alive connection. A context manager; usable from any thread.

    `settings` say where, which authorities are trusted, through which proxy, and how long dialling may take; what is
    about MQTT in them (client id, keep alive, will ...) is not used. `credentials` must not have a user name or a
    password: HTTPS has no place for them, `parameters` travel instead.

    Nothing is dialled before the first `publish()`. Requests go out in the order of the calls, one at a time. When the
    endpoint has closed the kept connection, it is dialled again, once, and the request sent again: then a message may
    arrive twice.
    """

    def __init__(self, settings: ConnectionSettings, credentials: Credentials) -> None:
        self._core = PublisherCore(settings, credentials)

    def publish(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        credentials_in: HttpPlace = "headers",
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        **arguments: Unpack[PublishArguments],
    ) -> HttpsResult:
        """Publish one message and wait for the service's answer, at most `timeout` seconds from now.

        Arguments as for `Connection.publish`; `credentials_in` says where the credentials travel. An empty payload
        with `retain` deletes the retained message.

        Raises before anything is sent `InvalidTopic`, `PayloadTooLarge`, `NotSupported` (QoS 2), `ConfigurationError`,
        `CredentialsExpired`, `ConnectionClosed`; then `AuthenticationRefused` (HTTP 401, 403: the authorizer or its
        policy; `reason_code` is the status), `Throttled` (429), `PayloadTooLarge` (413), `OperationError` (400 and what
        else the service does not take), `EndpointUnreachable` (DNS, TCP, 5xx), `TlsFailed`, `ProxyRefused`,
        `OperationTimeout`, and `ConnectError` if the connection ended before the answer. `trace_id` of an error, if
        any, is the service's name for the request.
        """
        core = self._core
        entry = core.outgoing(topic, payload, **arguments)
        future: concurrent.futures.Future[HttpAnswer] = concurrent.futures.Future()

        def done(answer: HttpAnswer | None, error: CustomAuthError | None) -> None:
            if answer is not None:
                future.set_result(answer)
            else:
                future.set_exception(error)

        exchange = core.submit(entry, credentials_in, timeout, done)
        try:
            answer = future.result()
        except CustomAuthError:
            raise
        except BaseException:  # Ctrl-C while waiting
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
        """Return what `publish()` with these arguments would send, with secrets hidden; `str()` of it is readable."""
        entry = self._core.outgoing(topic, payload, **arguments)
        return self._core.explain(entry, credentials_in)

    def close(self, *, timeout: float = 5.0) -> None:
        """Close, after what other threads are publishing, within `timeout` seconds. A second call is harmless."""
        self._core.connection.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        settings = self._core.settings
        return f"HttpsPublisher({settings.endpoint}:{settings.port})"
