"""Peers that mean harm, against a real endpoint: whatever they do ends, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import resource
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from authorizer_functions import HeldBack, allow_all
from http_clients import HttpClient, WebSocketClient, tls_socket
from mqtt_wire import AUTHORIZER, USERNAME, WireClient, serves_a_good_client
from tls_clients import MemoryClient, client_context, client_hello
from waiting import eventually

from iot_customauth_client import ConfigurationError
from iot_customauth_client.authorizer.event import build_event
from iot_customauth_client.local import LocalEndpoint, admission, events, tcp_stream, time_limits
from iot_customauth_client.local.authorizer_calls import Answer, AuthorizerCalls
from iot_customauth_client.local.authorizer_files import CallableSource
from iot_customauth_client.local.client_connection import ClientConnection
from iot_customauth_client.local.codec import (
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    Version,
    encode,
)
from iot_customauth_client.local.lambda_context import LambdaContext
from iot_customauth_client.local.peers_unread import Unread

MakeEndpoint = Callable[..., LocalEndpoint]
Dial = Callable[[LocalEndpoint], socket.socket]

_CONNECT = encode(Connect(Version.MQTT5, "slow", True, 60, USERNAME, b"pass01"), Version.MQTT5)
_POST = b"POST /topics/a HTTP/1.1\r\nHost: localhost\r\n"
_UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "
    b"dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


@pytest.fixture
def endpoint(make_endpoint: MakeEndpoint) -> LocalEndpoint:
    """One that lets everybody do everything."""
    return make_endpoint({AUTHORIZER: allow_all}, default_authorizer=AUTHORIZER)


def plain(endpoint: LocalEndpoint) -> socket.socket:
    return socket.create_connection((endpoint.host, endpoint.port), timeout=10)


def mqtt(endpoint: LocalEndpoint) -> socket.socket:
    return WireClient(endpoint).socket


def websocket(endpoint: LocalEndpoint) -> socket.socket:
    line = tls_socket(endpoint)
    line.sendall(_UPGRADE)
    assert b"101" in line.recv(4096)
    return line


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HANDSHAKE_SECONDS", "CONNECT_SECONDS"):
        monkeypatch.setattr(time_limits, name, 0.6)


SLOW: dict[str, tuple[Dial, bytes]] = {
    "client_hello": (plain, client_hello()),
    "plain_http_head": (plain, b"CONNECT localhost:443 HTTP/1.1\r\n" + b"a: b\r\n" * 100),
    "connect": (mqtt, _CONNECT),
    "http_head": (tls_socket, _POST + b"a: b\r\n" * 100),
    "http_body": (tls_socket, _POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 999),
    "http_chunks": (tls_socket, _POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 200),
    "http_trailers": (tls_socket, _POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"t: r\r\n" * 200),
    "websocket_empty_frames": (websocket, b"\x82\x80abcd" * 200),
    "websocket_pings": (websocket, b"\x89\x80abcd" * 200),
    "websocket_fragments": (websocket, b"\x02\x81abcd\x71" + b"\x00\x80abcd" * 200),
}


@pytest.mark.parametrize("way", SLOW)
@pytest.mark.usefixtures("short_limits")
def test_a_byte_now_and_then_gains_no_time(endpoint: LocalEndpoint, way: str) -> None:
    dial, data = SLOW[way]
    slow = dial(endpoint)
    sent = 0
    turned: events.Event | None = None
    while turned is None:
        assert sent < len(data), "it was never turned away"
        try:
            slow.send(data[sent : sent + 1])
        except OSError:
            turned = endpoint.wait_for(events.TurnedAway, timeout=5)
        sent += 1
        try:
            turned = endpoint.wait_for(events.TurnedAway, timeout=0.02)
        except TimeoutError:
            continue
    slow.close()
    assert isinstance(turned, events.TurnedAway)
    assert turned.cause == "too_slow", turned


def test_the_keep_alive_ends_half_a_packet_that_never_ends(
    endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "clamp_keep_alive", lambda seconds: 1)
    with WireClient(endpoint) as client:
        client.connected()
        packet = encode(Publish("a", bytes(1_000)), Version.MQTT5)
        ended: events.Event | None = None
        for byte in packet[:-1]:
            client.socket.send(bytes((byte,)))
            try:
                ended = endpoint.wait_for("disconnected", timeout=0.05)
                break
            except TimeoutError:
                continue
    assert isinstance(ended, events.Disconnected)
    assert ended.reason == "MQTT_KEEP_ALIVE_TIMEOUT"


# -- turns ------------------------------------------------------------------------------------------------------------


def test_of_one_connection_no_more_is_read_in_a_turn_than_a_tls_record_holds(
    endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    receive = ClientConnection.received

    def noted(connection: ClientConnection, data: bytes) -> None:
        sizes.append(len(data))
        receive(connection, data)

    monkeypatch.setattr(ClientConnection, "received", noted)
    with WireClient(endpoint) as client:
        client.connected()
        client.send(*[Publish("a", bytes(100_000)) for _ in range(20)], PingReq())
        assert isinstance(client.receive(), PingResp)
    assert max(sizes) <= tcp_stream.READ_BYTES


def test_a_client_is_served_while_another_floods(endpoint: LocalEndpoint) -> None:
    stopping = threading.Event()
    with WireClient(endpoint) as flooder, WireClient(endpoint) as client:
        flooder.connected(client_id="flooder")
        client.connected(client_id="client")

        def flood() -> None:
            while not stopping.is_set():
                flooder.socket.sendall(b"\xc0\x00" * 20_000)

        def read() -> None:
            while flooder.socket.recv(65536):
                pass

        threads = [threading.Thread(target=_quietly, args=(each,)) for each in (flood, read)]
        for thread in threads:
            thread.start()
        try:
            client.send(Subscribe(1, (SubscribeRequest("a", 0),)))
            assert isinstance(client.receive(), SubAck)
            for number in range(5):
                client.send(Publish("a", b"%d" % number))
                message = client.receive()
                assert isinstance(message, Publish)
                assert message.payload == b"%d" % number
            assert not endpoint.events.of_kind(events.Disconnected)
        finally:
            stopping.set()
            flooder.socket.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


def _quietly(function: Callable[[], None]) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        function()


def test_when_too_much_waits_for_all_readers_together_the_slowest_is_ended(
    endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = endpoint._needs_running().server
    monkeypatch.setattr(server, "unread", Unread(server._unsent_bytes_of, max_bytes=4_000_000))
    slow = [WireClient(endpoint).connected(client_id=f"slow-{number}") for number in range(2)]
    for each in slow:
        each.send(Subscribe(1, (SubscribeRequest("a", 0),)))
        assert isinstance(each.receive(), SubAck)
    with WireClient(endpoint) as publisher:
        publisher.connected(client_id="publisher")
        ended: events.Event | None = None
        for _ in range(2_000):
            publisher.send(Publish("a", bytes(100_000), 1, packet_id=1))
            assert isinstance(publisher.receive(), PubAck)
            if any(endpoint.events.of_kind("disconnected")):
                ended = endpoint.wait_for("disconnected", timeout=1)
                break
        assert isinstance(ended, events.Disconnected)
        assert ended.client_id.startswith("slow-")
        assert "clients that do not read, and most of them for this one" in caplog.text
        publisher.send(PingReq())
        assert isinstance(publisher.receive(), PingResp)
    for each in slow:
        each.close()


def test_who_has_ended_its_side_and_does_not_read_is_waited_for_no_longer_than_others(
    endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limits, "LINGER_SECONDS", 0.1)
    with WireClient(endpoint) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connected()
        client.send(Subscribe(1, (SubscribeRequest("a", 0),)))
        assert isinstance(client.receive(), SubAck)
        for _ in range(100):  # more than the system holds for one socket
            endpoint.publish("a", bytes(100_000))
        socket.socket.shutdown(client.socket, socket.SHUT_WR)
        running = endpoint._needs_running()
        (connection,) = running.server._connections.values()
        assert eventually(lambda: running.call(lambda: connection._tcp.is_closing))
        assert not endpoint.events.of_kind(events.Closed)
        endpoint.disconnect("client_id")
        endpoint.wait_for(events.Closed, timeout=10)


def test_a_peer_that_asks_much_and_resets_leaves_no_line_in_the_log(
    endpoint: LocalEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            line = tls_socket(endpoint)
            line.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n" * 200)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            line.close()
        for number in range(1, 11):
            endpoint.wait_for("closed", connection=number, timeout=10)
    assert not caplog.records


# -- how many ---------------------------------------------------------------------------------------------------------


def test_an_address_has_so_many_connections_and_the_next_one_is_turned_away(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint({AUTHORIZER: allow_all}, default_authorizer=AUTHORIZER, max_connections_per_address=2)
    with WireClient(endpoint) as first, WireClient(endpoint) as second:
        first.connected(client_id="first")
        second.connected(client_id="second")
        with plain(endpoint) as third:
            turned = endpoint.wait_for(events.TurnedAway, cause="too_many_connections", timeout=5)
            assert turned.connection == 3
            assert "127.0.0.1" in turned.explanation
            assert _is_over(third)
        first.send(PingReq())
        assert isinstance(first.receive(), PingResp)
    for number in (1, 2, 3):
        endpoint.wait_for("closed", connection=number, timeout=5)
    with WireClient(endpoint) as again:
        again.connected()


def test_connections_that_say_nothing_cost_none_of_those_that_wait_for_their_authorizer(
    make_endpoint: MakeEndpoint,
) -> None:
    slow = HeldBack()
    endpoint = make_endpoint({AUTHORIZER: slow}, default_authorizer=AUTHORIZER, max_half_open_per_address=3)
    with WireClient(endpoint) as client:
        client.send(Connect(Version.MQTT5, "patient", True, 60, "u", b"p"))
        endpoint.wait_for("authorizer_called", timeout=5)
        silent = [plain(endpoint) for _ in range(10)]
        turned = [
            endpoint.wait_for(events.TurnedAway, cause="too_many_half_open", connection=number, timeout=5)
            for number in range(2, 10)
        ]
        assert len(turned) == 8
        slow.release.set()
        client.receive()
        endpoint.wait_for("connected", client_id="patient", timeout=5)
        for each in silent:
            each.close()


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_who_is_closed_to_make_room_while_its_authorizer_runs_has_not_left_by_itself(
    make_endpoint: MakeEndpoint, protocol: str
) -> None:
    slow = HeldBack()
    endpoint = make_endpoint({AUTHORIZER: slow}, default_authorizer=AUTHORIZER)
    server = endpoint._needs_running().server
    server.peers.limits = replace(server.peers.limits, half_open=2)
    dial = mqtt if protocol == "mqtt" else tls_socket
    with dial(endpoint) as first, dial(endpoint) as second:
        for number, client in enumerate((first, second), 1):
            client.sendall(_CONNECT if protocol == "mqtt" else _POST + b"Content-Length: 0\r\n\r\n")
            endpoint.wait_for("authorizer_called", connection=number, timeout=5)
        with socket.create_connection((endpoint.host, endpoint.port), 10, ("127.0.0.2", 0)):  # has fewer than they
            endpoint.wait_for("closed", connection=2, timeout=5)
        slow.release.set()
        endpoint.wait_for("authorizer_answered", connection=2, timeout=5)
        serves_a_good_client(endpoint)  # what the answer leads to is in the log by now
    (turned,) = [each for each in endpoint.events.of_kind(events.TurnedAway) if each.connection == 2]
    assert turned.cause == "too_many_half_open"
    assert "all of those from 127.0.0.1 wait for their authorizer" in turned.explanation
    refused = [each for each in endpoint.events.of_kind(events.Refused) if each.connection == 2]
    assert [each.cause for each in refused] == ["too_many_half_open"] * (protocol == "mqtt")
    for each in refused:
        assert "the endpoint closed the connection while the authorizer ran" in each.explanation


@pytest.mark.parametrize("pings", [0, 7_000], ids=["alone", "behind-more-than-a-turn"])
def test_a_disconnect_just_before_a_broken_record_counts(endpoint: LocalEndpoint, pings: int) -> None:
    client = MemoryClient(client_context(ca=str(endpoint.ca_file), alpn=("mqtt",)), "localhost")
    with plain(endpoint) as peer:
        while not client.shake():
            peer.sendall(client.read())
            client.feed(peer.recv(65_536))
        client.tls.write(_CONNECT)
        peer.sendall(client.read())
        endpoint.wait_for("connected", timeout=5)
        packets = [PingReq()] * pings + [Publish("t", b"last words"), Disconnect()]
        client.tls.write(b"".join(encode(packet, Version.MQTT5) for packet in packets))
        broken = b"\x17\x03\x03\x00\x40" + bytes(64)
        peer.sendall(client.read() + broken)
        disconnected = endpoint.wait_for(events.Disconnected, timeout=5)
    assert disconnected.reason == "CLIENT_INITIATED_DISCONNECT"
    assert endpoint.wait_for(events.Published, timeout=5).payload == b"last words"
    endpoint.wait_for("closed", timeout=5)
    serves_a_good_client(endpoint)


def test_a_request_has_a_thousand_user_properties_at_most(endpoint: LocalEndpoint) -> None:
    def header(count: int) -> str:
        return base64.b64encode(json.dumps([{"": ""}] * count).encode()).decode()

    with HttpClient(endpoint) as client:
        assert client.post("/topics/a", b"", **{"x-amz-mqtt5-user-properties": header(1_000)}).status == 200
        assert client.post("/topics/a", b"", **{"x-amz-mqtt5-user-properties": header(1_001)}).status == 429
    assert "1001 user properties" in endpoint.wait_for(events.Refused, timeout=5).explanation


def _is_over(raw: socket.socket) -> bool:
    try:
        return raw.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("name", ["max_connections_per_address", "max_half_open_per_address"])
def test_a_limit_of_none_at_all_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        LocalEndpoint({"a": allow_all}, **{name: 0})  # type: ignore[arg-type]


_FEW_FILES = """
import resource, sys
from iot_customauth_client.local import LocalEndpoint
statement = {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}
policy = {"Version": "2012-10-17", "Statement": statement}
result = {"isAuthenticated": True, "principalId": "p", "policyDocuments": [policy],
          "disconnectAfterInSeconds": 86400, "refreshAfterInSeconds": 86400}
