"""What is written is read back, in pieces of any size, and nothing but `CodecError` ever comes of bad bytes."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys

import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import client_packets, connects, made, mutated, packets

from bench.fuzz.packets import KINDS
from iot_customauth_client.local.codec import (
    CodecError,
    Connect,
    Decoder,
    Packet,
    PingReq,
    PubAck,
    Publish,
    ReasonCode,
    Version,
    encode,
)

VERSIONS = list(Version)
HELLO = {version: Connect(version, "client_id") for version in VERSIONS}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", KINDS)
def test_what_is_encoded_is_decoded_to_the_same_packet(name: str, version: Version) -> None:
    if name == "auth" and version is Version.MQTT311:
        return  # there is no such packet: test_codec_strict has its refusal

    @settings(max_examples=examples(150))
    @given(packet=made(KINDS[name], version))
    def holds(packet: Packet) -> None:
        assert Decoder(version=version).feed(encode(packet, version)) == [packet]

    holds()


@pytest.mark.parametrize("version", VERSIONS)
def test_chunks_of_any_size_give_the_same_packets_as_all_at_once(version: Version) -> None:
    @settings(max_examples=examples(150))
    @given(sent=st.lists(packets(version), max_size=6), cuts=st.lists(st.integers(0, 300)))
    def holds(sent: list[Packet], cuts: list[int]) -> None:
        stream = b"".join(encode(packet, version) for packet in sent)
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        decoder = Decoder(version=version)
        received = [packet for begin, end in itertools.pairwise(edges) for packet in decoder.feed(stream[begin:end])]
        assert received == sent
        assert decoder.buffered_bytes == 0

    holds()


@settings(max_examples=examples(400))
@given(data=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60)), version=st.sampled_from([None, *VERSIONS]))
def test_chunks_of_any_size_give_the_same_refusal_as_all_at_once(
    data: bytes, cuts: list[int], version: Version | None
) -> None:
    whole = outcome(Decoder(version=version), [data])
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[begin:end] for begin, end in itertools.pairwise(edges)]
    assert outcome(Decoder(version=version), pieces) == whole


def outcome(decoder: Decoder, pieces: list[bytes]) -> tuple[list[Packet], str, str]:
    """All packets, then the refusal and its rule if there was one."""
    received: list[Packet] = []
    for piece in pieces:
        try:
            received += decoder.feed(piece)
        except CodecError as error:
            return [*received, *error.before], str(error), error.rule
    return received, "", ""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_takes_all_that_a_client_may_send(version: Version) -> None:
    @settings(max_examples=examples(150))
    @given(hello=connects(version), sent=st.lists(client_packets(version), max_size=4))
    def holds(hello: Connect, sent: list[Packet]) -> None:
        decoder = Decoder()
        assert decoder.version is None
        stream = [hello, *sent]
        assert decoder.feed(b"".join(encode(packet, version) for packet in stream)) == stream
        assert decoder.version is version

    holds()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_burst_of_many_packets_is_read_in_one_feed(version: Version) -> None:
    sent = [Publish("devices/client_id", b"x" * 128, 1, False, False, 1 + number) for number in range(1000)]
    decoder = Decoder(version=version)
    assert decoder.feed(b"".join(encode(packet, version) for packet in sent)) == sent


def test_packets_before_the_malformed_one_are_not_lost() -> None:
    good: list[Packet] = [HELLO[Version.MQTT5], PubAck(1), PubAck(2)]
    data = b"".join(encode(packet, Version.MQTT5) for packet in good)
    with pytest.raises(CodecError) as caught:
        Decoder().feed(data + b"\x40\x02\x00\x00" + encode(PubAck(3), Version.MQTT5))
    assert list(caught.value.before) == good


def test_after_a_refusal_every_feed_is_refused_for_the_same_reason() -> None:
    decoder = Decoder()
    with pytest.raises(CodecError) as first:
        decoder.feed(encode(HELLO[Version.MQTT5], Version.MQTT5) + b"\x40\x02\x00\x00")
    with pytest.raises(CodecError) as second:
        decoder.feed(encode(PingReq(), Version.MQTT5))
    assert str(second.value) == str(first.value)
    assert (second.value.rule, second.value.reason_code) == (first.value.rule, first.value.reason_code)
    assert second.value.before == ()


def test_bytes_that_wait_for_the_rest_of_their_packet_are_counted() -> None:
    decoder = Decoder(version=Version.MQTT5)
    data = encode(Publish("a", b"payload"), Version.MQTT5)
    for count in range(1, len(data)):
        assert decoder.feed(data[count - 1 : count]) == []
        assert decoder.buffered_bytes == count
    assert decoder.feed(data[-1:]) == [Publish("a", b"payload")]
    assert decoder.buffered_bytes == 0


def test_one_byte_at_a_time_costs_no_more_steps_than_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the clock: the body is looked at once it is complete, so the reader runs once however it came."""
    data = encode(Publish("a", b"x" * 20_000), Version.MQTT5)
    decoder = Decoder(version=Version.MQTT5)
    looks = 0
    read_all = Decoder._read_all

    def counted(self: Decoder, data: bytes, packets: list[Packet]) -> int:
        nonlocal looks
        looks += 1
        return read_all(self, data, packets)

    monkeypatch.setattr(Decoder, "_read_all", counted)
    assert [packet for byte in data for packet in decoder.feed(bytes((byte,)))] == [Publish("a", b"x" * 20_000)]
    assert looks <= 6, "the body was looked at again and again"


