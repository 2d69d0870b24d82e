"""What an HTTP answer of the service means: to an upgrade to WebSocket, and to an HTTPS publish.

The service's own answers are JSON, `{"message": "Forbidden", "traceId": "<uuid>"}`, with the same id in
`x-amzn-RequestId`; what else comes (a captive portal's page, a load balancer's text) is looked at for its status only.
The two tables map statuses to errors; what is in neither goes by its hundreds. Sources: the page "HTTPS" of the AWS
IoT developer guide, and the public model of the `iot-data` service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from .diagnosis import REFUSAL_CAUSES, REFUSAL_STEP, Context
from .errors import (
    AuthenticationRefused,
    ConnectError,
    CustomAuthError,
    EndpointUnreachable,
    InvalidTopic,
    OperationError,
    PayloadTooLarge,
    Throttled,
)
from .limits import MAX_HEADER_CHARACTERS, MAX_PAYLOAD_BYTES, MAX_QUERY_CHARACTERS

_MAX_SHOWN: Final = 200
_SWITCHING_PROTOCOLS: Final = 101


@dataclass(frozen=True, slots=True, repr=False)
class HttpAnswer:
    """Status, headers and the beginning of the body of one answer."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def __repr__(self) -> str:
        return f"HttpAnswer({self.status}, {len(self.headers)} headers, <{len(self.body)} bytes>)"

    @property
    def message(self) -> str | None:
        """What the service says, at most 200 characters; `None` if the body is not the service's JSON."""
        return self._word("message")

    @property
    def trace_id(self) -> str | None:
        """The id by which the service's own logs know this request."""
        return self._word("traceId") or self._header("x-amzn-requestid")

    @property
    def said(self) -> str:
        """Status, words and trace id for a message."""
        error_type = (self._header("x-amzn-errortype") or "").partition(":")[0]
        parts = [f"HTTP {self.status}"]
        if error_type:
            parts.append(error_type)
        if self.message is not None:
            parts.append(f"saying {self.message!r}")
        if self.trace_id is not None:
            parts.append(f"trace id {self.trace_id}")
        return ", ".join(parts)

    def _header(self, name: str) -> str | None:
        return next((value[:_MAX_SHOWN] for key, value in self.headers if key.lower() == name), None)

    def _word(self, name: str) -> str | None:
        import json

        try:
            read = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        word = read.get(name) if isinstance(read, dict) else None
        return word[:_MAX_SHOWN] if isinstance(word, str) else None


# -- the upgrade to WebSocket -----------------------------------------------------------------------------------------


