"""From the arguments of `publish()` to a message that can be sent, or the error that says why it cannot.

Both faces use this. The JSON of `json=` is compact UTF-8; `json=None` is JSON null, so "not given" is a value of its
own, `UNSET`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

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


def make_outgoing(
    topic: str,
    payload: Payload,
    *,
    promise: Promise,
    accepted_at: float,
    mqtt5: bool,
    json: Any = UNSET,
    qos: int = 1,
    retain: bool = False,
    expiry_seconds: int | None = None,
    content_type: str | None = None,
    response_topic: str | None = None,
    correlation_data: bytes | None = None,
    user_properties: Iterable[tuple[str, str]] = (),
) -> Outgoing:
    """Check the arguments and return the message.

    Raises `InvalidTopic`, `PayloadTooLarge` (over 128 KiB), `NotSupported` (QoS 2; MQTT 5 arguments with 3.1.1) and
    `ConfigurationError` (both payload and json, a payload of another type).
    """
    check_topic_name(topic)
    data = _payload(payload, json)
    if len(data) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"the payload for {topic!r} has {len(data)} bytes, AWS IoT Core allows {MAX_PAYLOAD_BYTES}",
            what_to_do="compress it, send it in parts, or send it by HTTPS to a store and publish where it is",
        )
    check_qos(qos)
    pairs = tuple(user_properties)
    if any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in pairs):
        raise ConfigurationError("user_properties must be pairs of name and value: pass .items() of a dict")
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
        retain=retain,
        expiry_seconds=expiry_seconds,
        content_type=content_type,
        response_topic=response_topic,
        correlation_data=correlation_data,
        user_properties=pairs,
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