with LocalEndpoint({sys.argv[1]: lambda event, context: result}) as endpoint:
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    print(endpoint.port, endpoint.ca_file, flush=True)
    sys.stdin.readline()
"""


class _Process:
    """As much of an endpoint as a client needs to reach one in another process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        port, _, ca_file = process.stdout.readline().strip().partition(" ")
        self.host, self.port, self.ca_file = "127.0.0.1", int(port), ca_file


def test_without_more_files_existing_clients_are_served_and_new_ones_when_there_are_some() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _FEW_FILES, AUTHORIZER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        endpoint: Any = _Process(process)
        with WireClient(endpoint, timeout=20) as client:
            client.connected(client_id="existing")
            flood = [plain(endpoint) for _ in range(100)]
            for _ in range(10):
                client.send(PingReq())
                assert isinstance(client.receive(), PingResp)
            for each in flood:
                each.close()
            serves_a_good_client(endpoint, timeout=30)
            client.send(PingReq())
            assert isinstance(client.receive(), PingResp)
        _, stderr = process.communicate("\n", timeout=20)
    assert "no connection can be accepted" in stderr
    assert "Traceback" not in stderr
    assert len(stderr.splitlines()) < 30  # it does not spin


def test_the_limits_of_a_process_follow_from_its_files(endpoint: LocalEndpoint) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert endpoint._needs_running().server.peers.limits.connections < soft


