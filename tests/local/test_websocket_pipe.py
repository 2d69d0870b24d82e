"""WebSocket by bytes: the upgrade's request, and MQTT in frames of any cut; the other end is wsproto's client."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise

import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from iot_customauth_client.local.http_door import HttpRequest
from iot_customauth_client.local.pipes import PipeEnd, PlainPipe
from iot_customauth_client.local.websocket_pipe import WebSocketPipe
from iot_customauth_client.local.websocket_upgrade import grant_headers, refuse_upgrade

UPGRADE = {
    "host": "localhost",
    "connection": "keep-alive, Upgrade",
    "upgrade": "WebSocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-protocol": "other, mqtt",
}


def upgrade(**changes: str | None) -> HttpRequest:
    headers = UPGRADE | {name.replace("_", "-"): value for name, value in changes.items()}
    return HttpRequest(
        "GET", "/mqtt", tuple((name, value) for name, value in headers.items() if value is not None), b""
    )


def test_an_upgrade_is_granted_with_the_documented_headers() -> None:
    assert refuse_upgrade(upgrade()) is None
    assert grant_headers(upgrade(), "id") == [
        ("content-length", "0"),
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),  # the example of RFC 6455
        ("sec-websocket-protocol", "mqtt"),
        ("x-amzn-RequestId", "id"),
    ]


@pytest.mark.parametrize(
    ("changes", "status", "cause"),
    [
        ({"upgrade": None}, 426, "not_an_upgrade"),
        ({"upgrade": "h2c"}, 426, "not_an_upgrade"),
        ({"connection": "keep-alive"}, 426, "not_an_upgrade"),
        ({"sec_websocket_version": None}, 426, "websocket_version"),
        ({"sec_websocket_version": "8"}, 426, "websocket_version"),
        ({"sec_websocket_key": None}, 400, "websocket_key"),
        ({"sec_websocket_key": "c2hvcnQ="}, 400, "websocket_key"),
        ({"sec_websocket_key": "é"}, 400, "websocket_key"),
        ({"sec_websocket_protocol": None}, 400, "websocket_subprotocol"),
        ({"sec_websocket_protocol": "mqttv3.1"}, 400, "websocket_subprotocol"),
    ],
)
def test_a_wrong_upgrade_is_refused_with_the_reason(changes: dict[str, str | None], status: int, cause: str) -> None:
    refusal = refuse_upgrade(upgrade(**changes))
    assert refusal is not None
    assert (refusal.answer.status, refusal.cause) == (status, cause)
    assert refusal.answer.message == refusal.explanation
    assert (dict(refusal.answer.headers).get("access-control-allow-origin") == "*") == (status == 400)


def client() -> Connection:
    return Connection(ConnectionType.CLIENT)


def read_by(peer: Connection, data: bytes) -> list[Event]:
    peer.receive_data(data)
    return list(peer.events())


@settings(max_examples=examples(150))
@given(
    st.lists(st.tuples(st.binary(max_size=300), st.booleans()), min_size=1, max_size=6),
    st.lists(st.integers(0, 10_000), max_size=10),
)
def test_mqtt_comes_out_in_order_however_messages_are_fragmented_and_cut(
    parts: list[tuple[bytes, bool]], cuts: list[int]
) -> None:
    peer, sent = client(), b""
    for number, (data, finished) in enumerate(parts):
        sent += peer.send(BytesMessage(data, message_finished=finished or number == len(parts) - 1))
        sent += peer.send(Ping(b"p"))  # control frames may stand between the frames of a message
    pipe, payload, answers = WebSocketPipe(), b"", b""
    marks = [0, *sorted(cut % (len(sent) + 1) for cut in cuts), len(sent)]
    for start, end in pairwise(marks):
        piped = pipe.receive(sent[start:end])
        assert piped.end is None
        payload += piped.payload
        answers += piped.to_write
    assert payload == b"".join(data for data, _ in parts)
    assert read_by(peer, answers) == [Pong(b"p")] * len(parts)


@given(st.lists(st.binary(min_size=1, max_size=70_000), min_size=1, max_size=4))
def test_each_packet_is_a_message_of_its_own(packets: list[bytes]) -> None:
    peer = client()
    messages: list[bytes] = []
    current = b""
    for event in read_by(peer, WebSocketPipe().send(packets)):
        assert isinstance(event, BytesMessage)
        current += event.data
        if event.message_finished:
            messages.append(current)
            current = b""
    assert messages == packets


def test_a_close_is_answered_and_ends_the_pipe() -> None:
    peer, pipe = client(), WebSocketPipe()
    piped = pipe.receive(peer.send(BytesMessage(b"last")) + peer.send(CloseConnection(1000, "bye")))
    assert (piped.payload, piped.end) == (b"last", PipeEnd(None))
    assert read_by(peer, piped.to_write) == [CloseConnection(1000, "bye")]
    assert pipe.send([b"late"]) == b""
    assert pipe.close() == b""
    assert pipe.receive(b"\x82\x80").payload == b""


def test_our_close_has_the_normal_code_and_comes_once() -> None:
    peer, pipe = client(), WebSocketPipe()
    assert read_by(peer, pipe.close()) == [CloseConnection(1000, "")]
    assert pipe.close() == b""


@pytest.mark.parametrize(
    ("frames", "code", "words"),
    [
        (client().send(TextMessage("c2VjcmV0")), 1003, "text frame"),
        (Connection(ConnectionType.SERVER).send(BytesMessage(b"x")), 1002, "unmasked"),
        (b"\xc2\x80\0\0\0\0", 1002, "Reserved bit"),  # compressed, which was not agreed on
        (b"\x83\x80\0\0\0\0", 1002, "opcode"),
        (b"\x80\x80\0\0\0\0", 1002, "CONTINUATION"),
        (b"\x09\x80\0\0\0\0", 1002, "fragment control"),
        (b"\x89\xfe\0\x7e", 1002, "Control frame"),
        (b"\x82\xff" + b"\xff" * 8, 1002, "MSB"),
        (b"\x88\x81\0\0\0\0\0", 1002, "CLOSE"),
        (b"\x81\x81\0\0\0\0\xff", 1007, "text frame"),  # no UTF-8, as MQTT seldom is
        (b"\x88\x83\0\0\0\0\x03\xe8\xff", 1007, "RFC 6455"),  # the text of a Close
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # frames are masked at random
)
def test_a_violation_is_named_and_closed_with_its_code(frames: bytes, code: int, words: str) -> None:
    peer, pipe = client(), WebSocketPipe()
    piped = pipe.receive(client().send(BytesMessage(b"before")) + frames)
    assert piped.payload == b"before"
    assert piped.end is not None
    assert piped.end.violation is not None
    assert words in piped.end.violation
    assert "c2VjcmV0" not in piped.end.violation
    events = read_by(peer, pipe.send([b"DISCONNECT"]) + pipe.close())  # MQTT's last word can still be said
    assert events == [BytesMessage(b"DISCONNECT"), CloseConnection(code, "")]


def test_a_huge_message_is_handed_on_and_not_kept() -> None:
    pipe = WebSocketPipe()
    head = b"\x82\xff" + (2**62).to_bytes(8, "big") + bytes(4)  # a length that nobody could hold
    total = 0
    for piece in (head, *[bytes(50_000)] * 20):
        piped = pipe.receive(piece)
        assert piped.end is None
        total += len(piped.payload)
    assert total == 1_000_000


@settings(max_examples=examples(400))
@given(st.integers(0, 2**32))
def test_no_bytes_make_the_pipe_raise(seed: int) -> None:
    chance = random.Random(seed)
    peer = client()
    data = bytearray(
        b"".join(peer.send(event) for event in (BytesMessage(b"abc"), Ping(b"x"), BytesMessage(bytes(200))))
    )
    for _ in range(chance.randint(1, 5)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    pipe = WebSocketPipe()
    for piece in _cut(bytes(data), chance):
        pipe.receive(piece)
    pipe.send([b"x"])
    pipe.close()


def _cut(data: bytes, chance: random.Random) -> Iterable[bytes]:
    at = 0
    while at < len(data):
        step = chance.randint(1, 60)
        yield data[at : at + step]
        at += step


def test_the_plain_pipe_changes_nothing() -> None:
    pipe = PlainPipe()
    assert pipe.receive(b"abc").payload == b"abc"
    assert pipe.send([b"a", b"b"]) == b"ab"
    assert pipe.close() == b""
