"""From the arguments of `publish()` to a message that can be sent, or the error that says why it cannot.

Both faces use this. The JSON of `json=` is compact UTF-8; `json=None` is JSON null, so "not given" is a value of its
own, `UNSET`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Final, TypeAlias, TypedDict, Unpack

from ._suggest import unknown
from .errors import ConfigurationError, NotSupported, PayloadTooLarge
from .limits import MAX_PAYLOAD_BYTES, MAX_QOS
from .outgoing import Outgoing, Promise
from .topics import check_topic_name

Payload: TypeAlias = bytes | bytearray | memoryview | str


class Unset:
    """The type of `UNSET`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "..."


UNSET: Final = Unset()


class PublishArguments(TypedDict, total=False):
    """What `publish()` takes beside topic and payload, in both faces and over HTTPS.

    `json` stands for the payload: any value that JSON can say. `qos` is 0 or 1 (the default). `retain` lets the service
    keep the message for later subscribers. The others are properties of MQTT 5: `expiry_seconds`, a whole number (the
    service lowers it to 7 days), `content_type`, `response_topic`, `correlation_data` (bytes), and `user_properties`,
    pairs of name and value.
    """

    json: Any
    qos: int
    retain: bool
    expiry_seconds: int | None
    content_type: str | None
    response_topic: str | None
    correlation_data: bytes | None
    user_properties: Iterable[tuple[str, str]]


_NAMES: Final = frozenset(PublishArguments.__annotations__)
_good_topics: dict[str, None] = {}
"""Topics that were found good, since a device publishes to the same few; emptied when it has grown."""
_MOST_GOOD_TOPICS: Final = 1_000


def make_outgoing(
    topic: str,
    payload: Payload,
    *,
    promise: Promise,
    accepted_at: float,
    mqtt5: bool,
    **arguments: Unpack[PublishArguments],
) -> Outgoing:
    """Check the arguments and return the message.

    Raises `InvalidTopic`, `PayloadTooLarge` (over 128 KiB), `NotSupported` (QoS 2; MQTT 5 arguments with 3.1.1),
    `ConfigurationError` (both payload and json, a payload of another type), and `TypeError` for an unknown argument.
    """
    return outgoing_of(topic, payload, arguments, promise, accepted_at, mqtt5)


def outgoing_of(
    topic: str, payload: Payload, arguments: PublishArguments, promise: Promise, accepted_at: float, mqtt5: bool
) -> Outgoing:
    """Do what `make_outgoing` does, for faces that have the arguments in a dict: to unpack it again would cost more."""
    if topic.__class__ is not str or topic not in _good_topics:
        check_topic_name(topic)
        if len(_good_topics) >= _MOST_GOOD_TOPICS:
            _good_topics.clear()
        _good_topics[topic] = None
    if arguments:
        return _with_arguments(topic, payload, promise, accepted_at, mqtt5, arguments)
    data = payload if type(payload) is bytes else _payload(payload, UNSET)
    if len(data) > MAX_PAYLOAD_BYTES:
        raise _too_large(topic, data)
    return Outgoing(topic, data, promise, accepted_at)


def _with_arguments(
    topic: str, payload: Payload, promise: Promise, accepted_at: float, mqtt5: bool, given: PublishArguments
) -> Outgoing:
    for name in given:
        if name not in _NAMES:
            raise TypeError(unknown("argument of publish()", name, _NAMES))
    data = _payload(payload, given.get("json", UNSET))
    if len(data) > MAX_PAYLOAD_BYTES:
        raise _too_large(topic, data)
    qos = given.get("qos", 1)
    check_qos(qos)
    pairs = tuple(given.get("user_properties", ()))
    if any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in pairs):
        raise ConfigurationError("user_properties must be pairs of name and value: pass .items() of a dict")
    expiry_seconds, content_type = given.get("expiry_seconds"), given.get("content_type")
    response_topic, correlation_data = given.get("response_topic"), given.get("correlation_data")
    if not mqtt5:
        _refuse_properties(
            expiry_seconds=expiry_seconds,
            content_type=content_type,
            response_topic=response_topic,
            correlation_data=correlation_data,
            user_properties=pairs or None,
        )
    elif response_topic is not None:
        check_topic_name(response_topic, what="response topic")
    if expiry_seconds is not None and not (isinstance(expiry_seconds, int) and 0 < expiry_seconds <= 0xFFFFFFFF):
        raise ConfigurationError("expiry_seconds must be a whole number, 1 to 4,294,967,295 (the service lowers it)")
    if content_type is not None and not isinstance(content_type, str):
        raise ConfigurationError(f"content_type must be a str, not {type(content_type).__name__}")
    if correlation_data is not None and not isinstance(correlation_data, bytes):
        raise ConfigurationError(f"correlation_data must be bytes, not {type(correlation_data).__name__}")
    return Outgoing(
        topic,
        data,
        promise=promise,
        accepted_at=accepted_at,
        qos=qos,
        retain=given.get("retain", False),
        expiry_seconds=expiry_seconds,
        content_type=content_type,
        response_topic=response_topic,
        correlation_data=correlation_data,
        user_properties=pairs,
    )


def _too_large(topic: str, data: bytes) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the payload for {topic!r} has {len(data)} bytes, AWS IoT Core allows {MAX_PAYLOAD_BYTES}",
        what_to_do="compress it, send it in parts, or send it by HTTPS to a store and publish where it is",
    )


def check_qos(qos: int) -> None:
    """Raise `NotSupported` for QoS 2 and `ConfigurationError` for what is no QoS."""
    if not isinstance(qos, int) or isinstance(qos, bool) or qos not in (0, 1, 2):
        raise ConfigurationError(f"qos must be 0 or 1, not {qos!r}")
    if qos > MAX_QOS:
        raise NotSupported("AWS IoT Core does not support QoS 2: use qos=1, and let the receiver expect duplicates")


def _payload(payload: Payload, json: Any) -> bytes:
    if not isinstance(json, Unset):
        if payload != b"":
            raise ConfigurationError("give payload or json, not both")
        import json as json_module

        try:
            text = json_module.dumps(json, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"json= cannot be written as JSON: {error}") from None
        return _utf8(text)
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        return _utf8(payload)
    if isinstance(payload, bytearray | memoryview):
        return bytes(payload)
    raise ConfigurationError(f"the payload must be bytes or str, not {type(payload).__name__}: for data use json=")


def _utf8(text: str) -> bytes:
    with contextlib.suppress(UnicodeEncodeError):  # which would hold the payload
        return text.encode()
    raise ConfigurationError("the payload holds a lone surrogate, which UTF-8 cannot carry: pass bytes")


def _refuse_properties(**given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise NotSupported(f'{name} is a property of MQTT 5: use protocol="mqtt5", or leave it out')
