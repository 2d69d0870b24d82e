"""From what the native library reports to an error that names the cause.

awscrt gives a name like `AWS_IO_SOCKET_CLOSED`, sometimes a reason code of MQTT 5; a person wants to know what
happened, why probably, and what to do. The tables below are read in this order: a reason code from CONNACK or
DISCONNECT, then awscrt's name, then whether CONNACK had come. Where HTTP answered, `http_answers.py` goes on.
`policy_of` says what the first `connect()` does with an error: raise it, raise it at the second time in a row, or try
again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from .errors import (
    AuthenticationRefused,
    ClientIdTakenOver,
    ClosedBeforeConnack,
    ConfigurationError,
    ConnectError,
    CredentialsExpired,
    CredentialsRejected,
    EndpointUnreachable,
    Phase,
    ProxyRefused,
    Throttled,
    TlsFailed,
)
from .limits import ALPN_MQTT
from .links.base import LinkEnd
from .reason_names import REASON_NAMES

if TYPE_CHECKING:
    from .settings import ConnectionSettings

_PROXY_AUTHENTICATION_REQUIRED: Final = 407
_FAILED: Final = 0x80
_OTHER_PROTOCOL: Final = "the domain configuration of this host name does not speak {} (its application protocol is {})"
UPGRADE_FAILED: Final = "AWS_ERROR_HTTP_WEBSOCKET_UPGRADE_FAILURE"
"""awscrt's name for any answer to an upgrade but 101."""


class Policy(Enum):
    """What the first `connect()` does with an outcome."""

    RAISE = "raise at once"
    SECOND_TIME = "raise at the second time in a row"
    RETRY = "try again until the time is over"


def policy_of(error: ConnectError | ConfigurationError) -> Policy:
    """Return what an outcome means for the first `connect()` (the table in the documentation of `connect`)."""
    definite = (ConfigurationError, AuthenticationRefused, CredentialsRejected, CredentialsExpired)
    if isinstance(error, definite):
        return Policy.RAISE
    if isinstance(error, TlsFailed) and error.verdict:
        return Policy.RAISE
    if isinstance(error, ProxyRefused) and error.status == _PROXY_AUTHENTICATION_REQUIRED:
        return Policy.RAISE
    if isinstance(error, ClosedBeforeConnack):
        return Policy.SECOND_TIME
    return Policy.RETRY


@dataclass(frozen=True, slots=True)
class Context:
    """What is known about the connection whose end is explained."""

    settings: ConnectionSettings
    elapsed_seconds: float
    busy_with: Sequence[str] = ()
    """What was asked of the service and not answered yet, as causes: "the policy does not allow ..."."""

    def common(self, phase: Phase) -> dict[str, Any]:
        """Return what every error carries."""
        return {
            "phase": phase,
            "client_id": self.settings.client_id,
            "elapsed_seconds": round(self.elapsed_seconds, 3),
        }


def explain_end(end: LinkEnd, context: Context) -> ConnectError | ConfigurationError:
    """Return the error for the end of an attempt or a connection, with awscrt's own as `__cause__`.

    An error of ours that ended it before anything was sent (no credentials for the upgrade) is returned as it is, but
    for whom it is about: a copy, since one source of credentials may serve many connections.
    """
    if isinstance(end.error, ConnectError | ConfigurationError):
        ours = end.error.copy()
        ours.client_id = context.settings.client_id
        ours.elapsed_seconds = round(context.elapsed_seconds, 3)
        return ours
    error = _by_reason_code(end, context) or _by_name(end, context) or _by_phase(end, context)
    error.__cause__ = end.error
    return error


# -- by reason code (MQTT 5) ------------------------------------------------------------------------------------------

REFUSAL_CAUSES: Final = (
    "the authorizer function said no: wrong user name, password or token",
    "the authorizer's name is unknown or inactive, or none was named and there is no default one",
    "the signature does not verify, or token, key name and signature are not those that the authorizer expects",
    "the policy it returned does not allow iot:Connect for this client id",
    "the function failed, took over 5 s, or returned something the service does not accept",
)
_QOS0_DENIED: Final = "a message with QoS 0 went to a topic that the policy does not allow: that ends the connection"
REFUSAL_STEP: Final = (
    "the service says no more than this to a device. Its reasons stand in CloudWatch (AWSIotLogsV2 and the function's "
    "own log); `aws iot test-invoke-authorizer` runs the function alone; the local endpoint prints the reason"
)


def _by_reason_code(end: LinkEnd, context: Context) -> ConnectError | None:
    code = end.reason_code
    if code is None or code < _FAILED:
        return None
    explain = _REASONS.get(code, _other_reason)
    return explain(end, context)


