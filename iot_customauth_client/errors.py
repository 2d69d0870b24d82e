"""Every error this package raises on purpose, and what each one knows.

::

    CustomAuthError                        code, phase, client_id, elapsed_seconds, likely_causes, what_to_do, trace_id
    ├── ConfigurationError                 what was given cannot work, nothing was sent      (also a ValueError)
    ├── ConnectError                       no connection                                     (also a ConnectionError)
    │   ├── CredentialsUnavailable         the credentials' source failed for now            retry_after_seconds
    │   ├── CredentialsRejected            the credentials' source says: never again
    │   ├── CredentialsExpired             their time was over before the attempt
    │   ├── EndpointUnreachable            DNS or TCP
    │   ├── ProxyRefused                   the HTTP proxy said no                             status
    │   ├── TlsFailed                      certificate, ALPN or handshake
    │   ├── AuthenticationRefused          the endpoint said no                               reason_code, reason_string
    │   ├── ClosedBeforeConnack            it hung up without a word (all that 3.1.1 can say)
    │   ├── ClientIdTakenOver              the same client id connected elsewhere
    │   ├── Throttled                      too many, too fast
    │   └── ConnectTimeout                 the time given to connect() is over                (also a TimeoutError)
    ├── OperationError                     the connection stands, one operation failed
    │   ├── PolicyDenied                   the authorizer's policy forbids it                 action, topic
    │   ├── OutboxFull                     accept less, or wait
    │   ├── MessageExpired                 its expiry passed before it was sent
    │   ├── NotConnected                   it needed a connection just now
    │   ├── NotSupported                   this protocol version or the service cannot do it
    │   ├── PayloadTooLarge                over the service's 128 KiB                         (also a ValueError)
    │   ├── InvalidTopic                   not a topic, or not a topic filter                 (also a ValueError)
    │   └── OperationTimeout               no answer in time          stage "queued" | "sent" (also a TimeoutError)
    └── ConnectionClosed                   it is over; `__cause__` says why

No message, attribute or repr of an error holds a secret: user names, passwords, tokens and signatures stay out. The
native library's own exception, where there was one, is the `__cause__`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self, TypeAlias, TypeVar

Phase: TypeAlias = Literal[
    "configuration", "credentials", "dns", "tcp", "proxy", "tls", "connect", "connected", "closing"
]
"""How far it had come: `connect` is between the TLS handshake and CONNACK, `connected` after CONNACK."""


class CustomAuthError(Exception):
    """Base of all errors of this package.

    `str()` gives one sentence, then the likely causes in order, then what to do; `.message` is the sentence alone.

    Attributes: `code`, a stable slug to search logs and label metrics with; `phase`, how far it had come;
    `client_id`; `elapsed_seconds` since the attempt or operation began; `likely_causes`, the likeliest first;
    `what_to_do`, the next step; `trace_id`, the service's own name for the HTTP request that it answered so. Each but
    `code` may be empty or `None` when it does not apply.
    """

    default_code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        phase: Phase | None = None,
        client_id: str | None = None,
        elapsed_seconds: float | None = None,
        likely_causes: Sequence[str] = (),
        what_to_do: str | None = None,
        trace_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.phase: Phase | None = phase
        self.client_id = client_id
        self.elapsed_seconds = elapsed_seconds
        self.likely_causes = tuple(likely_causes)
        self.what_to_do = what_to_do
        self.trace_id = trace_id

    def __str__(self) -> str:
        lines = [self.message]
        if self.likely_causes:
            lines.append("  likely causes, the likeliest first:")
            lines += [f"    {number}. {cause}" for number, cause in enumerate(self.likely_causes, start=1)]
        if self.what_to_do:
            lines.append(f"  what to do: {self.what_to_do}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Callable[..., CustomAuthError], tuple[Any, ...]]:
        # Exceptions pickle by their positional arguments only; ours have keywords.
        return _rebuild, (type(self), dict(self.__dict__))

    def copy(self) -> Self:
        """Return a new error that says the same, to be raised in another place with a traceback of its own."""
        twin = _rebuild(type(self), dict(self.__dict__))
        twin.__cause__ = self.__cause__
        return twin


ErrorT = TypeVar("ErrorT", bound=CustomAuthError)


def _rebuild(cls: type[ErrorT], attributes: dict[str, Any]) -> ErrorT:
    error = cls.__new__(cls)
    error.args = (attributes["message"],)
    error.__dict__.update(attributes)
    return error


class ConfigurationError(CustomAuthError, ValueError):
    """What was given cannot work. Nothing was sent; the message says what to write instead."""

    default_code = "configuration"


# -- no connection ------------------------------------------------------------------------------------------------


class ConnectError(CustomAuthError, ConnectionError):
    """Base of the reasons why there is no connection."""

    default_code = "connect"


class CredentialsUnavailable(ConnectError):
    """The source of credentials failed, took too long, or gave expired ones; it will be asked again.

    `retry_after_seconds` is what the source asked for, or `None`.
    """

    default_code = "credentials_unavailable"

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, **common: Any) -> None:
        super().__init__(message, **common)
        self.retry_after_seconds = retry_after_seconds


class CredentialsRejected(ConnectError):
    """The source of credentials says that there will be none: the account is gone. Not retried."""

    default_code = "credentials_rejected"


class CredentialsExpired(ConnectError):
    """The credentials' own time was over before they could be sent."""

    default_code = "credentials_expired"