# -- the authorizer ---------------------------------------------------------------------------------------------------


def test_an_address_with_many_calls_keeps_no_other_one_and_no_client_waiting() -> None:
    release = threading.Event()
    served: list[str] = []

    def function(event: dict[str, Any], context: object) -> object:
        served.append(event["connectionMetadata"]["id"])
        if event["connectionMetadata"]["id"] == "flood":
            release.wait(10)
        return {}

    async def run() -> None:
        calls = AuthorizerCalls(
            CallableSource(function), asyncio.get_running_loop(), max_running=8, scrub=lambda text, _: text
        )

        def ask(name: str, source: str | None) -> asyncio.Future[Answer]:
            answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            event = build_event(connection_id=name, signature_verified=False, username="u")
            context = LambdaContext("f", region="eu-central-1", account="1" * 12, timeout_seconds=5)
            calls.call(event, context, answer.set_result, source=source)
            return answer

        flood = [ask("flood", "192.0.2.66") for _ in range(20)]
        assert (await ask("other", "192.0.2.1")).outcome == "answered"
        assert (await ask("client", None)).outcome == "answered"
        assert not any(each.done() for each in flood)
        release.set()
        assert {each.outcome for each in await asyncio.gather(*flood)} == {"answered"}
        assert not calls._running_of
        calls.close()

    asyncio.run(run())
    assert set(served[-2:]) <= {"flood", "other", "client"}


