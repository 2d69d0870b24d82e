"""The reference flow, byte by byte on a real TLS socket, and what the log tells about it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from mqtt_wire import AUTHORIZER, USERNAME, WireClient

from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.local.codec import (
    Disconnect,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    Version,
)

EITHER = pytest.mark.parametrize("version", [Version.MQTT5, Version.MQTT311], ids=["mqtt5", "mqtt311"])
HOST = "x-ats.iot.ap-northeast-1.amazonaws.com"

# As an authorizer function received it from the service (published in a walkthrough of 2021); the id is each
# connection's own.
CAPTURED = (
    '{"protocolData":{"tls":{"serverName":"x-ats.iot.ap-northeast-1.amazonaws.com"},"mqtt":{"username":"user01?x-amz-'
    'customauthorizer-name=custom_auth_mqtt_2021_08_21","password":"cGFzczAx","clientId":"client_id"}},"protocols":'
    '["tls","mqtt"],"signatureVerified":false,"connectionMetadata":{"id":"54300d4a-d787-bb33-bbab-e61eb9f07893"}}'
)


@EITHER
def test_three_messages_go_out_and_come_back(endpoint: LocalEndpoint, version: Version) -> None:
    with WireClient(endpoint, version) as client:
        client.connected()
        client.send(Subscribe(1, (SubscribeRequest("my-topic", 1),)))
        assert client.receive() == SubAck(1, (1,))
        payloads = [b'{"counter": %d}' % counter for counter in range(3)]
        for number, payload in enumerate(payloads, start=1):
            client.send(Publish("my-topic", payload, 1, packet_id=number))
            answers = [client.receive(), client.receive()]
            assert PubAck(number) in answers
            assert [each.payload for each in answers if isinstance(each, Publish)] == [payload]
            client.send(PubAck(number))
        client.send(Disconnect())
        assert client.receive() is None
    gone = endpoint.wait_for(events.Disconnected, timeout=5)
    assert gone.reason == "CLIENT_INITIATED_DISCONNECT"
    assert [event.payload for event in endpoint.events.of_kind(events.Delivered)] == payloads
    endpoint.wait_for("acknowledged", packet_id=3, timeout=5)


@EITHER
def test_the_authorizer_gets_the_event_that_aws_sends(
    make_endpoint: Callable[..., LocalEndpoint], version: Version
) -> None:
    received: list[str] = []

    def authorizer(event: dict[str, object], context: object) -> dict[str, object]:
        received.append(json.dumps(event, separators=(",", ":")))
        return {"isAuthenticated": False}

    endpoint = make_endpoint({AUTHORIZER: authorizer}, hostnames=(HOST,))
    with WireClient(endpoint, version, server_name=HOST) as client:
        client.connect(username=USERNAME, password=b"pass01")
    (event,) = received
    uuid = re.compile(r'"id":"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"')
    assert uuid.search(event)
    assert uuid.sub("", event) == uuid.sub("", CAPTURED)  # keys, their order and values


def test_the_log_tells_the_whole_story_in_order(endpoint: LocalEndpoint) -> None:
    with WireClient(endpoint) as client:
        client.connected()
        client.send(Disconnect())
        assert client.receive() is None
    endpoint.wait_for("closed", timeout=5)
    assert [event.kind for event in endpoint.events] == [
        "listening",
        "opened",
        "handshake",
        "connect_received",
        "authorizer_called",
        "authorizer_answered",
        "decided",
        "connected",
        "disconnected",
        "closed",
    ]
    handshake = endpoint.wait_for(events.Handshake, timeout=0)
    assert (handshake.server_name, handshake.alpn, handshake.tls_version) == ("localhost", "mqtt", "TLSv1.3")
    connected = endpoint.wait_for(events.Connected, timeout=0)
    assert (connected.client_id, connected.principal_id, connected.protocol) == ("client_id", "CustomAuthId", "mqtt5")


def test_no_secret_is_in_the_log(endpoint: LocalEndpoint) -> None:
    with WireClient(endpoint) as client:
        client.connected()
    endpoint.wait_for("closed", timeout=5)
    told = "\n".join(json.dumps(event.fields(), default=str) for event in endpoint.events)
    assert AUTHORIZER in told
    for secret in ("user01", "pass01", "cGFzczAx"):
        assert secret not in told


def test_secrets_are_shown_to_who_asks_for_them(
    make_endpoint: Callable[..., LocalEndpoint], password_authorizer: object
) -> None:
    endpoint = make_endpoint({AUTHORIZER: password_authorizer}, show_secrets=True)
    with WireClient(endpoint) as client:
        client.connected()
    assert endpoint.wait_for(events.ConnectReceived, timeout=5).username == USERNAME
    assert "cGFzczAx" in str(endpoint.wait_for(events.AuthorizerCalled, timeout=5).event)


def test_a_device_that_names_no_authorizer_gets_the_default_one(
    make_endpoint: Callable[..., LocalEndpoint], password_authorizer: object
) -> None:
    endpoint = make_endpoint({"one": password_authorizer}, default_authorizer="one")
    with WireClient(endpoint) as client:
        client.connected(username="user01")


def test_settings_lead_to_the_endpoint(endpoint: LocalEndpoint) -> None:
    settings = endpoint.settings("client_id", keep_alive_seconds=30)
    assert (settings.endpoint, settings.port, settings.client_id) == ("localhost", endpoint.port, "client_id")
    assert settings.ca_file == endpoint.ca_file
    assert settings.keep_alive_seconds == 30
    assert endpoint.settings(client_id="other", port=443).port == 443


def test_the_region_of_an_aws_host_name_decides_the_arns(endpoint: LocalEndpoint) -> None:
    with WireClient(endpoint) as client:
        client.connected()
    resource = endpoint.wait_for(events.Decided, timeout=5).resource
    assert resource == "arn:aws:iot:ap-northeast-1:123456789012:client/client_id"


def test_a_policy_for_another_region_is_found_out_where_the_region_is_known(
    make_endpoint: Callable[..., LocalEndpoint], password_authorizer: object
) -> None:
    endpoint = make_endpoint({AUTHORIZER: password_authorizer}, region="eu-central-1")
    with WireClient(endpoint) as client:
        client.connect()
    refused = endpoint.wait_for(events.Refused, timeout=5)
    assert "eu-central-1" in refused.explanation


def test_an_endpoint_that_knows_no_region_takes_policies_as_they_are(
    make_endpoint: Callable[..., LocalEndpoint], password_authorizer: object
) -> None:
    endpoint = make_endpoint({AUTHORIZER: password_authorizer})
    with WireClient(endpoint) as client:
        client.connected()
        client.send(Subscribe(1, (SubscribeRequest("other-topic", 1),)))
        answer = client.receive()
        assert isinstance(answer, SubAck)
        assert answer.reason_codes == (135,)  # what is no matter of region is still decided


def test_the_cloud_can_publish_to_a_device(endpoint: LocalEndpoint) -> None:
    with WireClient(endpoint) as client:
        client.connected()
        client.send(Subscribe(1, (SubscribeRequest("my-topic", 1),)))
        client.receive()
        endpoint.publish("my-topic", "hello", qos=1, content_type="text/plain", user_properties=[("a", "b")])
        message = client.receive()
        assert isinstance(message, Publish)
        assert (message.payload, message.qos) == (b"hello", 1)
    with pytest.raises(ValueError, match="topic"):
        endpoint.publish("my-topic/#", b"")


def test_an_operator_can_disconnect_a_device(endpoint: LocalEndpoint) -> None:
    with WireClient(endpoint) as client:
        client.connected()
        assert endpoint.disconnect("client_id") is True
        answer = client.receive()
        assert isinstance(answer, Disconnect)
        assert client.receive() is None
    assert endpoint.wait_for(events.Disconnected, timeout=5).reason == "API_INITIATED_DISCONNECT"
    assert endpoint.disconnect("client_id") is False
    with pytest.raises(ValueError, match="reason"):
        endpoint.disconnect("client_id", "BECAUSE")


def test_a_newcomer_with_the_same_client_id_takes_over(endpoint: LocalEndpoint) -> None:
    with WireClient(endpoint) as first, WireClient(endpoint) as second:
        first.connected()
        second.connected()
        answer = first.receive()
        assert isinstance(answer, Disconnect)
        assert answer.reason_code == 142
        assert first.receive() is None


def test_packets_that_come_with_connect_wait_for_the_authorizer_in_order(endpoint: LocalEndpoint) -> None:
    from iot_customauth_client.local.codec import ConnAck, Connect, encode

    version = Version.MQTT5
    ahead = [Publish("my-topic", b"%d" % number, 1, packet_id=number) for number in range(1, 51)]
    with WireClient(endpoint) as client:
        client.send(
            Connect(version, "client_id", username=USERNAME, password=b"pass01"),
            Subscribe(100, (SubscribeRequest("my-topic", 0),)),
            *ahead[:25],
        )
        for packet in ahead[25:]:
            client.send_bytes(encode(packet, version))
        answers = [client.receive() for _ in range(102)]
    assert isinstance(answers[0], ConnAck)
    assert isinstance(answers[1], SubAck)
    assert [each.payload for each in answers if isinstance(each, Publish)] == [each.payload for each in ahead]
    assert [each.packet_id for each in answers if isinstance(each, PubAck)] == list(range(1, 51))


@EITHER
def test_a_user_name_may_be_as_long_as_mqtt_allows(endpoint: LocalEndpoint, version: Version) -> None:
    username = "u" * (65_535 - len(USERNAME) + len("user01")) + USERNAME.removeprefix("user01")
    assert len(username) == 65_535
    with WireClient(endpoint, version) as client:
        client.connect(username=username)
    received = endpoint.wait_for(events.ConnectReceived, timeout=5)
    assert received.authorizer == AUTHORIZER
