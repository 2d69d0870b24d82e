"""No connection keeps the others waiting: what it has sent beyond its share waits, in order, and nothing is lost."""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from authorizer_functions import allow_all
from http_clients import tls_socket
from hypothesis import given
from hypothesis import strategies as st
from mqtt_wire import AUTHORIZER, WireClient

from iot_customauth_client.local import LocalEndpoint, events, http_door
from iot_customauth_client.local.codec import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    Publish,
    Version,
    encode,
)
from iot_customauth_client.local.mqtt_talk import MAX_HELD_BYTES
from iot_customauth_client.local.reading import Pause
from iot_customauth_client.local.turns import MIN_PIECE_BYTES, RESERVE_SECONDS, TURN_SECONDS, Backlog, Turns

MakeEndpoint = Callable[..., LocalEndpoint]
Waiting = tuple[LocalEndpoint, threading.Event, threading.Event]

FLOODERS = 20
FLOOD = encode(Publish("flood", b""), Version.MQTT5) * 1_400
"""Within one TLS record, so that it is read at once: some 30 ms of work."""


@pytest.fixture
def endpoint(make_endpoint: MakeEndpoint) -> LocalEndpoint:
    """One that lets everybody do everything."""
    return make_endpoint({AUTHORIZER: allow_all}, default_authorizer=AUTHORIZER)


class Standstill:
    """While it lasts the endpoint's loop does nothing, and what clients send piles up in their sockets."""

    def __init__(self, endpoint: LocalEndpoint) -> None:
        self._loop = endpoint._needs_running().server.loop
        self._begun, self._over = threading.Event(), threading.Event()

    def __enter__(self) -> None:
        self._loop.call_soon_threadsafe(self._stand)
        assert self._begun.wait(10)

    def _stand(self) -> None:
        self._begun.set()
        self._over.wait(30)

    def __exit__(self, *_: object) -> None:
        self._over.set()


@pytest.fixture
def one_that_divides(endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch) -> LocalEndpoint:
    """An endpoint that always behaves as if a thousand others wanted a turn."""
    monkeypatch.setattr(endpoint._needs_running().server.turns, "unfinished", 1_000)
    return endpoint


def test_a_client_does_not_wait_for_all_that_those_before_it_have_sent(endpoint: LocalEndpoint) -> None:
    flooders = [WireClient(endpoint).connected(client_id=f"flooder-{number}") for number in range(FLOODERS)]
    with WireClient(endpoint) as client:
        client.connected(client_id="client")
        with Standstill(endpoint):
            for flooder in flooders:
                flooder.send_bytes(FLOOD)
            client.send(Publish("mine", b""))
        mine = endpoint.wait_for(events.Published, topic="mine", timeout=30)
        before = sum(event.sequence < mine.sequence for event in endpoint.events.of_kind(events.Published))
        assert before < FLOODERS * 1_400 / 2
    for flooder in flooders:
        flooder.send(PingReq())
        assert isinstance(flooder.receive(), PingResp)
        flooder.close()
    assert sum(event.topic == "flood" for event in endpoint.events.of_kind(events.Published)) == FLOODERS * 1_400
    assert endpoint._needs_running().server.turns.unfinished == 0


def test_what_waits_for_its_turn_keeps_its_order(one_that_divides: LocalEndpoint) -> None:
    packets = [Publish("t", b"%d" % number + bytes(number % 300)) for number in range(500)]
    with WireClient(one_that_divides) as client:
        client.connected()
        client.send(*packets, PingReq())
        assert isinstance(client.receive(), PingResp)
    assert [event.payload for event in one_that_divides.events.of_kind(events.Published)] == [
        packet.payload for packet in packets
    ]


def test_all_that_came_before_a_clients_end_is_taken(one_that_divides: LocalEndpoint) -> None:
    with WireClient(one_that_divides) as client:
        client.connected()
        client.send(*[Publish("t", b"")] * 1_000, Disconnect(0))
        assert client.receive() is None
    ended = one_that_divides.wait_for(events.Disconnected, timeout=10)
    assert ended.reason == "CLIENT_INITIATED_DISCONNECT"
    assert len(one_that_divides.events.of_kind(events.Published)) == 1_000


def test_a_close_of_tls_counts_after_all_that_came_before_it(one_that_divides: LocalEndpoint) -> None:
    client = WireClient(one_that_divides).connected()
    with Standstill(one_that_divides):
        client.send(*[Publish("t", b"")] * 1_000)
        client.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.socket.unwrap()  # its close_notify is sent, the answer does not come
    ended = one_that_divides.wait_for(events.Disconnected, timeout=10)
    assert ended.reason == "CONNECTION_LOST"
    assert len(one_that_divides.events.of_kind(events.Published)) == 1_000
    client.close()