def test_an_address_that_makes_the_function_hang_is_refused_and_others_are_not() -> None:
    release = threading.Event()

    async def run() -> None:
        def function(event: dict[str, Any], context: object) -> object:
            if event["connectionMetadata"]["id"] == "hang":
                release.wait(10)
            return {}

        calls = AuthorizerCalls(
            CallableSource(function),
            asyncio.get_running_loop(),
            timeout_seconds=0.2,
            max_abandoned=4,
            scrub=lambda text, _: text,
        )

        def ask(name: str, source: str | None) -> asyncio.Future[Answer]:
            answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            event = build_event(connection_id=name, signature_verified=False, username="u")
            context = LambdaContext("f", region="eu-central-1", account="1" * 12, timeout_seconds=5)
            calls.call(event, context, answer.set_result, source=source)
            return answer

        for _ in range(2):
            assert (await ask("hang", "192.0.2.66")).outcome == "timed_out"
        assert (await ask("good", "192.0.2.66")).outcome == "failed"
        assert (await ask("good", "192.0.2.1")).outcome == "answered"
        release.set()
        for thread in calls.close():
            thread.join(5)

    asyncio.run(run())


# -- names that lead nowhere ------------------------------------------------------------------------------------------

_MARKER = "m4rker-of-a-peer"
_watched: list[str] | None = None


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if _watched is not None and event.split(".")[0] in (
        "open",
        "os",
        "subprocess",
        "import",
        "exec",
        "compile",
        "shutil",
    ):
        shown = repr(arguments)
        if _MARKER in shown:
            _watched.append(f"{event} {shown[:200]}")


