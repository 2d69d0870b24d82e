"""The HTTP door by bytes: whole requests out of any cut, one answer each, and what cannot be read on."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise

import h11
import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from iot_customauth_client.local.codec import Connect, Version, encode
from iot_customauth_client.local.doors import TurnAway
from iot_customauth_client.local.http_door import (
    MAX_BODY_BYTES,
    MAX_REQUEST_HEAD_BYTES,
    Fault,
    HttpDoor,
    HttpRequest,
)
from iot_customauth_client.local.http_head import Reply
from iot_customauth_client.local.websocket_upgrade import grant_headers, refuse_upgrade

HOST = b"Host: localhost\r\n"
POST = b"POST /topics/a?qos=1 HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nX-Token: c2VjcmV0\r\n\r\nhello"
CHUNKED = (
    b"POST /topics/b HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nT: 1\r\n\r\n"
)
GET = b"GET /mqtt HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def pieces_of(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    marks = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(marks)]


def outputs_of(pieces: Iterable[bytes], *, status: int = 200) -> tuple[list[object], bytes]:
    """Feed a door and answer every request at once; what came out of it, and the answers."""
    door, outputs, answers = HttpDoor(), list[object](), b""
    for piece in pieces:
        door.feed(piece)
        while (output := door.next()) is not None:
            outputs.append(output)
            if isinstance(output, HttpRequest | Fault):
                answers += door.answer(status if isinstance(output, HttpRequest) else output.status, [], b"body")
    return outputs, answers


def statuses_of(answers: bytes, methods: Iterable[str]) -> list[int]:
    """What a client of h11 reads from the answers."""
    client = h11.Connection(h11.CLIENT)
    statuses: list[int] = []
    client.receive_data(answers)
    for method in methods:
        client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        while True:
            event = client.next_event()
            if isinstance(event, h11.Response):
                statuses.append(event.status_code)
            if isinstance(event, h11.EndOfMessage):
                break
        if client.their_state is h11.DONE and client.our_state is h11.DONE:
            client.start_next_cycle()
    return statuses


def test_a_request_comes_out_whole() -> None:
    (request,), answer = outputs_of([POST])
    assert isinstance(request, HttpRequest)
    assert (request.method, request.target, request.body) == ("POST", "/topics/a?qos=1", b"hello")
    assert request.values("x-token") == ["c2VjcmV0"]
    assert "c2VjcmV0" not in repr(request)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: keep-alive" in answer


@settings(max_examples=examples(150))
@given(
    st.lists(st.sampled_from([POST, CHUNKED, GET]), min_size=1, max_size=4),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_requests_sent_ahead_are_answered_in_order_however_they_are_cut(sent: list[bytes], cuts: list[int]) -> None:
    data = b"".join(sent)
    whole, answers = outputs_of([data])
    assert outputs_of(pieces_of(data, cuts)) == (whole, answers)
    assert [output.method for output in whole if isinstance(output, HttpRequest)] == [
        each.split(b" ")[0].decode() for each in sent
    ]
    assert [output.body for output in whole if isinstance(output, HttpRequest)] == [
        b"" if each is GET else b"hello" for each in sent
    ]
    assert statuses_of(answers, ["GET"] * len(sent)) == [200] * len(sent)


def test_a_request_waits_for_the_answer_to_the_one_before() -> None:
    door = HttpDoor()
    door.feed(POST)
    assert isinstance(door.next(), HttpRequest)
    door.feed(GET)
    assert door.next() is None
    assert door.waiting_bytes == len(GET)
    assert not door.within_request
    door.answer(200, [], b"")
    request = door.next()
    assert isinstance(request, HttpRequest)
    assert request.method == "GET"


def test_the_door_knows_whether_a_request_has_begun() -> None:
    door = HttpDoor()
    assert not door.within_request
    door.feed(POST[:3])
    assert door.next() is None
    assert door.within_request
    door.feed(POST[3:])
    door.next()
    door.answer(200, [], b"")
    assert not door.within_request
    door.feed(POST + POST[:3])
    door.next()
    door.answer(200, [], b"")
    assert door.within_request


def test_a_client_that_waits_for_100_is_told_to_go_on() -> None:
    door = HttpDoor()
    head = POST[:-5].replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    door.feed(head)
    reply = door.next()
    assert isinstance(reply, Reply)
    assert reply.data.startswith(b"HTTP/1.1 100 ")
    assert door.next() is None
    door.feed(b"hello")
    request = door.next()
    assert isinstance(request, HttpRequest)
    assert request.body == b"hello"


def test_a_body_that_is_too_large_is_refused_before_it_is_sent() -> None:
    head = b"POST /topics/a HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    (output,), answer = outputs_of([head % (MAX_BODY_BYTES + 1)])
    assert isinstance(output, Fault)
    assert (output.status, output.cause) == (413, "payload_too_large")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer


@pytest.mark.parametrize("step", [1_000, 70_000, 10**9])
def test_a_chunked_body_is_bounded_and_the_largest_payload_fits(step: int) -> None:
    def request(size: int) -> list[bytes]:
        data = (
            CHUNKED.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + f"{size:x}\r\n".encode() + bytes(size) + b"\r\n0\r\n\r\n"
        )
        return [data[at : at + step] for at in range(0, len(data), step)]

    (fits,), _ = outputs_of(request(MAX_BODY_BYTES))
    assert isinstance(fits, HttpRequest)
    assert len(fits.body) == MAX_BODY_BYTES
    (refused,), _ = outputs_of(request(MAX_BODY_BYTES + 1))
    assert isinstance(refused, Fault)
    assert refused.status == 413


@pytest.mark.parametrize("step", [7, 1_000, 10**9])
@pytest.mark.parametrize("excess", [-1, 0, 1])
@pytest.mark.parametrize("before", [b"", POST])
def test_a_head_is_bounded_to_the_byte_however_it_is_cut(step: int, excess: int, before: bytes) -> None:
    start, end = b"GET /mqtt HTTP/1.1\r\n" + HOST + b"X: ", b"\r\n\r\n"
    data = before + start + b"x" * (MAX_REQUEST_HEAD_BYTES + excess - len(start) - len(end)) + end
    outputs, answer = outputs_of(data[at : at + step] for at in range(0, len(data), step))
    output = outputs[-1]
    if excess > 0:
        assert isinstance(output, Fault)
        assert b"HTTP/1.1 431 " in answer
    else:
        assert isinstance(output, HttpRequest)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # without Host
        (b"GET /c2VjcmV0\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Token: c2VjcmV0\0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nc2VjcmV0\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        (b"GET  /mqtt\r\n\r\n", 400),
    ],
)
def test_what_is_not_http_1_is_answered_once_and_quoted_nowhere(data: bytes, status: int) -> None:
    outputs, answer = outputs_of([data, POST])
    (fault,) = outputs
    assert isinstance(fault, Fault)
    assert fault.status == status
    assert b" %d " % status in answer.splitlines()[0]
    assert "c2VjcmV0" not in repr(outputs)
    assert outputs_of(bytes([byte]) for byte in data) == (outputs, answer)


@pytest.mark.parametrize(
    ("head", "named"),
    [
        (b"", "without a Host header"),
        (b"Host: x\r\nHost: y\r\n", "more than one Host"),
        (b"Host: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n", "two different Content-Length"),
        (b"Host: x\r\nContent-Length: +5\r\n", "no number of bytes"),
        (
            b"Host: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "both Content-Length and Transfer-Encoding",
        ),
    ],
)
def test_a_common_mistake_in_a_request_is_named(head: bytes, named: str) -> None:
    (fault,), _ = outputs_of([b"POST /topics/a HTTP/1.1\r\n" + head + b"\r\n"])
    assert isinstance(fault, Fault)
    assert named in fault.explanation


def test_an_http_1_0_client_gets_its_answer_and_a_close() -> None:
    (request,), answer = outputs_of([b"POST /topics/a HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi" + POST])
    assert isinstance(request, HttpRequest)
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert b"keep-alive" not in answer.lower()


def test_an_answer_to_head_has_no_body() -> None:
    _, answer = outputs_of([b"HEAD /topics/a HTTP/1.1\r\n" + HOST + b"\r\n" + POST], status=405)
    head, body = answer.split(b"\r\n\r\n", 1)
    assert b"content-length: 4" in head
    assert body.startswith(b"HTTP/1.1 405 ")  # the next answer


def test_after_an_upgrade_the_rest_is_the_other_protocols() -> None:
    door = HttpDoor()
    door.feed(GET + b"\x82\x00")
    assert isinstance(door.next(), HttpRequest)
    door.feed(b"more")
    assert door.switch([("upgrade", "websocket")]).startswith(b"HTTP/1.1 101 ")
    assert door.rest == b"\x82\x00more"
    assert door.over
    assert door.next() is None


UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"Connection: Upgrade", b"Connection: close, Upgrade"),
        (b"Connection: Upgrade", b"Connection: Upgrade\r\nExpect: 100-continue"),
        (b"Connection: Upgrade", b"Connection: Upgrade\r\nTransfer-Encoding: chunked"),
        (b"Upgrade: websocket", b"Upgrade: h2c, websocket"),
    ],
)
def test_whatever_upgrade_is_not_refused_can_be_granted(old: bytes, new: bytes) -> None:
    door = HttpDoor()
    door.feed(UPGRADE.replace(old, new) + (b"0\r\n\r\n" if b"chunked" in new else b""))
    outputs = list(iter(door.next, None))
    request = outputs[-1]
    assert isinstance(request, HttpRequest)
    assert (refuse_upgrade(request) is None) == (new != b"HTTP/1.0")  # RFC 9110 section 7.8
    if refuse_upgrade(request) is None:
        assert door.switch(grant_headers(request, "id")).startswith(b"HTTP/1.1 101 ")
    else:
        assert door.answer(426, [], b"").startswith(b"HTTP/1.1 426 ")


def test_a_refused_upgrade_leaves_the_connection_as_it_was() -> None:
    outputs, answers = outputs_of([GET, POST], status=403)
    assert len(outputs) == 2
    assert statuses_of(answers, ["GET", "GET"]) == [403, 403]


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (encode(Connect(Version.MQTT5, "c", username="user"), Version.MQTT5), "mqtt_without_alpn"),
        (encode(Connect(Version.MQTT311, "c", username="user"), Version.MQTT311), "mqtt_without_alpn"),
        (b"hello", "not_http"),
        (b"\x16\x03\x01", "not_http"),
    ],
)
def test_what_is_not_http_at_all_gets_an_explanation_and_no_answer(data: bytes, cause: str) -> None:
    outputs, answer = outputs_of([data])
    (turned,) = outputs
    assert isinstance(turned, TurnAway)
    assert (turned.cause, turned.alert, answer) == (cause, None, b"")
    assert "offer ALPN `mqtt`" in turned.explanation
    assert outputs_of(bytes([byte]) for byte in data) == (outputs, answer)


@settings(max_examples=examples(400))
@given(
    st.sampled_from([POST, CHUNKED, GET, POST + CHUNKED]),
    st.integers(0, 2**32),
    st.lists(st.integers(0, 10_000), max_size=4),
)
def test_no_bytes_make_the_door_raise_or_depend_on_their_cut(data: bytes, seed: int, cuts: list[int]) -> None:
    chance = random.Random(seed)
    mutated = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(mutated))
        match chance.randrange(3):
            case 0:
                mutated[at] = chance.randrange(256)
            case 1:
                mutated[at:at] = chance.randbytes(chance.randint(1, 20))
            case _:
                del mutated[at : at + chance.randint(1, 10)]
                mutated += b"x"
    whole, _ = outputs_of([bytes(mutated)])
    again, _ = outputs_of(pieces_of(bytes(mutated), cuts))
    assert again == whole
