"""What reaches the open port: wrong doors, garbage, half handshakes, slow and deaf peers, many at once."""

from __future__ import annotations

import random
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from authorizer_functions import HeldBack
from mqtt_wire import USERNAME, WireClient, serves_a_good_client

from iot_customauth_client.local import LocalEndpoint, client_connection, events, time_limits
from iot_customauth_client.local.codec import (
    Connect,
    Disconnect,
    PingReq,
    Publish,
    Subscribe,
    SubscribeRequest,
    Version,
    encode,
)

MakeEndpoint = Callable[..., LocalEndpoint]


def dial(endpoint: LocalEndpoint) -> socket.socket:
    return socket.create_connection((endpoint.host, endpoint.port), timeout=10)


def read_all(raw: socket.socket) -> bytes:
    data = b""
    try:
        while chunk := raw.recv(65536):
            data += chunk
    except ConnectionError:
        pass
    return data


def turned_away(endpoint: LocalEndpoint, data: bytes) -> tuple[events.TurnedAway, bytes]:
    before = endpoint.events.last_sequence
    with dial(endpoint) as raw:
        raw.sendall(data)
        answer = read_all(raw)
    return endpoint.wait_for(events.TurnedAway, after=before, timeout=5), answer


def test_plain_mqtt_is_told_that_tls_is_missing(endpoint: LocalEndpoint) -> None:
    packet = encode(Connect(Version.MQTT5, "c", username=USERNAME), Version.MQTT5)
    event, answer = turned_away(endpoint, packet)
    assert "without TLS" in event.explanation
    assert answer == b""


