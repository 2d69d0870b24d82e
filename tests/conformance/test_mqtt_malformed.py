"""Bytes that are no MQTT: DISCONNECT with a code for MQTT 5, a hang-up for 3.1.1, and nothing for anybody else."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, V311, Bench, raw, raw_publish, text

from iot_customauth_client.local.codec import Version

MALFORMED, PROTOCOL = 129, 130


def body(version: Version, fixed: bytes, rest: bytes, properties: bytes = b"") -> bytes:
    """A body with a block of properties behind its first field, where the version has one."""
    return fixed + (bytes((len(properties),)) + properties if version is V5 else b"") + rest


def subscribe(version: Version, *, first: int = 0x82, packet_id: int = 1, options: int = 0, filters: int = 1) -> bytes:
    rest = (text("a") + bytes((options,))) * filters
    return raw(first, body(version, packet_id.to_bytes(2, "big"), rest))


def unsubscribe(version: Version, *, first: int = 0xA2, packet_id: int = 1, filters: int = 1) -> bytes:
    return raw(first, body(version, packet_id.to_bytes(2, "big"), text("a") * filters))


def insist(bench: Bench, version: Version, packet: bytes, code: int) -> None:
    """Send bytes as a client that was let in, and insist on its end, and on nobody else's."""
    other = bench.client(version)
    client = bench.client(version)
    client.send_bytes(packet)
    assert client.end() == (code if version is V5 else None)
    other.ping()


@pytest.mark.mqtt5("2.1.3-1", "3.6.1-1", "3.8.1-1", "3.10.1-1", "3.14.1-1", "4.13.1-1")
@pytest.mark.mqtt311("2.2.2-1", "2.2.2-2", "3.6.1-1", "3.8.1-1", "3.10.1-1", "3.14.1-1", "4.8.0-1")
@EITHER
@pytest.mark.parametrize(
    ("name", "first"),
    [
        *(("subscribe", 0x80 | bits) for bits in (0, 1, 3, 8, 15)),
        *(("unsubscribe", 0xA0 | bits) for bits in (0, 1, 3, 8, 15)),
        *(("pubrel", 0x60 | bits) for bits in (0, 1, 3)),
        *(("puback", 0x40 | bits) for bits in (1, 2, 8)),
        *(("pingreq", 0xC0 | bits) for bits in (1, 2, 8)),
        *(("disconnect", 0xE0 | bits) for bits in (1, 2, 8)),
    ],
)
def test_reserved_flags_end_the_connection(bench: Bench, version: Version, name: str, first: int) -> None:
    packets = {
        "subscribe": subscribe(version, first=first),
        "unsubscribe": unsubscribe(version, first=first),
        "pubrel": raw(first, b"\0\1"),
        "puback": raw(first, b"\0\1"),
        "pingreq": raw(first),
        "disconnect": raw(first),
    }
    insist(bench, version, packets[name], MALFORMED)


@pytest.mark.mqtt5("4.13.1-1")
@pytest.mark.mqtt311("4.8.0-1")
@EITHER
def test_a_packet_type_that_does_not_exist_ends_the_connection(bench: Bench, version: Version) -> None:
    insist(bench, version, raw(0x00), MALFORMED)
    if version is V311:
        insist(bench, version, raw(0xF0), MALFORMED)


@pytest.mark.mqtt5("4.13.1-1")
@pytest.mark.mqtt311("4.8.0-1")
@EITHER
@pytest.mark.parametrize(
    ("first", "fixed", "rest"),
    [(0x20, b"\0\0", b""), (0x90, b"\0\1", b"\0"), (0xB0, b"\0\1", b""), (0xD0, b"", b"")],
    ids=["connack", "suback", "unsuback", "pingresp"],
)
def test_what_only_a_server_sends_ends_the_connection(
    bench: Bench, version: Version, first: int, fixed: bytes, rest: bytes
) -> None:
    insist(bench, version, raw(first, fixed + rest if first == 0xD0 else body(version, fixed, rest)), PROTOCOL)


@pytest.mark.mqtt5("1.5.5-1")
@pytest.mark.mqtt311("4.8.0-1")
@EITHER
@pytest.mark.parametrize("length", [b"\x80\0", b"\x80\x80\x80\0", b"\x80\x80\x80\x80\1", b"\xff\xff\xff\xff\x7f"])
def test_a_remaining_length_that_is_no_length_ends_the_connection(
    bench: Bench, version: Version, length: bytes
) -> None:
    insist(bench, version, b"\xc0" + length, MALFORMED)


@pytest.mark.mqtt5("1.5.5-1", "2.2.2-1")
@pytest.mark.parametrize(
    "properties",
    [b"\x80\0", b"\5", b"\2\x01", b"\x80\x80\x80\x80\1"],
    ids=["not-the-shortest", "longer-than-the-packet", "cut-off", "five-bytes"],
)
def test_a_property_length_that_does_not_fit_ends_the_connection(bench: Bench, properties: bytes) -> None:
    insist(bench, V5, raw_publish(V5, "a", after=properties), MALFORMED)