@pytest.fixture
def opened_or_run() -> Iterator[list[str]]:
    """What Python opens, runs or imports whose name holds the marker; an audit hook cannot be taken away again."""
    global _watched
    if not hasattr(sys, "_hostile_watch"):
        sys.addaudithook(_watch)
        sys._hostile_watch = True  # type: ignore[attr-defined]
    _watched = []
    yield _watched
    _watched = None


def test_no_name_that_a_peer_sends_is_opened_imported_or_run(
    make_endpoint: MakeEndpoint, opened_or_run: list[str]
) -> None:
    path = f"../../etc/{_MARKER}.py"
    endpoint = make_endpoint({AUTHORIZER: allow_all}, default_authorizer=AUTHORIZER)
    for server_name in (_MARKER, f"{_MARKER}.example"):
        with pytest.raises(ssl.SSLError):
            WireClient(endpoint, server_name=server_name)
    with HttpClient(endpoint) as client:
        for target in (
            f"/{path}",
            f"/topics/{path}",
            f"/topics/a?x-amz-customauthorizer-name={path}:f",
            f"/mqtt/{path}",
        ):
            client.post(target, b"", **{"x-amz-customauthorizer-name": path})
            client.request("GET", target)
    for name in (path, f"/{path}:lambda_handler", f"http://localhost/{_MARKER}"):
        with WireClient(endpoint) as wire:
            wire.connect(client_id=path, username=f"{path}?x-amz-customauthorizer-name={name}")
    with WireClient(endpoint) as wire:
        wire.connected(client_id=_MARKER, username=path)
        wire.send(Subscribe(1, (SubscribeRequest(path, 1),)), Publish(path, path.encode(), 0), PingReq())
        while not isinstance(wire.receive(), PingResp):
            pass
    assert len(endpoint.events.of_kind("published")) >= 1
    assert opened_or_run == []


def test_the_watch_of_the_test_above_sees_what_it_should(opened_or_run: list[str]) -> None:
    with pytest.raises(FileNotFoundError):
        os.open(f"/nowhere/{_MARKER}", os.O_RDONLY)
    assert opened_or_run


def test_a_websocket_of_nothing_but_control_frames_ends_and_is_answered_until_then(endpoint: LocalEndpoint) -> None:
    with WebSocketClient(endpoint) as client:
        client.connect(username=USERNAME, password=b"pass01")
        client.socket.sendall(b"\x89\x80abcd" * 1_000 + b"\x82\x80abcd" * 1_000)
        client.wait_for_pong()
        client.send(PingReq())
        assert isinstance(client.receive(), PingResp)


def test_limits_may_be_replaced_while_it_runs(endpoint: LocalEndpoint) -> None:
    peers = endpoint._needs_running().server.peers
    peers.limits = replace(peers.limits, connections=1)
    with WireClient(endpoint) as client:
        client.connected()
        with plain(endpoint) as raw:
            assert _is_over(raw)
    assert json.dumps(endpoint._needs_running().server.peers.sizes())
