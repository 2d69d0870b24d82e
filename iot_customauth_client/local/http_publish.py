"""A publish by POST, read from its request: topic, payload, QoS, retain, and the MQTT 5 properties.

    path `/topics/<topic>`                         percent-decoded once, UTF-8; literal slashes are slashes too
    body                                           the payload, as it is
    query `qos`                                    0 (default) or 1
    query `retain`                                 `true` or `false` (default)
    query `contentType`, `responseTopic`           UTF-8
    query `messageExpiry`                          whole seconds; the broker clamps them
    header `x-amz-mqtt5-user-properties`           base64 of a JSON list of objects, `[{"name":"value"},...]`
    header `x-amz-mqtt5-payload-format-indicator`  `UNSPECIFIED_BYTES` or `UTF8_DATA`
    header `x-amz-mqtt5-correlation-data`          base64

All other query parameters and headers are the authorizer's matter. What stands wrongly in one of these places is
refused, and nothing is published in part. Pure. Source: AWS page "HTTPS" and the iot-data API, Publish.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import unquote_to_bytes

from ..carriage import read_query
from .codec import Properties, Property, PropertyValue, Publish, Version, encode
from .http_door import HttpRequest
from .http_names import PUBLISH_PARAMETERS, PUBLISH_PATH
from .http_routes import Target
from .presented import plain_query

_LARGEST_EXPIRY: Final = 0xFFFF_FFFF
_DIGITS = re.compile(r"[0-9]{1,20}", re.ASCII)


class InvalidPublish(ValueError):
    """The request cannot be published as it is; `str()` is one sentence that quotes nothing secret."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What a request publishes."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties


def read_publication(request: HttpRequest, target: Target, *, plus_is_space: bool = False) -> Publication:
    """Read a request whose path is a publish's; plus_is_space: as in `Presented`. Raises `InvalidPublish`."""
    topic = _topic(target.path.removeprefix(PUBLISH_PATH))
    parameters = _parameters(plain_query(target.query or "", plus_is_space=plus_is_space))
    properties: dict[Property, PropertyValue] = {}
    for name, (key, read) in _FROM_QUERY.items():
        if name in parameters:
            properties[key] = read(parameters[name])
    for name, (key, read) in _FROM_HEADERS.items():
        values = request.values(name)
        if len(values) > 1:
            raise InvalidPublish(f"the header {name} came more than once: send it once")
        if values and (value := read(values[0])) != ():  # no user property is no property
            properties[key] = value
    try:
        encode(Publish("t", b"", properties=properties), Version.MQTT5)
    except ValueError as error:
        raise InvalidPublish(str(error)) from error
    return Publication(
        topic,
        request.body,
        _choose("qos", parameters, {"0": 0, "1": 1}),
        bool(_choose("retain", parameters, {"false": 0, "true": 1})),
        properties,
    )


def _topic(path: str) -> str:
    try:
        return unquote_to_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise InvalidPublish("the topic in the path is not UTF-8 after percent-decoding") from error


def _parameters(query: str) -> dict[str, str]:
    """The parameters of a publish in a query, decoded."""
    found: dict[str, str] = {}
    for name, value in read_query(query):
        if name not in PUBLISH_PARAMETERS:
            continue
        if name in found:
            raise InvalidPublish(f"the parameter {name} came more than once: send it once")
        if "\N{REPLACEMENT CHARACTER}" in value:
            raise InvalidPublish(f"the parameter {name} is not UTF-8 after percent-decoding")
        found[name] = value
    return found


def _choose(name: str, parameters: Mapping[str, str], allowed: Mapping[str, int]) -> int:
    value = parameters.get(name)
    if value is None:
        return 0
    if value not in allowed:
        raise InvalidPublish(f"the parameter {name} must be {' or '.join(allowed)}")
    return allowed[value]


def _text(value: str) -> PropertyValue:
    return value


def _seconds(value: str) -> PropertyValue:
    if not _DIGITS.fullmatch(value):
        raise InvalidPublish("the parameter messageExpiry must be a whole number of seconds")
    return min(int(value), _LARGEST_EXPIRY)


def _indicator(value: str) -> PropertyValue:
    known = {"UNSPECIFIED_BYTES": 0, "UTF8_DATA": 1}
    if value not in known:
        raise InvalidPublish(f"the header x-amz-mqtt5-payload-format-indicator must be {' or '.join(known)}")
    return known[value]


def _correlation(value: str) -> PropertyValue:
    return _from_base64("x-amz-mqtt5-correlation-data", value)


def _user_properties(value: str) -> PropertyValue:
    name = "x-amz-mqtt5-user-properties"
    try:
        document: object = json.loads(_from_base64(name, value))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidPublish):
            raise
        raise InvalidPublish(f"the header {name} is not base64 of JSON text") from error
    pairs: list[tuple[str, str]] = []
    if not isinstance(document, list):
        raise InvalidPublish(f"the header {name} must be base64 of a JSON list of objects")
    for member in cast("list[object]", document):
        if not isinstance(member, dict):
            raise InvalidPublish(f"the header {name} must be base64 of a JSON list of objects")
        for key, text in cast("dict[str, object]", member).items():
            if not isinstance(text, str):
                raise InvalidPublish(f"the header {name}: the values of the objects must be text")
            pairs.append((key, text))
    return tuple(pairs)


def _from_base64(name: str, value: str) -> bytes:
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InvalidPublish(f"the header {name} is not standard base64 with its padding") from error


_Reader = Callable[[str], PropertyValue]

_FROM_QUERY: Final[Mapping[str, tuple[Property, _Reader]]] = {
    "contentType": (Property.CONTENT_TYPE, _text),
    "responseTopic": (Property.RESPONSE_TOPIC, _text),
    "messageExpiry": (Property.MESSAGE_EXPIRY_INTERVAL, _seconds),
}
_FROM_HEADERS: Final[Mapping[str, tuple[Property, _Reader]]] = {
    "x-amz-mqtt5-user-properties": (Property.USER_PROPERTY, _user_properties),
    "x-amz-mqtt5-payload-format-indicator": (Property.PAYLOAD_FORMAT_INDICATOR, _indicator),
    "x-amz-mqtt5-correlation-data": (Property.CORRELATION_DATA, _correlation),
}