def _said(end: LinkEnd) -> str:
    return f", saying {end.reason_string!r}" if end.reason_string else ""


def _refused(end: LinkEnd, context: Context) -> ConnectError:
    code = end.reason_code or 0
    if end.was_connected:
        return AuthenticationRefused(
            f"the endpoint ended the connection: not authorized any more (reason code {code}){_said(end)}",
            reason_code=code,
            reason_string=end.reason_string,
            likely_causes=(
                *context.busy_with,
                _QOS0_DENIED,
                "the authorizer was asked again (refreshAfterInSeconds) and said no",
            ),
            what_to_do=REFUSAL_STEP,
            **context.common("connected"),
        )
    return AuthenticationRefused(
        f"the endpoint refused the connection: reason code {code}, {REASON_NAMES.get(code, 'refused')}{_said(end)}",
        reason_code=code,
        reason_string=end.reason_string,
        likely_causes=REFUSAL_CAUSES,
        what_to_do=REFUSAL_STEP,
        **context.common("connect"),
    )


def _client_id_refused(end: LinkEnd, context: Context) -> ConnectError:
    return AuthenticationRefused(
        f"the endpoint does not accept the client id (reason code {end.reason_code}){_said(end)}",
        reason_code=end.reason_code,
        reason_string=end.reason_string,
        code="client_id_refused",
        likely_causes=("it was assigned by the service ($GEN/...) and cannot be used again", "it is too long"),
        what_to_do="use a client id of your own, 1 to 128 bytes, not beginning with '$'",
        **context.common("connect"),
    )


def _will_refused(end: LinkEnd, context: Context) -> ConnectError:
    return AuthenticationRefused(
        f"the endpoint does not accept the will (reason code {end.reason_code}, "
        f"{REASON_NAMES.get(end.reason_code or 0, '')}){_said(end)}",
        reason_code=end.reason_code,
        reason_string=end.reason_string,
        code="will_refused",
        likely_causes=("its topic or payload breaks a limit of the service", "its QoS is 2"),
        **context.common("connect"),
    )


def _taken_over(end: LinkEnd, context: Context) -> ConnectError:
    return ClientIdTakenOver(
        f"another connection with the client id {context.settings.client_id!r} came, and the service dropped this one",
        likely_causes=("a second process or device uses the same client id",),
        what_to_do="give every device and every process a client id of its own",
        **context.common("connected"),
    )


def _throttled(end: LinkEnd, context: Context) -> ConnectError:
    return Throttled(
        f"the endpoint asks for less (reason code {end.reason_code}){_said(end)}",
        likely_causes=("more than one CONNECT a second for this client id", "a quota of the account is used up"),
        **context.common("connected" if end.was_connected else "connect"),
    )


def _unavailable(end: LinkEnd, context: Context) -> ConnectError:
    return EndpointUnreachable(
        f"the endpoint cannot serve this now (reason code {end.reason_code}, "
        f"{REASON_NAMES.get(end.reason_code or 0, 'no name')}){_said(end)}",
        code="server_unavailable",
        **context.common("connected" if end.was_connected else "connect"),
    )


def _other_reason(end: LinkEnd, context: Context) -> ConnectError:
    if not end.was_connected:
        return _refused(end, context)
    name = REASON_NAMES.get(end.reason_code or 0, "no name")
    return ConnectError(
        f"the endpoint ended the connection: reason code {end.reason_code}, {name}{_said(end)}",
        code="disconnected",
        likely_causes=tuple(context.busy_with),
        **context.common("connected"),
    )


_REASONS: Final[dict[int, Callable[[LinkEnd, Context], ConnectError]]] = {
    0x80: _unavailable,
    0x85: _client_id_refused,
    0x86: _refused,
    0x87: _refused,
    0x88: _unavailable,
    0x89: _unavailable,
    0x8B: _unavailable,
    0x8E: _taken_over,
    0x90: _will_refused,
    0x96: _throttled,
    0x97: _throttled,
    0x9A: _will_refused,
    0x9B: _will_refused,
    0x9F: _throttled,
}


# -- by awscrt's name -------------------------------------------------------------------------------------------------


def _by_name(end: LinkEnd, context: Context) -> ConnectError | None:
    explain = _NAMES.get(end.error_name or "")
    return None if explain is None or end.was_connected else explain(end, context)


def _dns(end: LinkEnd, context: Context) -> ConnectError:
    return EndpointUnreachable(
        f"the name {context.settings.endpoint} does not resolve",
        code="dns_failed",
        likely_causes=("the name is misspelt", "the device has no network or no DNS server yet"),
        **context.common("dns"),
    )


