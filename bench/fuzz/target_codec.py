"""The MQTT decoder: mutated packets of both versions, cut anywhere.

An input is one byte that says who reads, one that says how it is cut, and the bytes of the stream. Promises:

- nothing is raised but `CodecError`, with a code that MQTT has for it, and every later call raises the same again;
- the packets, and the error, do not depend on how the stream was cut;
- what was accepted can be written, is no longer than what it was read from, and is read as the same again;
- no more is held than one packet;
- the other maker's codec reads what ours accepts, and finds the same end of it.
"""

from __future__ import annotations

import random
from typing import Final

import mqtt5

from iot_customauth_client.local.codec import (
    Auth,
    CodecError,
    Decoder,
    Packet,
    Subscribe,
    Unsubscribe,
    Version,
    encode,
)
from iot_customauth_client.topics import check_topic_filter

from .cutting import cut_up
from .dice import SeededDice
from .mutation import mutate
from .packets import KnownParts, any_packet, client_packet, connect
from .target import Outcome, Target, ensure

_MOST_BYTES: Final = 149_504
_READERS: Final = (None, Version.MQTT5, Version.MQTT311)
_KINDS: Final = {None: "server", Version.MQTT5: "5", Version.MQTT311: "3.1.1"}


def make(seed: random.Random) -> bytes:
    """Some packets, most often with something wrong; now and then one that is large."""
    parts = KnownParts(SeededDice(seed))
    reader = seed.randrange(3)
    version = _READERS[reader] or seed.choice((Version.MQTT5, Version.MQTT311))
    if _READERS[reader] is None:
        packets = [connect(parts, version), *(client_packet(parts, version) for _ in range(seed.randrange(4)))]
    else:
        packets = [any_packet(parts, version) for _ in range(1 + seed.randrange(3))]
    data = [encode(packet, version) for packet in packets]
    if seed.random() < 0.002:
        data.append(_large(seed))
    if seed.random() < 0.9:
        at = seed.randrange(len(data))
        data[at] = mutate(data[at], seed, others=data)
        if seed.random() < 0.7:
            data[at] = with_length(data[at])
    return bytes((reader, seed.randrange(256))) + b"".join(data)


def mend(data: bytes, seed: random.Random) -> bytes:
    """Put the length of the first packet right."""
    del seed
    return data[:2] + with_length(data[2:])


def with_length(packet: bytes) -> bytes:
    """Return the packet with a remaining length that fits."""
    if len(packet) < 2:
        return packet
    at = 1
    while at < min(5, len(packet)) and packet[at] & 0x80:
        at += 1
    body = packet[at + 1 :]
    length, size = bytearray(), len(body)
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return packet[:1] + bytes(length) + body


