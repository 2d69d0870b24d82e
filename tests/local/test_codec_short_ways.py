"""The short ways of the codec decide nothing: known topic or not, every packet is read and written the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from hypothesis import example, given
from hypothesis import strategies as st

from iot_customauth_client.local.codec import CodecError, Connect, Decoder, Packet, PubAck, Publish, Version, encode
from iot_customauth_client.local.codec import decode as reading
from iot_customauth_client.local.codec.known_texts import MAX_TEXT_LENGTH, MAX_TEXTS, KnownTexts
from iot_customauth_client.local.codec.packet_types import PacketType

TOPICS = ("a", "devices/one", "Ä", "x" * 120, "x" * 300)
versions = st.sampled_from(Version)


@contextlib.contextmanager
def topics_unknown() -> Iterator[None]:
    """Have the codec know no topic, so that it goes the long way."""
    with (
        mock.patch.object(reading, "_TOPICS", KnownTexts()),
        mock.patch.dict(encode.__globals__, {"_TOPICS": KnownTexts()}),
    ):
        yield


def outcome_of_reading(data: bytes, version: Version, *, as_server: bool) -> object:
    decoder = Decoder() if as_server else Decoder(version=version)
    if as_server:
        decoder.feed(encode(Connect(version, "client"), version))
    try:
        return decoder.feed(data)
    except CodecError as error:
        return error.reason_code, str(error), error.rule, error.before


def outcome_of_writing(packet: Packet, version: Version) -> object:
    try:
        return encode(packet, version)
    except ValueError as error:
        return str(error)


def know(topic: str) -> None:
    for version in Version:
        Decoder(version=version).feed(encode(Publish(topic, b""), version))


@given(
    versions,
    st.booleans(),
    st.sampled_from(TOPICS),
    st.integers(0, 15),
    st.binary(max_size=6) | st.binary(min_size=130, max_size=140),
    st.integers(0, 3),
)
@example(Version.MQTT5, True, "a", 0x08, b"\0", 0)  # DUP with QoS 0
@example(Version.MQTT5, True, "a", 0x02, b"\0\0\0", 0)  # packet identifier 0
@example(Version.MQTT5, True, "a", 0x06, b"\0\1\0", 0)  # QoS 3
@example(Version.MQTT5, True, "a", 0x02, b"\0\1\2\1\1xyz", 0)  # with a property
@example(Version.MQTT311, True, "a", 0x02, b"\0\1", 0)
@example(Version.MQTT5, True, "devices/one", 0x00, b"", 2)  # cut off within the topic
def test_a_publish_is_read_the_same_whether_its_topic_is_known_or_not(
    version: Version, as_server: bool, topic: str, flags: int, tail: bytes, cut: int
) -> None:
    know(topic)
    raw = topic.encode()
    body = len(raw).to_bytes(2, "big") + raw + tail
    body = body[: len(body) - cut]
    size = len(body)
    length = bytes((size,)) if size < 0x80 else bytes((size & 0x7F | 0x80, size >> 7))
    # What follows must not be taken for a part of it.
    data = bytes((PacketType.PUBLISH << 4 | flags,)) + length + body + b"\xc0\0"
    found = outcome_of_reading(data, version, as_server=as_server)
    with topics_unknown():
        assert found == outcome_of_reading(data, version, as_server=as_server)


@given(
    versions,
    st.sampled_from((*TOPICS, "", "a/+", "a\0b")),
    st.binary(max_size=3) | st.sampled_from([b"x" * size for size in (110, 125, 128, 16_370, 16_384)]),
    st.integers(-1, 4),
    st.booleans(),
    st.booleans(),
    st.sampled_from((None, -1, 0, 1, 65_535, 65_536)),
)
@example(Version.MQTT5, "a", b"", 0, False, True, None)  # DUP with QoS 0
@example(Version.MQTT5, "a", b"", 0, False, False, 1)  # QoS 0 with a packet identifier
@example(Version.MQTT5, "a", b"", 3, False, False, 1)
def test_a_publish_is_written_the_same_whether_its_topic_is_known_or_not(
    version: Version, topic: str, payload: bytes, qos: int, retain: bool, duplicate: bool, packet_id: int | None
) -> None:
    for known in TOPICS:
        know(known)
    packet = Publish(topic, payload, qos, retain, duplicate, packet_id)
    found = outcome_of_writing(packet, version)
    with topics_unknown():
        assert found == outcome_of_writing(packet, version)


@given(versions, st.binary(max_size=5))
@example(Version.MQTT5, b"\0\0")
@example(Version.MQTT311, b"\0\0")
@example(Version.MQTT311, b"\0\1")
def test_the_shortest_puback_is_read_as_the_longer_one_that_means_the_same(version: Version, body: bytes) -> None:
    data = bytes((PacketType.PUBACK << 4, len(body))) + body
    found = outcome_of_reading(data, version, as_server=True)
    packet_id = int.from_bytes(body[:2], "big")
    if len(body) == 2 and packet_id:
        assert found == [PubAck(packet_id)]
        if version is Version.MQTT5:
            longer = bytes((PacketType.PUBACK << 4, 4)) + body + b"\0\0"
            assert found == outcome_of_reading(longer, version, as_server=True)
        assert encode(PubAck(packet_id), version) == data
    elif len(body) <= 2:
        assert isinstance(found, tuple)


@given(versions, st.integers(-2, 65_540))
def test_a_puback_without_a_possible_packet_identifier_is_not_written(version: Version, packet_id: int) -> None:
    written = outcome_of_writing(PubAck(packet_id), version)
    assert isinstance(written, bytes) == (1 <= packet_id <= 65_535)


def test_known_topics_do_not_grow_with_what_peers_send() -> None:
    known = KnownTexts[str, int]()
    for number in range(3 * MAX_TEXTS):
        known.keep(f"topic/{number}", number)
        known.keep("x" * (MAX_TEXT_LENGTH + 1) + str(number), number)
        assert len(known) <= MAX_TEXTS
    assert known.get(f"topic/{3 * MAX_TEXTS - 1}") == 3 * MAX_TEXTS - 1
    assert known.get("x" * (MAX_TEXT_LENGTH + 1) + "0") is None
