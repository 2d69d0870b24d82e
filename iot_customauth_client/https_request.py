"""One HTTPS publish as bytes: where topic, properties and credentials stand in the request. Pure.

=================  ==================================================================================
part               where
=================  ==================================================================================
topic              path, `/topics/<topic>`, percent-encoded as one segment (`a/b` is `a%2Fb`)
QoS, retain        query `qos`, always; `retain=true`, if it is
content type       query `contentType`
response topic     query `responseTopic`
message expiry     query `messageExpiry`, seconds
user properties    header `x-amz-mqtt5-user-properties`, base64 of JSON `[{"name": "value"}, ...]`
correlation data   header `x-amz-mqtt5-correlation-data`, base64
credentials        last, in headers or in the query: see `carriage.py`
payload            body
=================  ==================================================================================

Source: the page "HTTPS" of the AWS IoT developer guide, and the public model of `iot-data`.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

from .carriage import RawCredentials, check_http, write_headers, write_path, write_query
from .errors import ConfigurationError
from .http_answers import Sent
from .limits import PUBLISH_PATH, SERVICE_PORT
from .outgoing import Outgoing

HttpPlace: TypeAlias = Literal["headers", "query"]

_OWN_PARAMETERS: Final = frozenset({"qos", "retain", "contentType", "responseTopic", "messageExpiry"})
_USER_PROPERTIES: Final = "x-amz-mqtt5-user-properties"
_CORRELATION_DATA: Final = "x-amz-mqtt5-correlation-data"


@dataclass(frozen=True, slots=True, repr=False)
class MessageParts:
    """The parts of a request that come from the message: nothing in them is secret but the payload."""

    target: str
    headers: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"MessageParts({self.target!r}, {len(self.headers)} headers)"


@dataclass(frozen=True, slots=True, repr=False)
class PublishRequest:
    """A whole POST. Secret: the credentials are in it."""

    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    sent: Sent

    def __repr__(self) -> str:
        return f"PublishRequest({self.sent})"


def message_parts(entry: Outgoing) -> MessageParts:
    """Return the target and headers for a message. Raises `ConfigurationError` for text that UTF-8 cannot carry."""
    query = [("qos", str(entry.qos))]
    if entry.retain:
        query.append(("retain", "true"))
    if entry.content_type is not None:
        query.append(("contentType", _text(entry.content_type, "content_type")))
    if entry.response_topic is not None:
        query.append(("responseTopic", entry.response_topic))
    if entry.expiry_seconds is not None:
        query.append(("messageExpiry", str(entry.expiry_seconds)))
    headers: list[tuple[str, str]] = []
    if entry.user_properties:
        pairs = [
            {_text(name, "user_properties"): _text(text, "user_properties")} for name, text in entry.user_properties
        ]
        headers.append((_USER_PROPERTIES, _base64(json.dumps(pairs, separators=(",", ":")).encode())))
    if entry.correlation_data is not None:
        headers.append((_CORRELATION_DATA, _base64(bytes(entry.correlation_data))))
    return MessageParts(f"{PUBLISH_PATH}{quote(entry.topic, safe='')}?{write_query(tuple(query))}", tuple(headers))


def credential_parts(parts: MessageParts, raw: RawCredentials, place: HttpPlace) -> MessageParts:
    """Return the same with the credentials in it. Secret.

    Raises `ConfigurationError` for a user name or password, for what headers cannot carry, and for parameters with a
    name that the service reads as a property of the message.
    """
    check_http(raw)
    if place == "headers":
        return MessageParts(parts.target, (*parts.headers, *write_headers(raw)))
    if place != "query":
        raise ConfigurationError(f'credentials_in must be "headers" or "query" for HTTPS, not {place!r}')
    names = {raw.token_key_name, *(name for name, _ in raw.parameters)}
    for name in sorted(_OWN_PARAMETERS & names):
        raise ConfigurationError(
            f"the parameter {name!r} would be read as a property of the message",
            code="credentials_not_for_query",
            phase="configuration",
            what_to_do='send the credentials with credentials_in="headers"',
        )
    return MessageParts(write_path(parts.target, raw), parts.headers)


def make_request(entry: Outgoing, raw: RawCredentials, place: HttpPlace, host: str, port: int) -> PublishRequest:
    """Return the request for a message with credentials in headers or query. Raises as the two functions above."""
    whole = credential_parts(message_parts(entry), raw, place)
    own = (("Host", host if port == SERVICE_PORT else f"{host}:{port}"), ("Content-Length", str(len(entry.payload))))
    sent = Sent(
        entry.topic,
        payload_bytes=len(entry.payload),
        query_characters=len(whole.target.partition("?")[2]),
        longest_header=max((len(value) for _, value in whole.headers), default=0),
        retain=entry.retain,
    )
    return PublishRequest(whole.target, own + whole.headers, entry.payload, sent)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{what} must hold text, not {type(value).__name__}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigurationError(f"{what} holds a lone surrogate, which UTF-8 cannot carry")
    return value
