"""MQTT over WebSocket on real sockets: credentials in three places, refusals, frames, and clients of other makers."""

from __future__ import annotations

import base64
import json
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import ANY

import paho.mqtt.client as paho
import pytest
from authorizer_functions import HeldBack, allow_all, allowing
from http_clients import NAME, SIGNATURE, Rejected, WebSocketClient, tls_socket
from mqtt_wire import WireClient
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from iot_customauth_client.carriage import write_query
from iot_customauth_client.local import (
    Choices,
    LocalAuthorizer,
    LocalEndpoint,
    client_connection,
    events,
    mqtt_talk,
    time_limits,
)
from iot_customauth_client.local.codec import (
    ConnAck,
    Connect,
    Disconnect,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    Version,
    Will,
    encode,
)

MakeEndpoint = Callable[..., LocalEndpoint]
BOTH = pytest.mark.parametrize("version", [Version.MQTT5, Version.MQTT311])
TOKEN = "to+ken/="


class Recording:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.result: dict[str, object] = allow_all(None, None)

    def __call__(self, event: dict[str, Any], context: object) -> dict[str, object]:
        self.events.append(event)
        return self.result


@pytest.fixture(scope="module")
def signed() -> tuple[str, bytes]:
    """A signature over `TOKEN`, which holds `+` or `/`, and its public key."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    private = rsa.generate_private_key(65_537, 2048)
    signature = base64.b64encode(private.sign(TOKEN.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
    assert set(signature) & set("+/")
    return signature, private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture
def function() -> Recording:
    return Recording()


@pytest.fixture
def websocket(make_endpoint: MakeEndpoint, function: Recording, signed: tuple[str, bytes]) -> LocalEndpoint:
    return make_endpoint(
        {
            "plain": LocalAuthorizer(function, signing_disabled=True),
            "signed": LocalAuthorizer(function, token_key_name="Token", public_keys=(signed[1],)),
            "off": LocalAuthorizer(function, signing_disabled=True, status="INACTIVE"),
        }
    )


def connected(client: WebSocketClient, **fields: Any) -> WebSocketClient:
    answer = client.connect(**fields)
    assert isinstance(answer, ConnAck), answer
    assert answer.reason_code == 0
    return client


@BOTH
@pytest.mark.parametrize("place", ["headers", "query", "connect"])
def test_a_signed_token_is_accepted_from_each_of_three_places(
    websocket: LocalEndpoint, function: Recording, signed: tuple[str, bytes], version: Version, place: str
) -> None:
    parameters = ((NAME, "signed"), (SIGNATURE, signed[0]), ("Token", TOKEN))
    query = write_query(parameters)
    with WebSocketClient(
        websocket,
        version,
        target=f"/mqtt?{query}" if place == "query" else "/mqtt",
        headers=dict(parameters) if place == "headers" else {},
    ) as client:
        assert client.accepted is not None
        assert client.accepted.subprotocol == "mqtt"
        connected(client, username=f"user?{query}" if place == "connect" else "user", password=b"pass")
    (event,) = function.events
    assert event["protocols"] == ["tls", "http", "mqtt"]
    assert event["token"] == TOKEN
    assert event["signatureVerified"] is True
    data = event["protocolData"]
    assert data["tls"] == {"serverName": "localhost"}
    assert data["http"]["headers"]["sec-websocket-protocol"] == "mqtt"
    assert data["http"].get("queryString") == (f"?{query}" if place == "query" else None)
    assert data["http"]["headers"].get("token") == (TOKEN if place == "headers" else None)
    assert data["mqtt"]["clientId"] == "client_id"
    assert data["mqtt"]["username"] == (f"user?{query}" if place == "connect" else "user")
    assert base64.b64decode(data["mqtt"]["password"]) == b"pass"
    received = websocket.wait_for(events.ConnectReceived, timeout=5)
    assert (received.transport, received.authorizer) == ("websocket", "signed")
    request = websocket.wait_for(events.HttpRequested, timeout=5)
    assert request.credentials_in == {"headers": "headers", "query": "query", "connect": None}[place]
    assert TOKEN not in "".join(map(repr, websocket.events))
    assert signed[0] not in "".join(map(repr, websocket.events))


@pytest.mark.parametrize(
    ("parameters", "cause"),
    [
        ([(NAME, "stranger")], "authorizer_unknown"),
        ([(NAME, "off")], "authorizer_inactive"),
        ([(NAME, "signed")], "token_missing"),
        ([(NAME, "signed"), ("Token", TOKEN), (SIGNATURE, "c2VjcmV0")], "signature_invalid"),
    ],
)
@pytest.mark.parametrize("place", ["headers", "query"])
def test_what_is_wrong_with_credentials_in_the_upgrade_is_answered_there_with_403(
    websocket: LocalEndpoint, function: Recording, parameters: list[tuple[str, str]], cause: str, place: str
) -> None:
    target = f"/mqtt?{write_query(tuple(parameters))}" if place == "query" else "/mqtt"
    with pytest.raises(Rejected) as caught:
        WebSocketClient(websocket, target=target, headers=dict(parameters) if place == "headers" else {})
    assert caught.value.status == 403
    assert json.loads(caught.value.body)["message"] == "Forbidden"
    refused = websocket.wait_for(events.Refused, timeout=5)
    assert (refused.cause, refused.status) == (cause, 403)
    assert not function.events


@pytest.mark.parametrize("choice", [403, 401])
@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID&X-Amz-Signature=00", {}),
        ("", {"Authorization": "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/iotdevicegateway/aws4_request"}),
        (f"?{NAME}=a&X-Amz-Algorithm=AWS4-HMAC-SHA256", {}),
    ],
    ids=["in the query", "in a header", "beside an authorizer"],
)
def test_an_upgrade_signed_with_aws_credentials_gets_403_and_json_whatever_is_chosen(
    make_endpoint: MakeEndpoint, choice: Any, query: str, headers: dict[str, str]
) -> None:
    function = Recording()
    endpoint = make_endpoint({"a": function}, default_authorizer="a", choices=Choices(refused_upgrade_status=choice))
    with pytest.raises(Rejected) as caught:
        WebSocketClient(endpoint, target=f"/mqtt{query}", headers=headers)
    assert caught.value.status == 403
    assert json.loads(caught.value.body)["message"] == "Forbidden"
    endpoint.wait_for(events.Refused, timeout=5, cause="sigv4", status=403)
    assert not function.events


@BOTH
@pytest.mark.parametrize(
    "result", [{"isAuthenticated": False}, allowing("iot:Connect", "arn:aws:iot:*:*:client/other")]
)
def test_a_denial_by_function_or_policy_comes_after_101(
    websocket: LocalEndpoint, function: Recording, version: Version, result: dict[str, object]
) -> None:
    function.result = result
    with WebSocketClient(websocket, version, headers={NAME: "plain"}) as client:
        answer = client.connect()
        if version is Version.MQTT5:
            assert isinstance(answer, ConnAck)
            assert answer.reason_code == 135
            answer = client.receive()
        assert answer is None
        assert client.closed_with == 1000


@BOTH
def test_mqtt_over_websocket_is_mqtt(websocket: LocalEndpoint, version: Version) -> None:
    with WebSocketClient(websocket, version, headers={NAME: "plain"}) as client, WireClient(websocket) as other:
        connected(client)
        client.send(Subscribe(1, (SubscribeRequest("a", 1),)))
        assert isinstance(client.receive(), SubAck)
        other.connected(username=f"u?{NAME}=plain", client_id="other")
        other.send(Publish("a", bytes(100_000), 1, packet_id=1))
        assert isinstance(other.receive(), PubAck)
        message = client.receive()
        assert isinstance(message, Publish)
        assert len(message.payload) == 100_000
        client.send(PubAck(message.packet_id or 0), Publish("b", b"x", 1, packet_id=2))
        assert isinstance(client.receive(), PubAck)
        client.send(Disconnect())
        assert client.receive() is None
        assert client.closed_with == 1000
    event = websocket.wait_for(events.Disconnected, connection=1, timeout=5)
    assert event.reason == "CLIENT_INITIATED_DISCONNECT"


@pytest.mark.parametrize(
    "asked",
    [Publish("secret", b"x", 1, packet_id=1), Subscribe(1, (SubscribeRequest("secret", 1),))],
    ids=["publish", "subscribe"],
)
def test_a_denial_is_as_over_tls(make_endpoint: MakeEndpoint, asked: Publish | Subscribe) -> None:
    function = Recording()
    function.result = allowing("iot:Connect", "*")
    endpoint = make_endpoint({"a": function})
    with WebSocketClient(endpoint, headers={NAME: "a"}) as client:
        connected(client)
        client.send(asked)
        answer = client.receive()
        assert isinstance(answer, PubAck | SubAck)
        assert (answer.reason_codes if isinstance(answer, SubAck) else (answer.reason_code,)) == (135,)
        client.send(Publish("secret", b"x", 0))
        assert client.receive() == Disconnect(135, properties=ANY)
        assert client.receive() is None
    with WebSocketClient(endpoint, Version.MQTT311, headers={NAME: "a"}) as client:
        connected(client)
        client.send(asked)
        assert client.receive() is None
    ends = [endpoint.wait_for(events.Disconnected, connection=number, timeout=5) for number in (1, 2)]
    assert [end.reason for end in ends] == ["AUTH_ERROR", "AUTH_ERROR"]


def test_packets_may_be_cut_and_joined_by_messages_and_sent_at_once(websocket: LocalEndpoint) -> None:
    connect = encode(Connect(Version.MQTT5, "client_id", username=f"u?{NAME}=plain"), Version.MQTT5)
    data = connect + b"".join(encode(Publish("a", bytes([n]), 1, packet_id=n), Version.MQTT5) for n in range(1, 40))
    chance = random.Random(1)
    with WebSocketClient(websocket) as client:
        pings = 0
        while data:
            size = chance.randint(1, 70)
            pings += 1
            client.send_event(BytesMessage(data[:size], message_finished=chance.random() < 0.6), Ping(b"still here"))
            data = data[size:]
        assert isinstance(client.receive(), ConnAck)
        for packet_id in range(1, 40):
            answer = client.receive()
            assert isinstance(answer, PubAck)
            assert answer.packet_id == packet_id
        client.send(Disconnect())
        assert client.receive() is None
        assert client.pongs == pings


@pytest.mark.parametrize("version", [Version.MQTT5, None])
def test_a_text_frame_ends_the_connection_with_a_reason(websocket: LocalEndpoint, version: Version | None) -> None:
    with WebSocketClient(websocket) as client:
        if version is not None:
            connected(client, username=f"u?{NAME}=plain")
        client.send_event(TextMessage("c2VjcmV0"))
        answer = client.receive()
        if version is not None:
            assert isinstance(answer, Disconnect)
            answer = client.receive()
        assert answer is None
        assert client.closed_with == 1003
    if version is None:
        explanation = websocket.wait_for(events.Refused, timeout=5).explanation
    else:
        event = websocket.wait_for(events.Disconnected, timeout=5)
        assert event.reason == "CLIENT_ERROR"
        explanation = event.explanation
    assert "text frame" in explanation
    assert "MQTT-6.0.0-1" in explanation
    assert "c2VjcmV0" not in explanation


def test_a_violation_while_the_function_runs_ends_the_connection_after_it(make_endpoint: MakeEndpoint) -> None:
    slow = HeldBack()
    endpoint = make_endpoint({"a": slow}, default_authorizer="a")
    with WebSocketClient(endpoint) as client:
        client.send(Connect(Version.MQTT5, "client_id", username="u"))
        endpoint.wait_for("authorizer_called", timeout=5)
        before = BytesMessage(encode(Publish("a", b"before"), Version.MQTT5))
        client.send_event(Ping(), before, TextMessage("x"))  # in one TLS record, so that the Pong tells of all three
        client.wait_for_pong()
        slow.release.set()
        assert isinstance(client.receive(), ConnAck)
        assert isinstance(client.receive(), Disconnect)
        assert client.receive() is None
    assert endpoint.wait_for(events.Published, timeout=5).payload == b"before"
    assert "text frame" in endpoint.wait_for(events.Disconnected, timeout=5).explanation


def test_a_close_without_disconnect_is_the_clients_own_end_and_there_is_no_will(
    websocket: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limits, "LINGER_SECONDS", 60.0)
    with WebSocketClient(websocket) as client:
        client.send(Connect(Version.MQTT5, "c", username=f"u?{NAME}=plain", will=Will("gone", b"will")))
        assert isinstance(client.receive(), ConnAck)
        client.send_event(CloseConnection(1001, "bye"))
        assert client.receive() is None
        assert client.closed_with == 1001
        disconnected = websocket.wait_for(events.Disconnected, timeout=5)
        assert disconnected.reason == "CLIENT_INITIATED_DISCONNECT"
    websocket.wait_for(events.Closed, connection=disconnected.connection, timeout=5)
    assert not websocket.events.of_kind(events.Published)


def test_a_close_before_connect_is_turned_away(websocket: LocalEndpoint) -> None:
    with WebSocketClient(websocket) as client:
        client.send_event(CloseConnection(1000))
        assert client.receive() is None
    assert "WebSocket" in websocket.wait_for(events.TurnedAway, cause="closed_early", timeout=5).explanation


def test_an_upgrade_without_connect_is_turned_away(websocket: LocalEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limits, "CONNECT_SECONDS", 0.2)
    with WebSocketClient(websocket) as client:
        assert client.receive() is None
        assert client.closed_with == 1000
    assert "CONNECT" in websocket.wait_for(events.TurnedAway, cause="too_slow", timeout=5).explanation


@pytest.mark.parametrize("subprotocols", [(), ("mqttv3.1",)])
def test_the_subprotocol_mqtt_must_be_offered(websocket: LocalEndpoint, subprotocols: tuple[str, ...]) -> None:
    with pytest.raises(Rejected) as caught:
        WebSocketClient(websocket, subprotocols=subprotocols)
    assert caught.value.status == 400
    assert "must offer `mqtt`" in json.loads(caught.value.body)["message"]


def test_a_refused_upgrade_can_be_tried_again_on_the_same_connection(websocket: LocalEndpoint) -> None:
    head = (
        "GET /mqtt{} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
    with tls_socket(websocket) as client:
        client.sendall(head.format(f"?{NAME}=off").encode())
        assert client.recv(65536).startswith(b"HTTP/1.1 403 ")
        client.sendall(head.format("").encode())
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer


def test_the_upgrade_wins_over_connect_with_a_warning(websocket: LocalEndpoint, function: Recording) -> None:
    with WebSocketClient(websocket, headers={NAME: "plain"}) as client:
        connected(client, username=f"user?{NAME}=stranger")
    warned = websocket.wait_for(events.Warned, timeout=5)
    assert "the HTTP headers and also in the MQTT user name" in warned.explanation
    assert len(function.events) == 1


@pytest.mark.parametrize("speaks_first", [True, False])
def test_a_websocket_ends_after_its_life_when_a_message_is_next_sent(
    websocket: LocalEndpoint, monkeypatch: pytest.MonkeyPatch, speaks_first: bool
) -> None:
    monkeypatch.setattr(mqtt_talk, "WEBSOCKET_LIFE_SECONDS", 0.0)
    with WebSocketClient(websocket, headers={NAME: "plain"}) as client:
        connected(client)
        client.send(Subscribe(1, (SubscribeRequest("a", 1),)))
        assert isinstance(client.receive(), SubAck)  # no message was sent yet
        if speaks_first:
            client.send(Publish("a", b"x", 1, packet_id=2))
        else:
            websocket.publish("a", "x", qos=1)
        answer = client.receive()
        assert isinstance(answer, Disconnect)
        assert client.receive() is None
    event = websocket.wait_for(events.Disconnected, timeout=5)
    assert event.reason == "WEBSOCKET_TTL_EXPIRATION"
    assert "24 hours" in event.explanation


def test_mqtt_inside_tls_has_no_such_life(websocket: LocalEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_talk, "WEBSOCKET_LIFE_SECONDS", 0.0)
    with WireClient(websocket) as client:
        client.connected(username=f"u?{NAME}=plain")
        client.send(Publish("a", b"x", 1, packet_id=2))
        assert isinstance(client.receive(), PubAck)


def test_clients_are_closed_in_good_order_when_the_endpoint_stops(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint({"a": allow_all}, default_authorizer="a")
    with WebSocketClient(endpoint) as client:
        connected(client, username="u")
        endpoint.stop()
        assert isinstance(client.receive(), Disconnect)
        assert client.receive() is None
        assert client.closed_with == 1000


# -- clients of other makers ---------------------------------------------------------------------------------------


@pytest.fixture(params=[paho.MQTTv5, paho.MQTTv311])
def paho_client(request: pytest.FixtureRequest, websocket: LocalEndpoint) -> Iterator[paho.Client]:
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2, client_id="paho", transport="websockets", protocol=request.param
    )
    client.tls_set(str(websocket.ca_file))
    yield client
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize("place", ["headers", "query", "connect"])
def test_paho_publishes_and_receives_unchanged(
    websocket: LocalEndpoint, paho_client: paho.Client, signed: tuple[str, bytes], place: str
) -> None:
    parameters = ((NAME, "signed"), (SIGNATURE, signed[0]), ("Token", TOKEN))
    query = write_query(parameters)
    received: list[bytes] = []
    arrived, subscribed = threading.Event(), threading.Event()

    def on_message(client: object, userdata: object, message: paho.MQTTMessage) -> None:
        received.append(message.payload)
        if len(received) == 20:
            arrived.set()

    paho_client.on_message = on_message
    paho_client.on_connect = lambda client, *_: client.subscribe("a", 1)
    paho_client.on_subscribe = lambda *_: subscribed.set()
    paho_client.ws_set_options(
        f"/mqtt?{query}" if place == "query" else "/mqtt", dict(parameters) if place == "headers" else None
    )
    if place == "connect":
        paho_client.username_pw_set(f"user?{query}", "pass")
    paho_client.connect("localhost", websocket.port)
    paho_client.loop_start()
    assert subscribed.wait(10)
    payloads = [bytes([n]) * (n * 7_000 or 1) for n in range(19)] + [bytes(131_072)]  # from frames of 7 to 64 bits
    for payload in payloads:
        paho_client.publish("a", payload, 1)
    assert arrived.wait(10)
    assert received == payloads


# -- hostile bytes -------------------------------------------------------------------------------------------------


def test_hostile_frames_hurt_nobody(websocket: LocalEndpoint) -> None:
    chance = random.Random(3)
    with WebSocketClient(websocket, headers={NAME: "plain"}) as good:
        connected(good, client_id="good")
        for number in range(60):
            with WebSocketClient(websocket, headers={NAME: "plain"}) as peer:
                if number % 2:
                    connected(peer, client_id=f"peer{number}")
                frames = bytearray(
                    peer.protocol.send(BytesMessage(encode(Connect(Version.MQTT5, "x"), Version.MQTT5)))
                    + peer.protocol.send(BytesMessage(encode(Publish("a", bytes(300)), Version.MQTT5)))
                    + peer.protocol.send(Ping(b"ping"))
                )
                for _ in range(chance.randint(1, 6)):
                    frames[chance.randrange(len(frames))] = chance.randrange(256)
                try:
                    if number % 5:
                        peer.socket.sendall(bytes(frames))
                    else:
                        for byte in frames:  # slow bytes, each in a TLS record of its own
                            peer.socket.sendall(bytes([byte]))
                    if number % 3 == 0:
                        peer.socket.shutdown(socket.SHUT_WR)
                except OSError:
                    continue
        good.send(Publish("b", b"still here", 1, packet_id=1))
        assert isinstance(good.receive(), PubAck)
    for number in range(1, 62):
        websocket.wait_for("closed", connection=number, timeout=15)


def test_a_flood_of_pings_from_a_client_that_does_not_read_is_cut_off(
    websocket: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_connection, "MAX_UNSENT_BYTES", 200_000)
    with WebSocketClient(websocket, headers={NAME: "plain"}) as client:
        connected(client)
        pings = client.protocol.send(Ping(bytes(125))) * 500
        try:
            for _ in range(2_000):
                client.socket.sendall(pings)
                if websocket.events.of_kind("closed"):
                    break
        except (ssl.SSLError, OSError):
            pass
        websocket.wait_for("closed", timeout=10)
    assert websocket.wait_for(events.Disconnected, timeout=5).reason == "CONNECTION_LOST"


@pytest.mark.parametrize("place", ["headers", "query"])
def test_what_the_upgrade_was_warned_about_is_not_told_again_at_connect(
    make_endpoint: MakeEndpoint, place: str
) -> None:
    endpoint = make_endpoint({"own": allow_all}, default_authorizer="own")
    sent = {"x-amz-customauthorizer-nmae": "own", SIGNATURE: "c2lnbmF0dXJl"}
    target = "/mqtt" if place == "headers" else f"/mqtt?{write_query(tuple(sent.items()))}"
    with WebSocketClient(endpoint, target=target, headers=sent if place == "headers" else {}) as client:
        connected(client, username=f"user?{NAME}=own")
    endpoint.wait_for(events.Connected, timeout=5)
    causes = [each.cause for each in endpoint.events.of_kind(events.Warned)]
    assert causes == ["signature_not_verified", "parameter_misspelt", "credentials_in_two_places"]  # the last is new