def test_plain_http_is_answered_in_http(endpoint: LocalEndpoint) -> None:
    event, answer = turned_away(endpoint, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert event.cause == "plain_http"
    assert answer.startswith(b"HTTP/1.1 400")


def test_an_unknown_sni_gets_an_alert(endpoint: LocalEndpoint) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized"):
        WireClient(endpoint, server_name="stranger.example")
    assert "stranger.example" in endpoint.wait_for(events.TurnedAway, cause="sni_unknown", timeout=5).explanation


@pytest.mark.parametrize(
    ("alpn", "cause", "alert"),
    [
        (["x-amzn-mqtt-ca"], "alpn_for_client_certificates", "(?i)handshake.failure"),
        (["h2"], "alpn_unknown", "(?i)no.application.protocol"),
    ],
)
def test_a_wrong_alpn_gets_an_alert(endpoint: LocalEndpoint, alpn: list[str], cause: str, alert: str) -> None:
    with pytest.raises(ssl.SSLError, match=alert):
        WireClient(endpoint, alpn=alpn)
    assert "`mqtt`" in endpoint.wait_for(events.TurnedAway, cause=cause, timeout=5).explanation


def test_mqtt_without_alpn_is_hung_up_on_and_told_in_the_log(endpoint: LocalEndpoint) -> None:
    with WireClient(endpoint, alpn=[]) as client:
        assert client.connect() is None
    assert "ALPN" in endpoint.wait_for(events.TurnedAway, timeout=5).explanation
    assert not endpoint.events.of_kind("authorizer_called")


def test_websocket_on_the_mqtt_door_is_explained(endpoint: LocalEndpoint) -> None:
    with WireClient(endpoint) as client:
        client.send_bytes(b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n")
        assert client.receive() is None
    assert "HTTP" in endpoint.wait_for(events.TurnedAway, timeout=5).explanation


def test_a_client_that_does_not_trust_the_authority_is_explained(endpoint: LocalEndpoint) -> None:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["mqtt"])
    with dial(endpoint) as raw, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(raw, server_hostname="localhost")
    event = endpoint.wait_for(events.TurnedAway, timeout=5)
    assert event.cause == "client_rejected_certificate"
    assert "ca.pem" in event.explanation


def test_the_endpoint_serves_as_its_own_http_proxy(endpoint: LocalEndpoint, authorizer_name: str) -> None:
    aws = "xxxxxxxxxxxx-ats.iot.ap-northeast-1.amazonaws.com"
    raw = dial(endpoint)
    raw.sendall(f"CONNECT {aws}:443 HTTP/1.1\r\nHost: {aws}:443\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += raw.recv(1)
    assert b" 200 " in answer
    context = ssl.create_default_context(cafile=str(endpoint.ca_file))
    context.set_alpn_protocols(["mqtt"])
    with context.wrap_socket(raw, server_hostname=aws) as tls:
        packet = Connect(Version.MQTT311, "client_id", username=USERNAME, password=b"pass01")
        tls.sendall(encode(packet, Version.MQTT311))
        assert tls.recv(4) == b"\x20\x02\x00\x00"
    assert endpoint.wait_for(events.Proxied, timeout=5).target == f"{aws}:443"


def test_a_connect_in_single_bytes_is_understood(endpoint: LocalEndpoint) -> None:
    """Also the ClientHello: the proxy between writes each byte by itself."""
    context = ssl.create_default_context(cafile=str(endpoint.ca_file))
    context.set_alpn_protocols(["mqtt"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with dial(endpoint) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def pump(step: Callable[[], object]) -> object:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    for byte in outgoing.read():
                        raw.send(bytes([byte]))
                    incoming.write(raw.recv(65536))

        pump(tls.do_handshake)
        for byte in encode(
            Connect(Version.MQTT311, "client_id", username=USERNAME, password=b"pass01"), Version.MQTT311
        ):
            tls.write(bytes([byte]))
        assert pump(lambda: tls.read(4)) == b"\x20\x02\x00\x00"


def test_a_silent_peer_is_turned_away(endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limits, "HANDSHAKE_SECONDS", 0.1)
    with dial(endpoint) as raw:
        raw.sendall(b"\x16\x03")
        assert read_all(raw) == b""
    event = endpoint.wait_for(events.TurnedAway, cause="too_slow", timeout=5)
    assert "ClientHello" in event.explanation
    monkeypatch.setattr(time_limits, "HANDSHAKE_SECONDS", 60)
    monkeypatch.setattr(time_limits, "CONNECT_SECONDS", 0.1)
    with WireClient(endpoint) as client:
        assert client.receive() is None
    event = endpoint.wait_for(events.TurnedAway, cause="too_slow", after=event, timeout=5)
    assert "before a complete CONNECT" in event.explanation


def test_a_peer_that_does_not_read_is_cut_off(endpoint: LocalEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_connection, "MAX_UNSENT_BYTES", 1_000_000)
    with WireClient(endpoint) as client:
        client.connected()
        client.send(Subscribe(1, (SubscribeRequest("my-topic", 0),)))
        client.receive()
        for _ in range(400):
            endpoint.publish("my-topic", bytes(100_000))
            if endpoint.events.of_kind("disconnected"):
                break
        event = endpoint.wait_for(events.Disconnected, timeout=5)
    assert event.reason == "CONNECTION_LOST"
    serves_a_good_client(endpoint)


def test_what_a_client_sends_ahead_is_bounded(make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = HeldBack()
    endpoint = make_endpoint({"a": slow}, default_authorizer="a")
    with WireClient(endpoint) as client:
        client.send(Connect(Version.MQTT5, "c", username="u"))
        endpoint.wait_for("authorizer_called", timeout=5)
        client.socket.settimeout(0.5)
        ahead = encode(Publish("t", bytes(100_000)), Version.MQTT5) * 1000
        with pytest.raises(TimeoutError):  # the socket takes no more: TCP holds the client back
            client.send_bytes(ahead)
        slow.release.set()
        endpoint.wait_for("published", timeout=5)  # what was held is read, and reading goes on
        endpoint.wait_for("published", sequence=lambda number: number > 20, timeout=5)


def junk(seed: int) -> bytes:
    chance = random.Random(seed)
    return chance.choice([b"\x16\x03\x01", b"\x10", b"GET ", b"\x80", b""]) + chance.randbytes(chance.randint(1, 500))


def test_hundreds_of_hostile_connections_hurt_nobody(endpoint: LocalEndpoint) -> None:
    context = ssl.create_default_context(cafile=str(endpoint.ca_file))
    context.set_alpn_protocols(["mqtt"])
    hello = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    client_hello = hello.read()
    chance = random.Random(1)
    peers: list[socket.socket] = []
    tls_peers: list[WireClient] = []
    with WireClient(endpoint) as good:
        good.connected()
        good.send(Subscribe(1, (SubscribeRequest("my-topic", 1),)))
        good.receive()
        try:
            for number in range(300):
                peer = dial(endpoint)
                peers.append(peer)
                match number % 3:
                    case 0:
                        peer.sendall(junk(number))  # garbage
                    case 1:
                        peer.sendall(client_hello[: chance.randint(1, len(client_hello))])  # half a handshake
                    case _:
                        peer.sendall(client_hello)
                        peer.recv(10)  # the server's half, never answered
                        peer.sendall(chance.randbytes(100))
            for number in range(60):
                client = WireClient(endpoint)
                tls_peers.append(client)
                client.send_bytes(junk(1000 + number))  # garbage inside TLS
            for peer in peers:  # slow bytes, and closing in the middle
                try:
                    peer.sendall(b"\x00")
                except ConnectionError:
                    continue
            good.send(Publish("my-topic", b"still here", 1, packet_id=2))
            answers = [good.receive(), good.receive()]
            assert b"still here" in [each.payload for each in answers if isinstance(each, Publish)]
            serves_nobody_else = WireClient(endpoint)
            tls_peers.append(serves_nobody_else)
        finally:
            for peer in peers:
                peer.close()
            for client in tls_peers:
                client.close()
        for number in range(1, 1 + 1 + 300 + 60 + 1):
            if number != 1:
                endpoint.wait_for("closed", connection=number, timeout=10)
        good.send(Publish("my-topic", b"and afterwards", 1, packet_id=3))
        answers = [good.receive(), good.receive()]
        assert b"and afterwards" in [each.payload for each in answers if isinstance(each, Publish)]
    serves_a_good_client(endpoint)


ABRUPT = struct.pack("ii", 1, 0)  # SO_LINGER of 0: closing sends a reset


def test_peers_that_reset_the_connection_disturb_nobody(
    endpoint: LocalEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(60):
        client = WireClient(endpoint)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABRUPT)
        if number % 3:
            client.connected()
            client.send(Disconnect() if number % 3 == 1 else PingReq())
        else:
            client.send_bytes(b"garbage, so that it is hung up on")
        client.close()
    for number in range(60):
        endpoint.wait_for("closed", connection=number + 1, timeout=5)
    serves_a_good_client(endpoint)
    endpoint.stop()
    assert not [record for record in caplog.records if not record.name.startswith("awscrt")]


def test_a_client_that_closes_while_it_is_hung_up_on_disturbs_nobody(
    endpoint: LocalEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """Our close_notify makes its side answer with a reset, so that saying that we are done fails too."""
    client = WireClient(endpoint, Version.MQTT311).connected()

    def close_then_hang_up() -> bool:
        client.close()  # the endpoint's loop is busy here and cannot have noticed
        return endpoint.disconnect("client_id")

    assert endpoint._needs_running().call(close_then_hang_up)
    endpoint.wait_for("closed", timeout=5)
    serves_a_good_client(endpoint)
    assert not [record for record in caplog.records if not record.name.startswith("awscrt")]


def test_half_open_connections_beyond_the_limit_cost_the_oldest_its_place(endpoint: LocalEndpoint) -> None:
    server = endpoint._needs_running().server
    server.peers.limits = replace(server.peers.limits, half_open=5)
    peers = [dial(endpoint) for _ in range(6)]
    try:
        assert read_all(peers[0]) == b""
        endpoint.wait_for("turned_away", cause="too_many_half_open", connection=1, timeout=5)
        serves_a_good_client(endpoint)
        time.sleep(0)
    finally:
        for peer in peers:
            peer.close()
