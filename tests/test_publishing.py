"""From the arguments of publish() to a message, or at once the error that says why it cannot be sent."""

from __future__ import annotations

import json as json_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outbox_support import Ending

from iot_customauth_client import ConfigurationError, InvalidTopic, NotSupported, PayloadTooLarge
from iot_customauth_client.outgoing import Outgoing
from iot_customauth_client.publishing import UNSET, check_qos, make_outgoing

ALL_PROPERTIES: dict[str, Any] = {
    "expiry_seconds": 60,
    "content_type": "application/json",
    "response_topic": "reply",
    "correlation_data": b"\x00",
    "user_properties": [("k", "v"), ("k", "w")],
}


def outgoing(topic: str = "a/b", payload: Any = b"", *, mqtt5: bool = True, **arguments: Any) -> Outgoing:
    return make_outgoing(topic, payload, promise=Ending(), accepted_at=1.0, mqtt5=mqtt5, **arguments)


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        (b"\xff\x00", b"\xff\x00"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[1:3], b"bc"),
        ("\u00e9", "\u00e9".encode()),
        ("", b""),
    ],
)
def test_a_payload_is_bytes_or_text(payload: Any, data: bytes) -> None:
    sent = outgoing(payload=payload).payload
    assert sent == data
    assert type(sent) is bytes


def test_what_the_caller_changes_later_does_not_change_the_message() -> None:
    mine = bytearray(b"ab")
    entry = outgoing(payload=mine)
    mine[0] = 0
    assert entry.payload == b"ab"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\u00e9"), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_json_is_compact_utf8_that_says_the_same(value: Any) -> None:
    data = outgoing(json=value).payload
    assert json_module.loads(data) == value
    assert data == json_module.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def test_json_none_is_null_and_not_nothing() -> None:
    assert outgoing(json=None).payload == b"null"
    assert outgoing(json=UNSET).payload == b""
    assert outgoing(json={"counter": 0}).payload == b'{"counter":0}'


def test_payload_and_json_together_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="payload or json, not both"):
        outgoing(payload=b"x", json=None)


@pytest.mark.parametrize("payload", [{"a": 1}, None, 5, ["a"]])
def test_another_type_of_payload_is_refused_with_a_hint(payload: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"not {type(payload).__name__}: for data use json="):
        outgoing(payload=payload)


def test_what_json_cannot_say_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        outgoing(json=object())


def test_the_largest_payload_has_128_kib() -> None:
    assert len(outgoing(payload=bytes(131_072)).payload) == 131_072
    for too_large in ({"payload": bytes(131_073)}, {"payload": "\u20ac" * 43_691}, {"json": "x" * 131_071}):
        with pytest.raises(PayloadTooLarge, match="131073 bytes, AWS IoT Core allows 131072") as caught:
            outgoing(**too_large)
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("qos", [0, 1])
def test_qos_0_and_1_are_sent(qos: int) -> None:
    assert outgoing(qos=qos).qos == qos


def test_qos_1_is_the_default() -> None:
    entry = outgoing()
    assert (entry.qos, entry.retain, entry.attempts, entry.sent_at, entry.accepted_at) == (1, False, 0, None, 1.0)


def test_qos_2_is_refused_as_the_service_does_not_have_it() -> None:
    with pytest.raises(NotSupported, match="use qos=1"):
        outgoing(qos=2)


@pytest.mark.parametrize("qos", [-1, 3, "1", None])
def test_what_is_no_qos_is_refused(qos: Any) -> None:
    with pytest.raises(ConfigurationError, match="qos must be 0 or 1"):
        check_qos(qos)


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a" * 257, "$share/g/a"])
def test_a_topic_that_cannot_be_published_to_is_refused(topic: str) -> None:
    with pytest.raises(InvalidTopic):
        outgoing(topic)


def test_mqtt5_carries_all_properties() -> None:
    entry = outgoing(retain=True, **ALL_PROPERTIES)
    assert entry.retain is True
    assert (entry.expiry_seconds, entry.content_type, entry.response_topic) == (60, "application/json", "reply")
    assert entry.correlation_data == b"\x00"
    assert entry.user_properties == (("k", "v"), ("k", "w"))


@pytest.mark.parametrize("name", sorted(ALL_PROPERTIES))
def test_mqtt311_refuses_what_it_cannot_carry(name: str) -> None:
    with pytest.raises(NotSupported, match=f'{name} is a property of MQTT 5: use protocol="mqtt5"'):
        outgoing(mqtt5=False, **{name: ALL_PROPERTIES[name]})


def test_mqtt311_takes_what_it_can_carry() -> None:
    entry = outgoing(mqtt5=False, payload="x", qos=0, retain=True)
    assert (entry.payload, entry.qos, entry.retain, entry.user_properties) == (b"x", 0, True, ())


def test_a_response_topic_must_be_a_topic() -> None:
    with pytest.raises(InvalidTopic, match="response topic 'a/#'"):
        outgoing(response_topic="a/#")


@pytest.mark.parametrize(("expiry", "legal"), [(0, False), (-1, False), (1, True), (2**32 - 1, True), (2**32, False)])
def test_an_expiry_is_within_what_mqtt_can_say(expiry: int, legal: bool) -> None:
    if legal:
        assert outgoing(expiry_seconds=expiry).expiry_seconds == expiry
    else:
        with pytest.raises(ConfigurationError, match="expiry_seconds must be a whole number, 1 to"):
            outgoing(expiry_seconds=expiry)


def test_not_given_has_a_short_repr() -> None:
    assert repr(UNSET) == "..."