def test_a_client_is_not_silent_while_what_it_sent_waits_for_its_turn(endpoint: LocalEndpoint) -> None:
    with WireClient(endpoint) as client:
        client.connected()
        running = endpoint._needs_running()
        server = running.server

        def a_long_time_passes() -> None:
            (connection,) = server._connections.values()
            (live,) = server.broker._connections
            connection.do_first(lambda _: None, b"")
            live.last_heard -= 100_000
            assert server._timer is not None
            server._timer.cancel()
            server._expire()

        running.call(a_long_time_passes)
        client.send(PingReq())
        assert isinstance(client.receive(), PingResp)


def test_nothing_is_taken_from_a_connection_that_plays_dead_while_something_waits(
    one_that_divides: LocalEndpoint,
) -> None:
    endpoint = one_that_divides
    with WireClient(endpoint) as client:
        client.connected()
        running = endpoint._needs_running()
        (connection,) = running.server._connections.values()
        taken: list[bytes] = []

        def falls_silent(data: bytes) -> None:
            taken.append(data)
            connection.fall_silent()
            connection.do_first(taken.append, b"late")

        running.call(lambda: connection.do_first(falls_silent, b"first" + bytes(1_000)))
        while running.server.turns.unfinished > 1_000:
            pass
        assert len(taken) == 1
        assert taken[0].startswith(b"first")
        assert not connection.has_backlog


def test_a_broken_tls_record_counts_after_all_that_came_before_it(endpoint: LocalEndpoint) -> None:
    with WireClient(endpoint) as client:
        client.connected()
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # so that both are there at once
        with Standstill(endpoint):
            client.send(Publish("t", b""), Publish("t", b"", qos=1, packet_id=1))
            os.write(client.socket.fileno(), b"\x17\x03\x03\0\x20" + bytes(32))
        ended = endpoint.wait_for(events.Disconnected, timeout=10)
    assert ended.reason == "CONNECTION_LOST"
    assert len(endpoint.events.of_kind(events.Published)) == 2


def test_a_broken_tls_record_counts_after_the_requests_before_it(endpoint: LocalEndpoint) -> None:
    with tls_socket(endpoint) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with Standstill(endpoint):  # which may begin before the endpoint has the end of the handshake
            client.sendall(b"GET /no HTTP/1.1\r\nHost: localhost\r\n\r\n")
            os.write(client.fileno(), b"\x17\x03\x03\0\x20" + bytes(32))
        endpoint.wait_for(events.Closed, timeout=10)
    assert [event.status for event in endpoint.events.of_kind(events.HttpAnswered)] == [404]


def test_a_reset_is_noticed_while_something_waits_for_its_turn(endpoint: LocalEndpoint) -> None:
    client = WireClient(endpoint).connected()
    turns = endpoint._needs_running().server.turns
    others = [WireClient(endpoint).connected(client_id=f"other-{number}") for number in range(3)]
    with Standstill(endpoint):
        for each in (client, *others):
            each.send_bytes(FLOOD)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    endpoint.wait_for("closed", connection=1, timeout=10)
    for other in others:
        other.send(PingReq())
        assert isinstance(other.receive(), PingResp)
        other.close()
    assert turns.unfinished == 0


@pytest.fixture
def asked_and_waiting(make_endpoint: MakeEndpoint) -> Waiting:
    """An endpoint whose authorizer answers when the test wants it to: what it is asked by, and what lets it answer."""
    asked, may_answer = threading.Event(), threading.Event()

    def waiting(event: dict[str, Any], context: object) -> dict[str, Any]:
        asked.set()
        may_answer.wait(4)
        return allow_all(event, context)

    return make_endpoint({AUTHORIZER: waiting}, default_authorizer=AUTHORIZER), asked, may_answer