def explain_upgrade(answer: HttpAnswer, context: Context) -> ConnectError:
    """Return the error for an upgrade that was answered so."""
    explain = _UPGRADES.get(answer.status) or _UPGRADES_BY_HUNDREDS.get(answer.status // 100, _upgrade_other)
    error = explain(answer, context)
    error.trace_id = answer.trace_id
    return error


def _upgrade_refused(answer: HttpAnswer, context: Context) -> ConnectError:
    return AuthenticationRefused(
        f"the endpoint refused the upgrade to WebSocket: {answer.said}",
        reason_code=answer.status,
        reason_string=answer.message,
        likely_causes=REFUSAL_CAUSES,
        what_to_do=REFUSAL_STEP,
        **context.common("connect"),
    )


def _upgrade_throttled(answer: HttpAnswer, context: Context) -> ConnectError:
    return Throttled(
        f"the endpoint asks for fewer connections: {answer.said}",
        likely_causes=("more than one connect a second for this client id", "a quota of the account is used up"),
        **context.common("connect"),
    )


def _upgrade_unavailable(answer: HttpAnswer, context: Context) -> ConnectError:
    return EndpointUnreachable(
        f"the endpoint cannot serve the upgrade to WebSocket now: {answer.said}",
        code="server_unavailable",
        **context.common("connect"),
    )


def _upgrade_too_large(answer: HttpAnswer, context: Context) -> ConnectError:
    return ConnectError(
        f"the endpoint does not take an upgrade request of this size: {answer.said}",
        code="upgrade_too_large",
        likely_causes=("the token or the parameters are too long for headers or query",),
        what_to_do='send them with credentials_in="connect", in the user name of CONNECT',
        **context.common("connect"),
    )


def _upgrade_accepted(_answer: HttpAnswer, context: Context) -> ConnectError:
    return EndpointUnreachable(
        "the endpoint did not accept an upgrade to WebSocket, but did accept the same one when asked again",
        code="upgrade_unsteady",
        likely_causes=("several servers stand behind the name and do not agree", "it was overloaded for a moment"),
        **context.common("connect"),
    )


def _upgrade_other(answer: HttpAnswer, context: Context) -> ConnectError:
    return ConnectError(
        f"the endpoint did not accept the upgrade to WebSocket: {answer.said}",
        code="upgrade_refused",
        likely_causes=(
            "the host is not a data endpoint of AWS IoT, or its domain configuration does not serve WebSocket",
            "something on the way (a proxy, a captive portal) answers in its place",
            "the service cannot read the credentials in headers or query",
        ),
        **context.common("connect"),
    )


_UPGRADES: Final[dict[int, Callable[[HttpAnswer, Context], ConnectError]]] = {
    _SWITCHING_PROTOCOLS: _upgrade_accepted,
    401: _upgrade_refused,
    403: _upgrade_refused,
    413: _upgrade_too_large,
    414: _upgrade_too_large,
    429: _upgrade_throttled,
    431: _upgrade_too_large,
}
_UPGRADES_BY_HUNDREDS: Final[dict[int, Callable[[HttpAnswer, Context], ConnectError]]] = {5: _upgrade_unavailable}


# -- an HTTPS publish -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """What an answer is about: the topic, and how large what was sent is."""

    topic: str
    payload_bytes: int
    query_characters: int
    longest_header: int
    retain: bool = False


def explain_publish_answer(answer: HttpAnswer, sent: Sent, common: dict[str, Any]) -> CustomAuthError | None:
    """Return the error for a publish that was answered so, `None` if it was accepted. `common`: what errors carry."""
    if answer.status // 100 == 2:
        return None
    explain = _PUBLISHES.get(answer.status) or _PUBLISHES_BY_HUNDREDS.get(answer.status // 100, _publish_other)
    error = explain(answer, sent, common)
    error.trace_id = answer.trace_id
    return error


def _publish_refused(answer: HttpAnswer, sent: Sent, common: dict[str, Any]) -> CustomAuthError:
    also = " and iot:RetainPublish" if sent.retain else ""
    return AuthenticationRefused(
        f"the endpoint refused the message to {sent.topic!r}: {answer.said}",
        reason_code=answer.status,
        reason_string=answer.message,
        likely_causes=(
            *REFUSAL_CAUSES[:3],
            f"the policy it returned does not allow iot:Publish{also} on topic/{sent.topic}",
            *REFUSAL_CAUSES[4:],
        ),
        what_to_do=REFUSAL_STEP,
        **common,
    )


def _publish_throttled(answer: HttpAnswer, _sent: Sent, common: dict[str, Any]) -> CustomAuthError:
    return Throttled(
        f"the endpoint asks for fewer messages: {answer.said}",
        likely_causes=("a quota of the account is used up",),
        **common,
    )


def _publish_unavailable(answer: HttpAnswer, sent: Sent, common: dict[str, Any]) -> CustomAuthError:
    return EndpointUnreachable(
        f"the endpoint could not take the message to {sent.topic!r}: {answer.said}", code="server_unavailable", **common
    )


def _publish_redirected(answer: HttpAnswer, sent: Sent, common: dict[str, Any]) -> CustomAuthError:
    return EndpointUnreachable(
        f"the message to {sent.topic!r} was answered with a redirection: {answer.said}",
        code="redirected",
        likely_causes=("the host is not a data endpoint of AWS IoT", "a captive portal answers in its place"),
        **common,
    )


def _publish_payload(answer: HttpAnswer, sent: Sent, common: dict[str, Any]) -> CustomAuthError:
    return PayloadTooLarge(
        f"the endpoint does not take {sent.payload_bytes} bytes for {sent.topic!r}: {answer.said} "
        f"(AWS IoT Core allows {MAX_PAYLOAD_BYTES})",
        **common,
    )


def _publish_head(answer: HttpAnswer, sent: Sent, common: dict[str, Any]) -> CustomAuthError:
    return OperationError(
        f"the endpoint does not take a request of this size: {answer.said}; its query has {sent.query_characters} "
        f"characters, its longest header {sent.longest_header}",
        code="request_head_too_large",
        likely_causes=("the token, the parameters or the user properties are too long for HTTP",),
        **common,
    )


def _publish_invalid(answer: HttpAnswer, sent: Sent, common: dict[str, Any]) -> CustomAuthError:
    words = (answer.message or "").lower()
    if "payload" in words:
        return _publish_payload(answer, sent, common)
    if "topic" in words:
        return InvalidTopic(f"the endpoint does not accept the topic {sent.topic!r}: {answer.said}", **common)
    if sent.query_characters > MAX_QUERY_CHARACTERS or sent.longest_header > MAX_HEADER_CHARACTERS:
        return _publish_head(answer, sent, common)
    return _publish_other(answer, sent, common)


def _publish_other(answer: HttpAnswer, sent: Sent, common: dict[str, Any]) -> CustomAuthError:
    return OperationError(
        f"the endpoint did not take the message to {sent.topic!r}: {answer.said}",
        code="request_refused",
        likely_causes=(
            "a property or parameter of the message is not what the service accepts",
            "the host is not a data endpoint of AWS IoT, or its domain configuration does not serve HTTPS",
        ),
        **common,
    )


_PUBLISHES: Final[dict[int, Callable[[HttpAnswer, Sent, dict[str, Any]], CustomAuthError]]] = {
    400: _publish_invalid,
    401: _publish_refused,
    403: _publish_refused,
    413: _publish_payload,
    414: _publish_head,
    429: _publish_throttled,
    431: _publish_head,
}
_PUBLISHES_BY_HUNDREDS: Final[dict[int, Callable[[HttpAnswer, Sent, dict[str, Any]], CustomAuthError]]] = {
    3: _publish_redirected,
    5: _publish_unavailable,
}