@pytest.mark.mqtt5("4.13.1-1")
@pytest.mark.parametrize(
    ("properties", "code"),
    [
        (b"\x11\0\0\0\1", MALFORMED),  # session expiry has no place in PUBLISH
        (b"\x7f\0", MALFORMED),  # there is no such property
        (b"\x01\2", PROTOCOL),  # payload format 2
        (b"\x01\1\x01\1", PROTOCOL),  # twice
        (b"\x03\0\1a\x03\0\1a", PROTOCOL),
        (b"\x23\0\1\x23\0\1", PROTOCOL),
        (b"\x08\0\0", PROTOCOL),  # an empty response topic
        (b"\x0b\1", PROTOCOL),  # a subscription identifier, which only a server sends
        (b"\x0b\0", PROTOCOL),
    ],
)
def test_a_property_that_may_not_stand_there_ends_the_connection(bench: Bench, properties: bytes, code: int) -> None:
    insist(bench, V5, raw_publish(V5, "a", after=bytes((len(properties),)) + properties), code)


@pytest.mark.mqtt5("3.3.1-2", "3.3.1-4", "3.3.2-1", "3.3.2-2", "4.7.0-1", "4.7.3-1")
@pytest.mark.mqtt311("3.3.1-2", "3.3.1-4", "3.3.2-1", "3.3.2-2", "4.7.1-1", "4.7.3-1")
@EITHER
@pytest.mark.parametrize(
    ("topic", "flags", "code"),
    [
        ("a", 0b0110, MALFORMED),  # QoS 3
        ("a", 0b1000, MALFORMED),  # DUP with QoS 0
        ("a/+", 0, MALFORMED),
        ("a/#", 0, MALFORMED),
        ("#", 0, MALFORMED),
        ("", 0, PROTOCOL),
    ],
)
def test_a_publish_that_may_not_be_ends_the_connection(
    bench: Bench, version: Version, topic: str, flags: int, code: int
) -> None:
    after = b"\0\1" if flags & 6 else b""
    packet = raw_publish(version, topic, flags=flags, after=after + (b"\0" if version is V5 else b""))
    insist(bench, version, packet, code)


@pytest.mark.mqtt5("3.8.3-2", "3.8.3-5", "3.10.3-2", "3.3.1-11", "4.7.3-1")
@pytest.mark.mqtt311("3.8.3-3", "3.8.3-4", "3.10.3-2", "4.7.3-1")
@EITHER
def test_a_subscribe_or_unsubscribe_that_may_not_be_ends_the_connection(bench: Bench, version: Version) -> None:
    insist(bench, version, subscribe(version, filters=0), PROTOCOL)
    insist(bench, version, unsubscribe(version, filters=0), PROTOCOL)
    insist(bench, version, subscribe(version, options=0x40), MALFORMED)
    insist(bench, version, subscribe(version, options=0x80), MALFORMED)
    insist(bench, version, subscribe(version, options=3), PROTOCOL)  # QoS 3
    insist(bench, version, subscribe(version, options=0x30), PROTOCOL)  # retain handling 3; reserved in 3.1.1
    insist(bench, version, raw(0x82, body(version, b"\0\1", text("") + b"\0")), PROTOCOL)
    insist(bench, version, raw(0xA2, body(version, b"\0\1", text(""))), PROTOCOL)


@pytest.mark.mqtt311("3.8.3-4")
@pytest.mark.parametrize("bit", [0x04, 0x08, 0x10, 0x20])
def test_subscription_options_of_5_end_a_connection_of_311(bench: Bench, bit: int) -> None:
    insist(bench, V311, subscribe(V311, options=bit), MALFORMED)


@pytest.mark.mqtt5("3.4.2-1", "3.14.2-1", "4.13.1-1")
@pytest.mark.parametrize(
    "packet",
    [b"\x40\x03\0\1\x55", b"\xe0\1\x55", b"\xe0\1\x8e", b"\xe0\1\x9c"],
    ids=["puback", "disconnect", "disconnect-taken-over", "disconnect-use-another-server"],
)
def test_a_reason_code_that_a_client_may_not_say_ends_the_connection(bench: Bench, packet: bytes) -> None:
    insist(bench, V5, packet, PROTOCOL)


@pytest.mark.mqtt5("4.13.1-1")
@pytest.mark.mqtt311("4.8.0-1")
@EITHER
@pytest.mark.parametrize(
    "packet",
    [b"\xc0\1\0", b"\x40\1\0", b"\x30\1\0", b"\x30\3\0\5a", b"\x82\1\0"],
    ids=["pingreq-with-a-body", "half-a-packet-id", "half-a-length", "topic-cut-off", "subscribe-cut-off"],
)
def test_a_body_that_does_not_fill_its_length_ends_the_connection(
    bench: Bench, version: Version, packet: bytes
) -> None:
    insist(bench, version, packet, MALFORMED)


@pytest.mark.mqtt311("4.8.0-1")
def test_a_disconnect_of_311_has_no_body(bench: Bench) -> None:
    insist(bench, V311, b"\xe0\1\0", MALFORMED)


@pytest.mark.mqtt5("4.13.1-1")
@pytest.mark.mqtt311("4.8.0-1")
@pytest.mark.aws("qos-2")
@EITHER
@pytest.mark.parametrize("first", [0x50, 0x62, 0x70], ids=["pubrec", "pubrel", "pubcomp"])
def test_the_packets_of_qos_2_end_the_connection(bench: Bench, version: Version, first: int) -> None:
    insist(bench, version, raw(first, b"\0\1"), PROTOCOL)


@EITHER
def test_what_came_before_a_malformed_packet_was_taken(bench: Bench, version: Version) -> None:
    topic = bench.name()
    watcher = bench.client(version)
    watcher.subscribe(topic)
    client = bench.client(version)
    client.send_bytes(raw_publish(version, topic) + b"\0\0" + raw_publish(version, topic))
    assert client.end() == (MALFORMED if version is V5 else None)
    assert len(watcher.messages()) == 1
