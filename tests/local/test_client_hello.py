"""The ClientHello of real clients is read, however it was cut, and no bytes raise anything unexpected."""

import ssl
from itertools import pairwise

import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from tls_clients import client_hello, in_records

from iot_customauth_client.local.client_hello import (
    MAX_CLIENT_HELLO_BYTES,
    BadClientHello,
    ClientHello,
    ClientHelloReader,
    NotTls,
    read_client_hello,
)

REAL = client_hello("a1b2-ats.iot.eu-west-1.amazonaws.com", ("x-amzn-mqtt-ca", "mqtt"))


def hello_of(*extensions: tuple[int, bytes], tail: bytes = b"") -> bytes:
    """A ClientHello made by hand, in one record."""
    block = b"".join(kind.to_bytes(2, "big") + vector(2, content) for kind, content in extensions)
    body = b"\x03\x03" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0") + vector(2, block)
    message = b"\x01" + vector(3, body + tail)
    return b"\x16\x03\x01" + vector(2, message)


def vector(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width, "big") + content


def server_name(name: bytes) -> tuple[int, bytes]:
    return 0, vector(2, b"\0" + vector(2, name))


def test_server_name_alpn_and_versions_of_a_real_client_are_read() -> None:
    assert read_client_hello(REAL) == ClientHello(
        server_name="a1b2-ats.iot.eu-west-1.amazonaws.com",
        alpn=("x-amzn-mqtt-ca", "mqtt"),
        versions=("TLSv1.3", "TLSv1.2"),
    )


def test_a_client_of_tls_1_2_names_its_highest_version() -> None:
    hello = read_client_hello(client_hello(highest=ssl.TLSVersion.TLSv1_2))
    assert hello is not None
    assert hello.versions == ("TLSv1.2",)


def test_a_client_without_sni_and_alpn_gives_none_and_nothing() -> None:
    hello = read_client_hello(client_hello(None, ()))
    assert hello is not None
    assert (hello.server_name, hello.alpn) == (None, ())


def test_an_ip_address_as_server_name_is_let_through() -> None:
    hello = read_client_hello(hello_of(server_name(b"127.0.0.1")))  # awscrt sends it so
    assert hello is not None
    assert hello.server_name == "127.0.0.1"


def test_grease_is_not_an_offer() -> None:
    alpn = (16, vector(2, vector(1, b"\x5a\x5a") + vector(1, b"mqtt")))
    versions = (43, vector(1, b"\x0a\x0a\x03\x04\xfa\xfa\x03\x03"))
    hello = read_client_hello(hello_of((0x1A1A, b""), server_name(b"localhost"), alpn, versions, (0x2A2A, b"\0")))
    assert hello == ClientHello("localhost", ("mqtt",), ("TLSv1.3", "TLSv1.2"))


def test_a_name_with_control_characters_is_safe_to_log() -> None:
    hello = read_client_hello(hello_of(server_name(b"a\nb\x1b[2J\\\xff")))
    assert hello is not None
    assert hello.server_name == r"a\x0ab\x1b[2J\x5c\xff"


@given(cuts=st.lists(st.integers(0, len(REAL)), max_size=8), payload_bytes=st.integers(1, 300))
def test_the_result_does_not_depend_on_segments_and_records(cuts: list[int], payload_bytes: int) -> None:
    data = in_records(REAL, payload_bytes)
    edges = [0, *sorted(cuts), len(data)]
    reader = ClientHelloReader()
    results = [reader.feed(data[start:end]) for start, end in pairwise(edges)]
    assert [result for result in results if result] == [read_client_hello(REAL)]
    assert reader.received == data


def test_every_proper_beginning_asks_for_more() -> None:
    assert all(read_client_hello(REAL[:end]) is None for end in range(len(REAL)))


def test_the_largest_hello_in_the_smallest_pieces_costs_one_look_at_each_byte() -> None:
    looked_at = 0

    class Counting(bytearray):
        def __getitem__(self, key):  # type: ignore[no-untyped-def]
            nonlocal looked_at
            taken = super().__getitem__(key)
            looked_at += len(taken) if isinstance(key, slice) else 1
            return taken

    message = hello_of((21, bytes(9_000)))[5:]
    data = b"".join(b"\x16\x03\x01\0\x01" + bytes([byte]) for byte in message)
    reader = ClientHelloReader()
    reader._received = Counting()
    assert [result for byte in data if (result := reader.feed(bytes([byte])))]
    assert looked_at < 12 * len(data)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\x16\x03\x01\0\0", "record of 0 bytes"),
        (b"\x16\x03\x01\x40\x01", "record of 16385 bytes"),
        (b"\x16\x03\x01\0\x04\x02\0\0\0", "type 2, not ClientHello"),
        (b"\x16\x03\x01\0\x04\x01\xff\xff\xff", "longer than 65536"),
        (b"\x16\x03\x01\0\x04\x01\0\0\x10\x17\x03\x03\0\x01", "type 23 interrupts"),
        (b"\x16\x03\x01\0\x04\x01\0\0\x10\x16\x02", "major version 2"),
        (b"\x16\x03\x01\0\x05\x01\0\0\x01\x03", "shorter than its length fields say"),
        (hello_of(server_name(b"a"), server_name(b"b")), "extension 0 is there twice"),
        (hello_of(server_name(b"")), r"server name \(SNI\) is empty"),
        (hello_of((16, vector(2, b"\0"))), "protocol name is empty"),
        (hello_of((16, vector(2, b"\x04mqtt") + b"x")), "ALPN extension is longer"),
        (hello_of(tail=b"x"), "ClientHello is longer"),
    ],
)
def test_a_broken_hello_is_named(data: bytes, complaint: str) -> None:
    with pytest.raises(BadClientHello, match=complaint):
        read_client_hello(data)


@pytest.mark.parametrize("data", [b"\x10", b"G", b"\x80", b"\x16\x02", b"\x15\x03"])
def test_what_is_not_a_tls_handshake_is_seen_at_once(data: bytes) -> None:
    with pytest.raises(NotTls):
        read_client_hello(data)


def test_an_endless_hello_is_refused_before_it_is_stored() -> None:
    record = b"\x16\x03\x01\x40\x00" + b"\x01\x00\xff\xf0" + bytes(16_380)
    reader = ClientHelloReader()
    assert [reader.feed(record) for _ in range(3)] == [None] * 3
    with pytest.raises(BadClientHello, match="not complete within 65536 bytes"):
        reader.feed(record)
    assert len(reader.received) <= MAX_CLIENT_HELLO_BYTES + len(record)


def complaint_about(data: bytes) -> str | None:
    """What the reader's own errors say, None without one; any other exception goes through."""
    try:
        read_client_hello(data)
    except (NotTls, BadClientHello) as error:
        return str(error)
    return None


@given(
    flips=st.lists(st.tuples(st.integers(0, len(REAL) - 1), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, len(REAL)),
)
@settings(max_examples=examples(300))
def test_a_damaged_hello_raises_only_its_own_errors(flips: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(REAL)
    for at, byte in flips:
        data[at] = byte
    assert complaint_about(bytes(data)) != ""
    assert complaint_about(bytes(data[:cut] + data)) != ""


@given(data=st.binary(max_size=400), framed=st.booleans())
@settings(max_examples=examples(300))
def test_random_bytes_raise_only_its_own_errors(data: bytes, framed: bool) -> None:
    record = b"\x16\x03\x01" + vector(2, b"\x01" + vector(3, data))
    assert complaint_about(record if framed else data) != ""
