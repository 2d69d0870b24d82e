"""UTF-8 in MQTT: what is no text ends the connection, and what is text comes out as it went in."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, V311, Bench, raw, raw_connect, raw_publish, text
from depth import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iot_customauth_client.local.codec import Property, Version

ILL_FORMED = {
    "surrogate": b"\xed\xa0\x80",
    "surrogate-pair": b"\xed\xa0\x81\xed\xb0\x80",
    "overlong": b"\xc0\xaf",
    "cut-off": b"\xe2\x82",
    "continuation": b"\x80",
    "beyond-unicode": b"\xf4\x90\x80\x80",
    "not-utf-8": b"\xff\xfe",
    "null": b"a\0b",
}
BYTES = pytest.mark.parametrize("wrong", list(ILL_FORMED.values()), ids=list(ILL_FORMED))


@pytest.mark.mqtt5("1.5.4-1", "1.5.4-2", "3.3.2-1", "3.8.3-1", "3.10.3-1", "4.7.3-2")
@pytest.mark.mqtt311("1.5.3-1", "1.5.3-2", "3.3.2-1", "3.8.3-1", "3.10.3-1", "4.7.3-2")
@EITHER
@BYTES
def test_what_is_no_utf_8_ends_the_connection(bench: Bench, version: Version, wrong: bytes) -> None:
    none = b"\0" if version is V5 else b""
    for packet in (
        raw_publish(version, wrong),
        raw(0x82, b"\0\1" + none + text(wrong) + b"\0"),
        raw(0xA2, b"\0\1" + none + text(wrong)),
    ):
        client = bench.client(version)
        client.send_bytes(packet)
        assert client.end() == (129 if version is V5 else None)


@pytest.mark.mqtt5("1.5.4-1", "1.5.7-1", "3.3.2-13", "3.3.2-19")
@BYTES
@pytest.mark.parametrize("key", [Property.CONTENT_TYPE, Property.RESPONSE_TOPIC, Property.USER_PROPERTY])
def test_a_property_that_is_no_utf_8_ends_the_connection(bench: Bench, key: Property, wrong: bytes) -> None:
    values = [text(wrong)]
    if key is Property.USER_PROPERTY:
        values = [text("a") + text(wrong), text(wrong) + text("a")]
    for value in values:
        block = bytes((key,)) + value
        client = bench.client(V5)
        client.send_bytes(raw_publish(V5, "a", after=bytes((len(block),)) + block))
        assert client.end() == 129


@pytest.mark.mqtt5("1.5.4-1", "3.1.3-4", "3.1.3-11", "3.1.3-12")
@pytest.mark.mqtt311("1.5.3-1", "3.1.3-4", "3.1.3-10", "3.1.3-11")
@EITHER
@BYTES
def test_a_connect_whose_text_is_no_utf_8_is_hung_up_on(bench: Bench, version: Version, wrong: bytes) -> None:
    properties = b"\0" if version is V5 else b""
    for flags, rest in (
        (2, text(wrong)),
        (6, text("c") + properties + text(wrong) + text("")),
        (0x82, text("c") + text(wrong)),
    ):
        peer = bench.peer(version)
        peer.send_bytes(raw_connect(version, flags=flags, rest=rest))
        assert peer.receive() is None


@pytest.mark.mqtt5("1.5.4-3", "4.7.3-4")
@pytest.mark.mqtt311("1.5.3-3", "4.7.3-4")
@EITHER
def test_a_zero_width_no_break_space_is_not_stripped_off(bench: Bench, version: Version) -> None:
    plain = bench.name()
    marked = "\ufeff" + plain
    client = bench.client(version)
    client.subscribe(plain, marked)
    client.publish(marked)
    client.publish(plain)
    assert [message.topic for message in client.messages()] == [marked, plain]


@pytest.mark.mqtt5("4.7.3-4")
@pytest.mark.mqtt311("4.7.3-4")
@pytest.mark.parametrize(
    ("written", "other"),
    [
        ("\u00e9", "e\u0301"),
        ("\ufb01", "fi"),
        ("\u212b", "\u00c5"),
        ("A", "a"),
        ("a/", "a"),
        ("/a", "a"),
        ("a b", "ab"),
        ("a//b", "a/b"),
    ],
)
def test_topics_that_look_alike_are_not_the_same(bench: Bench, written: str, other: str) -> None:
    prefix = bench.name() + "/"
    client = bench.client()
    client.subscribe(prefix + written)
    client.publish(prefix + other)
    assert client.messages() == []
    client.publish(prefix + written)
    assert client.message().topic == prefix + written


# MQTT lets a server refuse control characters and noncharacters (1.5.4); the endpoint does so in topics.
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"], exclude_characters="+#/$"))


@pytest.mark.mqtt5("1.5.4-1", "3.3.2-17")
@pytest.mark.mqtt311("1.5.3-1")
@given(topic=TEXT.filter(lambda value: len(value.encode()) < 200), value=st.text(st.characters(codec="utf-8")))
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_out_as_it_went_in(bench: Bench, topic: str, value: str) -> None:
    topic, value = f"{bench.name()}/{topic}", value.replace("\0", "")
    client = bench.client()
    client.subscribe(topic)
    client.publish(topic, properties={Property.USER_PROPERTY: ((value, value),), Property.CONTENT_TYPE: value})
    message = client.message()
    assert message.topic == topic
    assert message.properties == {Property.USER_PROPERTY: ((value, value),), Property.CONTENT_TYPE: value}
    client.close()


@pytest.mark.mqtt5("3.1.3-5")
@pytest.mark.mqtt311("3.1.3-5")
@EITHER
@pytest.mark.parametrize("client_id", ["0", "abcdefghijklmnopqrstuvw", "ABCDEFGHIJKLMNOPQRSTUVW", "zZ9"])
def test_every_client_id_that_a_server_must_take_is_taken(bench: Bench, version: Version, client_id: str) -> None:
    bench.client(version, client_id).leave()


@pytest.mark.mqtt5("4.7.3-3")
@pytest.mark.mqtt311("4.7.3-3")
@pytest.mark.aws("topic-length")
def test_a_topic_has_256_bytes_and_8_levels_and_no_more(bench: Bench) -> None:
    client = bench.client()
    for topic in ("x" * 256, "é" * 128, "a/" * 7 + "b"):
        assert client.subscribe(topic) == (1,)
        answer = client.publish(topic, qos=1)
        assert answer is not None
        assert answer.reason_code == 0
    for topic in ("x" * 257, "é" * 128 + "x", "a/" * 8 + "b", "x" * 65_535):
        assert client.subscribe(topic) == (143,)
        answer = client.publish(topic, qos=1)
        assert answer is not None
        assert answer.reason_code == 144
    old = bench.client(V311)
    old.send_bytes(b"\x30" + b"\x83\x02" + text("x" * 257))
    assert old.end() is None