class EndpointUnreachable(ConnectError):
    """The endpoint's name does not resolve, or no TCP connection comes about (`phase` tells which)."""

    default_code = "endpoint_unreachable"


class ProxyRefused(ConnectError):
    """The HTTP proxy did not let the connection through. `status` is its HTTP status, if known."""

    default_code = "proxy_refused"

    def __init__(self, message: str, *, status: int | None = None, **common: Any) -> None:
        super().__init__(message, **common)
        self.status = status


class TlsFailed(ConnectError):
    """The TLS handshake failed: the certificate, the ALPN name, SNI, or something in between.

    `verdict` is true when a second, plain handshake gave a definite reason (then trying again cannot help).
    """

    default_code = "tls_failed"

    def __init__(self, message: str, *, verdict: bool = False, **common: Any) -> None:
        super().__init__(message, **common)
        self.verdict = verdict


class AuthenticationRefused(ConnectError):
    """The endpoint answered and refused: the authorizer, its signature check, or the policy's `iot:Connect`.

    `reason_code` (MQTT 5 CONNACK, or HTTP status) and `reason_string` are what it said.
    """

    default_code = "authentication_refused"

    def __init__(
        self, message: str, *, reason_code: int | None = None, reason_string: str | None = None, **common: Any
    ) -> None:
        super().__init__(message, **common)
        self.reason_code = reason_code
        self.reason_string = reason_string


class ClosedBeforeConnack(ConnectError):
    """The endpoint closed the connection without an answer, to CONNECT or to the upgrade to WebSocket.

    With MQTT 3.1.1 every refusal looks like this, and so does a bad link. `code` is `hung_up_in_upgrade` where the
    upgrade was not answered: then the host name most likely does not serve WebSocket.
    """

    default_code = "closed_before_connack"


class ClientIdTakenOver(ConnectError):
    """Another connection with the same client id came, and the service dropped this one."""

    default_code = "client_id_taken_over"


class Throttled(ConnectError):
    """The service asks for fewer connections or messages."""

    default_code = "throttled"


class ConnectTimeout(ConnectError, TimeoutError):
    """The time given to `connect()` is over; the message and `__cause__` are the last attempt's diagnosis."""

    default_code = "connect_timeout"


# -- one operation ------------------------------------------------------------------------------------------------


class OperationError(CustomAuthError):
    """Base of the failures of one publish, subscribe or request."""

    default_code = "operation"


class PolicyDenied(OperationError):
    """The policy that the authorizer returned forbids it.

    `action` is the policy action (`iot:Publish`, `iot:Subscribe`), `topic` the topic or topic filter.
    """

    default_code = "policy_denied"

    def __init__(self, message: str, *, action: str, topic: str, **common: Any) -> None:
        super().__init__(message, **common)
        self.action = action
        self.topic = topic


class OutboxFull(OperationError):
    """As many messages or bytes as allowed are waiting already; this one was not accepted."""

    default_code = "outbox_full"


class MessageExpired(OperationError):
    """The message's `expiry_seconds` passed before it could be sent."""

    default_code = "message_expired"


class NotConnected(OperationError):
    """It can be done only while connected (QoS 0 is never kept for later)."""

    default_code = "not_connected"


class NotSupported(OperationError):
    """The protocol version, the service, or the way of connecting cannot do it."""

    default_code = "not_supported"


class PayloadTooLarge(OperationError, ValueError):
    """The payload is over the service's limit, `limits.MAX_PAYLOAD_BYTES`."""

    default_code = "payload_too_large"


class InvalidTopic(OperationError, ValueError):
    """Not a topic that can be published to, or not a topic filter that can be subscribed to."""

    default_code = "invalid_topic"


class OperationTimeout(OperationError, TimeoutError):
    """No answer in time. With `stage` "queued" nothing was sent; with "sent" it may still have arrived."""

    default_code = "operation_timeout"

    def __init__(self, message: str, *, stage: Literal["queued", "sent"], **common: Any) -> None:
        super().__init__(message, **common)
        self.stage: Literal["queued", "sent"] = stage


class ConnectionClosed(CustomAuthError):
    """The connection is over, by `close()` or by an error: then `__cause__` is that error."""

    default_code = "connection_closed"