def _large(seed: random.Random) -> bytes:
    """A packet of about the largest size, of as many small parts as there is room for."""
    part, head = seed.choice(
        (
            (b"\x26\x00\x01a\x00\x01b", b"\x00\x01a"),  # user properties
            (b"\x0b\x01", b"\x00\x01a"),  # subscription identifiers
            (b"\x00\x01a\x00", b"\x00\x01\x00"),  # topic filters
            (b"\x00\x01a", b"\x00\x01\x00"),
            (b"\xc3\xa9", b"\x00\x01a\x00"),
        )
    )
    first = seed.choice((0x30, 0x82, 0xA2, 0x10, 0xC0, 0x90))
    body = part * (seed.randrange(1_000, _MOST_BYTES) // len(part))
    block = b"" if first == 0x90 or seed.random() < 0.3 else _variable(len(body))
    return with_length(bytes((first, 0)) + head + block + body)


def _variable(number: int) -> bytes:
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def run(data: bytes) -> Outcome:
    """Read the stream whole and in pieces, and hold both against the promises."""
    if len(data) < 3:
        return Outcome("too short")
    version, cut, stream = _READERS[data[0] % 3], data[1], data[2:]
    packets, error, decoder = _read(version, [stream])
    pieces = cut_up(stream, cut, byte_by_byte=4, most=200)
    if len(pieces) > 1:
        again, same, _ = _read(version, pieces)
        ensure(again == packets, "the packets do not depend on how the stream is cut")
        ensure(_told(same) == _told(error), "the error does not depend on how the stream is cut")
    spoken = decoder.version
    if packets:
        assert spoken is not None
        _check_written(packets, spoken, stream)
    label = "waits" if error is None else f"{error.reason_code.name.lower()} {error.rule}".strip()
    kind = type(packets[-1]).__name__ if packets else "nothing"
    return Outcome(f"{_KINDS[version]}: {kind}, then {label}", max(1, len(packets) + (error is not None)))


def _read(version: Version | None, pieces: list[bytes]) -> tuple[list[Packet], CodecError | None, Decoder]:
    decoder = Decoder(version=version, max_packet_bytes=_MOST_BYTES)
    packets: list[Packet] = []
    for piece in pieces:
        try:
            packets += decoder.feed(piece)
        except CodecError as error:
            packets += error.before
            _check_error(decoder, error)
            return packets, error, decoder
        ensure(decoder.buffered_bytes <= _MOST_BYTES, "no more is held than one packet")
    return packets, None, decoder


def _check_error(decoder: Decoder, error: CodecError) -> None:
    ensure(error.reason_code >= 0x80, "an error has a code of an error")
    ensure(str(error).isprintable() and len(str(error)) < 300, "an error is one short line")
    ensure(decoder.buffered_bytes == 0, "nothing is held after an error")
    try:
        decoder.feed(b"\xc0\x00")
    except CodecError as again:
        ensure(_told(again) == _told(error) and not again.before, "the same error is raised again")
    else:
        ensure(False, "nothing is read after an error")


def _told(error: CodecError | None) -> tuple[object, ...]:
    return () if error is None else (error.reason_code, str(error), error.rule)


def _check_written(packets: list[Packet], version: Version, stream: bytes) -> None:
    written = [encode(packet, version) for packet in packets]
    ensure(sum(map(len, written)) <= len(stream), "what is written is no longer than what was read")
    ensure(Decoder(version=version).feed(b"".join(written)) == packets, "what is written is read as the same")
    if version is Version.MQTT5:
        _ask_the_oracle(packets, stream)


def _ask_the_oracle(packets: list[Packet], stream: bytes) -> None:
    """Have the other codec read the same bytes, packet by packet."""
    for packet in packets:
        head = 1
        while stream[head] & 0x80:
            head += 1
        size = sum((stream[at] & 0x7F) << 7 * (at - 1) for at in range(1, head + 1))
        data, stream = stream[: head + 1 + size], stream[head + 1 + size :]
        if packet == Auth() or not _is_for_the_oracle(packet):
            continue
        oracle, used = mqtt5.read(memoryview(data))
        ensure(used == len(data), "the other codec finds the same end")
        ensure(type(oracle).__name__ == f"{type(packet).__name__}Packet", "the other codec finds the same type")
        for name in ("topic", "payload", "qos", "packet_id", "reason_code", "client_id", "username", "password"):
            if hasattr(packet, name) and hasattr(oracle, name):
                ensure(getattr(oracle, name) == getattr(packet, name), f"the other codec finds the same {name}")


def _is_for_the_oracle(packet: Packet) -> bool:
    """Tell whether the other codec takes it: topic filters that ours leaves to the broker it refuses."""
    match packet:
        case Subscribe():
            filters = [request.topic_filter for request in packet.requests]
        case Unsubscribe():
            filters = list(packet.topic_filters)
        case _:
            return True
    try:
        for each in filters:
            check_topic_filter(each)
    except ValueError:
        return False
    return True


CODEC: Final = Target(
    "codec",
    0.50,
    make,
    run,
    (
        "local/codec/decode.py",
        "local/codec/decoder.py",
        "local/codec/encode.py",
        "local/codec/primitives.py",
        "local/codec/property_block.py",
        "local/codec/rules.py",
    ),
    mend,
)