def _tcp(end: LinkEnd, context: Context) -> ConnectError:
    return EndpointUnreachable(
        f"no TCP connection to {context.settings.endpoint}:{context.settings.port} ({end.error_name})",
        code="tcp_failed",
        likely_causes=("nothing listens there", "a firewall stops the port", "there is no route to it"),
        **context.common("tcp"),
    )


def _tls(end: LinkEnd, context: Context) -> ConnectError:
    return TlsFailed(
        f"the TLS handshake with {context.settings.endpoint}:{context.settings.port} failed ({end.error_name})",
        likely_causes=(
            "the certificate's authority is not trusted: see ca_file",
            "the certificate is for another host name",
            "the endpoint does not serve this ALPN name or host name (SNI)",
        ),
        **context.common("tls"),
    )


def _proxy(end: LinkEnd, context: Context) -> ConnectError:
    return ProxyRefused(
        f"the HTTP proxy did not connect to {context.settings.endpoint}:{context.settings.port}",
        likely_causes=("it does not allow this host or port", "its user name or password is wrong"),
        **context.common("proxy"),
    )


def _silent(end: LinkEnd, context: Context) -> ConnectError:
    return EndpointUnreachable(
        f"{context.settings.endpoint} took CONNECT and answered nothing in {context.elapsed_seconds:.1f} s",
        code="connack_timeout",
        likely_causes=("the endpoint, or the authorizer behind it, is overloaded", "the link drops what is sent"),
        **context.common("connect"),
    )


def _upgrade_failed(end: LinkEnd, context: Context) -> ConnectError:
    return EndpointUnreachable(
        f"{context.settings.endpoint}:{context.settings.port} did not accept the upgrade to WebSocket (awscrt does not "
        "tell its answer)",
        code="upgrade_failed",
        likely_causes=(*REFUSAL_CAUSES, "the endpoint cannot serve it now"),
        **context.common("connect"),
    )


def _hung_up_in_upgrade(end: LinkEnd, context: Context) -> ConnectError | None:
    if context.settings.transport != "websocket":
        return None
    return ClosedBeforeConnack(
        f"{context.settings.endpoint}:{context.settings.port} hung up during the upgrade to WebSocket, without an HTTP "
        f"answer ({end.error_name})",
        code="hung_up_in_upgrade",
        likely_causes=(
            _OTHER_PROTOCOL.format("MQTT over WebSocket", "SECURE_MQTT"),
            "the endpoint is overloaded or restarts",
            "something on the way ends HTTP that it does not know",
        ),
        what_to_do='connect to a host name that serves WebSocket, or use transport="tls"',
        **context.common("connect"),
    )


def _not_http(end: LinkEnd, context: Context) -> ConnectError:
    return EndpointUnreachable(
        f"{context.settings.endpoint}:{context.settings.port} does not speak HTTP ({end.error_name})",
        code="not_http",
        likely_causes=("the port is wrong", "something on the way answers in its place"),
        **context.common("connect"),
    )


def _not_mqtt(end: LinkEnd, context: Context) -> ConnectError:
    return EndpointUnreachable(
        f"what answers at {context.settings.endpoint}:{context.settings.port} does not speak MQTT 5 ({end.error_name})",
        code="not_mqtt",
        likely_causes=("the port is wrong", "something on the way answers in its place"),
        **context.common("connect"),
    )


def _connack_refused_311(end: LinkEnd, context: Context) -> ConnectError:
    return AuthenticationRefused(
        "the endpoint answered CONNECT with a refusal (MQTT 3.1.1; awscrt does not tell which return code)",
        likely_causes=REFUSAL_CAUSES,
        what_to_do='use protocol="mqtt5", which says why; ' + REFUSAL_STEP,
        **context.common("connect"),
    )


