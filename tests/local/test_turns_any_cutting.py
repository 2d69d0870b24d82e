"""However a client's bytes are cut, and however little of the loop it gets at a time: what happens is the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from authorizer_functions import allow_all
from depth import examples
from http_clients import tls_socket
from hypothesis import given, settings
from hypothesis import strategies as st
from mqtt_wire import AUTHORIZER, WireClient

from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.local.codec import (
    Connect,
    Disconnect,
    Packet,
    PingReq,
    Publish,
    Subscribe,
    SubscribeRequest,
    Version,
    encode,
)

UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
CONNECT = Connect(Version.MQTT5, "client_id", True, 60, None, b"pass01")
SUBSCRIBE = Subscribe(1, (SubscribeRequest("t", 0),))
MALFORMED = b"\x00\x00"
_OF_ONE_RUN = {"sequence", "time", "connection", "elapsed_seconds", "trace_id", "event", "at", "peer"}

packets = st.lists(
    st.one_of(
        st.just(PingReq()),
        st.just(SUBSCRIBE),
        st.builds(Publish, st.sampled_from(["t", "u"]), st.binary(max_size=400)),
        st.builds(Publish, st.just("t"), st.binary(max_size=20), qos=st.just(1), packet_id=st.integers(1, 9)),
    ),
    max_size=30,
)
ends = st.sampled_from([encode(Disconnect(0), Version.MQTT5), MALFORMED, encode(CONNECT, Version.MQTT5)])
cuttings = st.lists(st.integers(1, 3_000), max_size=6)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[LocalEndpoint]:
    with LocalEndpoint({AUTHORIZER: allow_all}, default_authorizer=AUTHORIZER) as endpoint:
        yield endpoint


def _frames(messages: Sequence[bytes]) -> bytes:
    """WebSocket messages with a mask of zeros."""
    sizes = [
        bytes([0x80 | len(each)]) if len(each) < 126 else b"\xfe" + len(each).to_bytes(2, "big") for each in messages
    ]
    return b"".join(b"\x82" + size + bytes(4) + each for size, each in zip(sizes, messages, strict=True))


def _what_happens(
    endpoint: LocalEndpoint, stream: bytes, *, websocket: bool, wanted: int, lengths: Sequence[int]
) -> list[tuple[str, dict[str, Any]]]:
    """Send a stream in TLS records of these lengths, and one of the rest, while so many others want a turn."""
    server = endpoint._needs_running().server
    turns, number, before = server.turns, server._last_number + 1, endpoint.events.last_sequence
    turns.unfinished += wanted
    try:
        with tls_socket(endpoint) if websocket else WireClient(endpoint).socket as client:
            for length in lengths:
                if stream:
                    client.sendall(stream[:length])
                    stream = stream[length:]
            if stream:
                client.sendall(stream)
            while client.recv(65_536):
                pass
        endpoint.wait_for(events.Closed, connection=number, timeout=10)
    finally:
        turns.unfinished -= wanted
    assert turns.unfinished == 0
    return [
        (event.kind, {name: value for name, value in dataclasses.asdict(event).items() if name not in _OF_ONE_RUN})
        for event in endpoint.events.since(before)
    ]


@pytest.mark.parametrize("websocket", [False, True])
def test_the_same_happens_however_bytes_are_cut_and_turns_are_divided(endpoint: LocalEndpoint, websocket: bool) -> None:
    @settings(max_examples=examples(50))
    @given(said=packets, end=ends, lengths=cuttings, wanted=st.sampled_from([1, 20, 1_000, 100_000]))
    def for_any(said: list[Packet], end: bytes, lengths: list[int], wanted: int) -> None:
        messages = [*(encode(packet, Version.MQTT5) for packet in (CONNECT, *said)), end]
        stream = UPGRADE + _frames(messages) if websocket else b"".join(messages)
        whole = _what_happens(endpoint, stream, websocket=websocket, wanted=0, lengths=[])
        cut = _what_happens(endpoint, stream, websocket=websocket, wanted=wanted, lengths=lengths)
        assert cut == whole
        assert sum(kind == "published" for kind, _ in cut) == sum(isinstance(packet, Publish) for packet in said)

    for_any()