def test_a_packet_that_is_too_large_is_refused_by_its_header_alone() -> None:
    decoder = Decoder(version=Version.MQTT5, max_packet_bytes=100)
    at_the_limit = encode(Publish("a", b"x" * 94), Version.MQTT5)
    assert len(at_the_limit) == 100
    assert len(decoder.feed(at_the_limit)) == 1
    with pytest.raises(CodecError) as caught:
        decoder.feed(encode(Publish("a", b"x" * 95), Version.MQTT5)[:2])
    assert caught.value.reason_code is ReasonCode.PACKET_TOO_LARGE
    assert decoder.buffered_bytes == 0


def test_every_buffer_type_that_a_socket_gives_is_taken() -> None:
    data = encode(PubAck(7), Version.MQTT5)
    for kind in (bytes, bytearray, memoryview):
        assert Decoder(version=Version.MQTT5).feed(kind(data)) == [PubAck(7)]  # type: ignore[arg-type]
        decoder = Decoder(version=Version.MQTT5)
        assert decoder.feed(kind(data[:3])) == []  # type: ignore[arg-type]
        assert decoder.feed(kind(data[3:])) == [PubAck(7)]  # type: ignore[arg-type]


def test_random_bytes_and_mutated_packets_raise_nothing_but_the_codec_error() -> None:
    """10,000 of each, with a fixed seed: hypothesis would take minutes for as many."""
    dice = random.Random(20210821)
    valid: list[tuple[Version, bytes]] = []

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(drawn=st.sampled_from(VERSIONS).flatmap(lambda version: st.tuples(st.just(version), packets(version))))
    def collect(drawn: tuple[Version, Packet]) -> None:
        version, packet = drawn
        valid.append((version, encode(packet, version)))

    collect()
    refused = 0
    for _ in range(10_000):
        refused += survives(Decoder(version=dice.choice([None, *VERSIONS])), dice.randbytes(dice.randrange(1, 80)))
    assert refused > 5_000
    refused = 0
    for _ in range(10_000):
        version, data = dice.choice(valid)
        decoder = Decoder(version=dice.choice([None, version, version]))
        refused += survives(decoder, mutated(data, dice) + dice.choice(valid)[1])
    assert 2_000 < refused < 10_000, "the mutations are either all harmless or all fatal: they test nothing"


def survives(decoder: Decoder, data: bytes) -> bool:
    """Whether it was refused; anything but the codec's error ends the test."""
    try:
        decoder.feed(data)
    except CodecError:
        return True
    return False


def test_the_codec_loads_no_io_and_no_heavy_library() -> None:
    """A small device simulator or a fuzzer can use it alone."""
    code = (
        "import sys, iot_customauth_client.local.codec; "
        "print(sorted({'asyncio', 'ssl', 'socket', 'pydantic', 'awscrt', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"