_NAMES: Final[dict[str, Callable[[LinkEnd, Context], ConnectError | None]]] = {
    # Of a connection that TLS closed in good order before 101, awscrt knows no error, and so gives this one.
    "AWS_ERROR_UNKNOWN": _hung_up_in_upgrade,
    "AWS_IO_DNS_INVALID_NAME": _dns,
    "AWS_IO_DNS_QUERY_FAILED": _dns,
    "AWS_IO_DNS_NO_ADDRESS_FOR_HOST": _dns,
    "AWS_IO_DNS_HOST_REMOVED_FROM_CACHE": _dns,
    "AWS_IO_SOCKET_CONNECTION_REFUSED": _tcp,
    "AWS_IO_SOCKET_TIMEOUT": _tcp,
    "AWS_IO_SOCKET_NO_ROUTE_TO_HOST": _tcp,
    "AWS_IO_SOCKET_NETWORK_DOWN": _tcp,
    "AWS_IO_SOCKET_CONNECT_ABORTED": _tcp,
    "AWS_IO_SOCKET_INVALID_ADDRESS": _tcp,
    "AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE": _tls,
    "AWS_IO_TLS_NEGOTIATION_TIMEOUT": _tls,
    "AWS_IO_TLS_ERROR_NOT_NEGOTIATED": _tls,
    "AWS_IO_TLS_ERROR_ALERT_RECEIVED": _tls,
    "AWS_ERROR_HTTP_PROXY_CONNECT_FAILED": _proxy,
    "AWS_ERROR_HTTP_PROXY_CONNECT_FAILED_RETRYABLE": _proxy,
    "AWS_ERROR_HTTP_PROXY_STRATEGY_NTLM_CHALLENGE_TOKEN_MISSING": _proxy,
    UPGRADE_FAILED: _upgrade_failed,
    "AWS_ERROR_HTTP_PROTOCOL_ERROR": _not_http,
    "AWS_ERROR_MQTT_TIMEOUT": _silent,
    "AWS_ERROR_MQTT5_CONNACK_TIMEOUT": _silent,
    "AWS_ERROR_MQTT5_DECODE_PROTOCOL_ERROR": _not_mqtt,
    "AWS_ERROR_MQTT_PROTOCOL_ERROR": _connack_refused_311,
}


def explain_dial(error: BaseException, name: str | None, context: Context) -> ConnectError:
    """Return the error for an HTTP connection that did not come about; `name` is awscrt's for it."""
    end = LinkEnd(was_connected=False, error=error, error_name=name)
    settings = context.settings
    explained = _by_name(end, context) or EndpointUnreachable(
        f"no connection to {settings.endpoint}:{settings.port} ({name or type(error).__name__})",
        code="dial_failed",
        likely_causes=("the port is not a TLS port", "a firewall ends the connection"),
        **context.common("tls"),
    )
    explained.__cause__ = error
    return explained


_HANG_UPS: Final = frozenset({None, "AWS_IO_SOCKET_CLOSED", "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"})


# -- by how far it had come -------------------------------------------------------------------------------------------


def _by_phase(end: LinkEnd, context: Context) -> ConnectError:
    if end.was_connected:
        said = "" if end.error_name is None else f" ({end.error_name})"
        return ConnectError(
            f"the connection was lost after {context.elapsed_seconds:.1f} s{said}",
            code="connection_lost",
            likely_causes=(
                *context.busy_with,
                "the network went away",
                _QOS0_DENIED,
                "the endpoint ended it without a reason",
            ),
            **context.common("connected"),
        )
    if end.error_name not in _HANG_UPS:
        return ConnectError(
            f"awscrt could not connect to {context.settings.endpoint}:{context.settings.port} ({end.error_name})",
            code="native_failure",
            **context.common("connect"),
        )
    alpn = context.settings.alpn_name
    other_protocol = _OTHER_PROTOCOL.format("MQTT over TLS", "MQTT_WSS or HTTPS")
    if context.settings.transport == "websocket":
        first = "the policy does not allow this client id, which over WebSocket is told after the upgrade"
        other_protocol = _OTHER_PROTOCOL.format("MQTT over WebSocket", "SECURE_MQTT")
    elif alpn != ALPN_MQTT:
        offered = "no ALPN name is offered" if alpn is None else f"the ALPN name offered is {alpn!r}"
        first = f'{offered}: the service reads MQTT only behind ALPN `{ALPN_MQTT}` (leave alpn at "auto")'
    elif context.settings.protocol == "mqtt5":
        first = "the endpoint does not take CONNECT here: the port, the ALPN name or the path through a proxy is wrong"
    else:
        first = "a refusal: MQTT 3.1.1 cannot say why, the service just hangs up"
    # A refusal is answered with a CONNACK in MQTT 5 over TLS, so there a hang-up is more likely about the protocol.
    says_why = context.settings.protocol == "mqtt5" and context.settings.transport == "tls"
    causes = (other_protocol, *REFUSAL_CAUSES) if says_why else (*REFUSAL_CAUSES, other_protocol)
    return ClosedBeforeConnack(
        f"{context.settings.endpoint}:{context.settings.port} closed the connection before CONNACK"
        f" ({end.error_name or 'no error code'})",
        likely_causes=(first, *causes, "the port is not a TLS port", "a bad link"),
        what_to_do=REFUSAL_STEP
        if context.settings.protocol == "mqtt5"
        else 'use protocol="mqtt5", which says why; ' + REFUSAL_STEP,
        **context.common("connect"),
    )