@contextlib.contextmanager
def noted_turns(endpoint: LocalEndpoint) -> Iterator[list[int]]:
    """How many connections had a backlog, each time that the loop asked for more."""
    turns = endpoint._needs_running().server.turns
    select, unfinished = turns.select, list[int]()

    def noted(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        unfinished.append(turns.unfinished)
        return select(timeout)

    turns.select = noted  # type: ignore[method-assign]
    yield unfinished
    turns.select = select  # type: ignore[method-assign]


def _wait_until_it_reads_no_more(endpoint: LocalEndpoint) -> None:
    running = endpoint._needs_running()
    (connection,) = running.server._connections.values()
    while Pause.AHEAD not in running.call(lambda: connection._tcp.reading._pauses):
        pass


def test_what_a_client_sent_ahead_of_its_connack_waits_for_turns_too(asked_and_waiting: Waiting) -> None:
    endpoint, asked, may_answer = asked_and_waiting
    count = MAX_HELD_BYTES // 2 + 1_000
    with WireClient(endpoint) as client:
        client.send(Connect(Version.MQTT5, "early", True, 60, None, b"pass01"))
        assert asked.wait(10)
        client.send_bytes(b"\xc0\x00" * count)
        _wait_until_it_reads_no_more(endpoint)
        with noted_turns(endpoint) as unfinished:
            may_answer.set()
            assert isinstance(client.receive(), ConnAck)
            for _ in range(count):
                assert isinstance(client.receive(), PingResp)
    assert sum(unfinished) > 2, "all of it was dealt with in one turn"


def _send_ahead(endpoint: LocalEndpoint, client: socket.socket, asked: threading.Event, ahead: bytes) -> None:
    """Have the authorizer asked by a publish, and send so much behind it that the endpoint reads no more."""
    client.sendall(b"POST /topics/t?qos=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
    assert asked.wait(10)
    client.sendall(ahead)
    _wait_until_it_reads_no_more(endpoint)


def test_after_many_requests_sent_ahead_of_an_answer_the_connection_is_read_again(
    asked_and_waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, asked, may_answer = asked_and_waiting
    monkeypatch.setattr(endpoint._needs_running().server.turns, "unfinished", 1_000)
    monkeypatch.setattr(http_door, "_SLICE_BYTES", 512)  # so that too much still waits after the first requests
    request = b"GET /no HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2_000 + b"\r\n\r\n"
    count = MAX_HELD_BYTES // len(request) + 20
    with tls_socket(endpoint) as client:
        _send_ahead(endpoint, client, asked, request * count)
        may_answer.set()
        with client.makefile("rb") as answers:
            _read_answers(answers, 1 + count)
            client.sendall(request)
            _read_answers(answers, 1)


def test_what_follows_an_upgrade_waits_for_turns_too(asked_and_waiting: Waiting) -> None:
    endpoint, asked, may_answer = asked_and_waiting
    upgrade = (
        b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
    connect = encode(Connect(Version.MQTT5, "early", True, 60, None, b"pass01"), Version.MQTT5)
    count = MAX_HELD_BYTES // 8 + 1_000
    pings = b"\x82\x82\0\0\0\0\xc0\0" * count
    with tls_socket(endpoint) as client:
        with noted_turns(endpoint) as unfinished:
            ahead = upgrade + b"\x82" + bytes([0x80 | len(connect)]) + bytes(4) + connect + pings
            _send_ahead(endpoint, client, asked, ahead)
            may_answer.set()
            endpoint.wait_for(events.Connected, timeout=10)
            answers = b""
            while answers.count(b"\xd0\0") < count:
                answers += client.recv(65_536)
        assert sum(unfinished) > 2, "all of it was dealt with in one turn"


def _read_answers(answers: Any, count: int) -> None:
    for _ in range(count):
        assert answers.readline().startswith(b"HTTP/1.1")
        length = 0
        while (line := answers.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        answers.read(length)


# -- the share --------------------------------------------------------------------------------------------------------


def _turns(wanted: int) -> Turns:
    turns = Turns()
    turns.unfinished = wanted
    turns.select(0)
    return turns


def test_who_is_alone_has_the_whole_turn() -> None:
    assert _turns(0).share_seconds == _turns(1).share_seconds == TURN_SECONDS


def test_the_turn_is_divided_among_all_who_want_one() -> None:
    turns = _turns(200)
    assert turns.share_seconds == TURN_SECONDS / 200
    assert turns.piece_bytes < 200
    assert _turns(100_000).piece_bytes == MIN_PIECE_BYTES


@given(
    pieces=st.lists(st.binary(max_size=2_000), max_size=6),
    first=st.binary(max_size=500),
    wanted=st.integers(1, 1_000),
    cost=st.floats(0, 0.01),
)
def test_bytes_are_handed_on_whole_and_in_order(pieces: list[bytes], first: bytes, wanted: int, cost: float) -> None:
    turns = _turns(wanted)
    backlog = Backlog(turns)
    clock = itertools.count()
    taken: list[bytes] = []
    for piece in pieces:
        backlog.put(taken.append, piece)
    backlog.put_first(taken.append, first)
    while backlog:
        before, room = len(taken), turns.share_seconds + turns.reserve_seconds
        backlog.work(lambda: next(clock) * cost)
        assert len(taken) > before
        in_one_turn = (len(taken) - before - 1) * cost
        assert in_one_turn <= room + 1e-9
    assert b"".join(taken) == first + b"".join(pieces)


def test_a_burst_comes_out_of_a_reserve_that_all_have_together() -> None:
    turns = _turns(200)
    clock = itertools.count()
    taken: list[int] = []
    for _ in range(5):
        backlog, pieces = Backlog(turns), list[bytes]()
        for _ in range(1_000):
            backlog.put(pieces.append, b"x")
        backlog.work(lambda: next(clock) * 0.001)
        taken.append(len(pieces))
    assert taken[0] > RESERVE_SECONDS / 0.001
    assert taken[1:] == [1, 1, 1, 1]


def test_large_payloads_do_not_pay_for_small_packets() -> None:
    backlog, taken = Backlog(_turns(200)), []
    backlog.put(taken.append, bytes(16_384))
    backlog.work(lambda: 0.0)
    assert len(taken) < 10
