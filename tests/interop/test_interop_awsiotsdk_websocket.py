"""The AWS SDK's builders for custom authentication over WebSocket, as people have them, with a password or a token.

They go as in test_interop_awsiotsdk.py: by the endpoint's HTTP CONNECT, under a name of the service, to port 443. The
credentials travel in CONNECT; of the signature, the SDK leaves each `/` as it is, and encodes `+` and `=`.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any
from urllib.parse import quote

import pytest
from awscrt import exceptions, http, mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder
from client_support import AWS_HOSTNAME, REFERENCE_AUTHORIZER, REFERENCE_FILE, WAIT

from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events
from iot_customauth_client.signing import KeyPair, generate_key_pair, sign_token

pytest_plugins = ("client_support",)

BOTH_BUILDERS = pytest.mark.parametrize("protocol", ["mqtt5", "mqtt311"])
COUNTERS = [b'{"counter": %d}' % number for number in range(3)]
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
Arguments = Mapping[str, Any]


class Door:
    """An authorizer function that knows one token, and counts its calls."""

    def __init__(self) -> None:
        self.keys: KeyPair = generate_key_pair()
        self.token = next(
            token
            for token in (f"device-{number}" for number in count())
            if {"+", "/", "="} <= set(sign_token(token, self.keys.private_pem))
        )
        self.calls: list[Mapping[str, Any]] = []

    def __call__(self, event: Mapping[str, Any], context: object) -> dict[str, object]:
        self.calls.append(event)
        known = event["signatureVerified"] is True and event["token"] == self.token
        return {"isAuthenticated": known, "principalId": "Signed", "policyDocuments": [POLICY]}

    def arguments(self, token: str, *, signature_of: str | None = None, encoded: bool = False) -> Arguments:
        """What the builders want for a signed token."""
        signature = sign_token(signature_of or token, self.keys.private_pem)
        return {
            "auth_username": "",
            "auth_authorizer_name": "signed",
            "auth_authorizer_signature": quote(signature, safe="") if encoded else signature,
            "auth_token_key_name": "token",
            "auth_token_value": token,
        }


@pytest.fixture(scope="module")
def door() -> Door:
    return Door()


@pytest.fixture(scope="module")
def reference(door: Door) -> Iterator[LocalEndpoint]:
    """An endpoint with the authorizer of the reference flow, and one for signed tokens."""
    authorizers = {
        REFERENCE_AUTHORIZER: LocalAuthorizer(REFERENCE_FILE, signing_disabled=True),
        "signed": LocalAuthorizer(door, token_key_name="token", public_keys=(door.keys.public_pem,)),
    }
    with LocalEndpoint(authorizers, hostnames=("localhost", AWS_HOSTNAME)) as endpoint:
        yield endpoint


def with_password(password: str) -> Arguments:
    return {"auth_username": "user01", "auth_password": password, "auth_authorizer_name": REFERENCE_AUTHORIZER}


def as_the_service(endpoint: LocalEndpoint) -> Arguments:
    """The service's name and port, which only the endpoint's HTTP CONNECT knows."""
    proxy = http.HttpProxyOptions(host_name="127.0.0.1", port=endpoint.port)
    return {"endpoint": AWS_HOSTNAME, "http_proxy_options": proxy}


def as_it_is(endpoint: LocalEndpoint) -> Arguments:
    """The endpoint's own name and port: over WebSocket the builders take a port."""
    return {"endpoint": "localhost", "port": endpoint.port}


class Device311:
    """The connection of the MQTT 3.1.1 builder."""

    def __init__(self, endpoint: LocalEndpoint, way: Arguments, credentials: Arguments) -> None:
        self.received: queue.Queue[bytes] = queue.Queue()
        self.connection: mqtt.Connection = mqtt_connection_builder.websockets_with_custom_authorizer(
            client_id="client_id", ca_filepath=str(endpoint.ca_file), **way, **credentials
        )

    def connect(self) -> BaseException | None:
        """Connect; return what went wrong, or `None`."""
        error: BaseException | None = self.connection.connect().exception(WAIT)
        return error

    def subscribe(self) -> None:
        future, _ = self.connection.subscribe(
            "my-topic", mqtt.QoS.AT_LEAST_ONCE, lambda topic, payload, **_: self.received.put(payload)
        )
        assert future.result(WAIT)["qos"] == mqtt.QoS.AT_LEAST_ONCE

    def publish(self, payload: bytes) -> None:
        self.connection.publish("my-topic", payload, mqtt.QoS.AT_LEAST_ONCE)[0].result(WAIT)

    def stop(self) -> None:
        self.connection.disconnect().result(WAIT)


class Device5:
    """The client of the MQTT 5 builder."""

    def __init__(self, endpoint: LocalEndpoint, way: Arguments, credentials: Arguments) -> None:
        self.received: queue.Queue[bytes] = queue.Queue()
        self._connected: queue.Queue[BaseException | None] = queue.Queue()
        self._stopped: queue.Queue[Any] = queue.Queue()
        self.refusal: mqtt5.ConnackPacket | None = None
        self.client: mqtt5.Client = mqtt5_client_builder.websockets_with_custom_authorizer(
            client_id="client_id",
            ca_filepath=str(endpoint.ca_file),
            on_lifecycle_connection_success=lambda data: self._connected.put(None),
            on_lifecycle_connection_failure=self._failed,
            on_lifecycle_stopped=self._stopped.put,
            on_publish_received=lambda data: self.received.put(data.publish_packet.payload),
            **way,
            **credentials,
        )

    def _failed(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        self.refusal = data.connack_packet
        self._connected.put(data.exception)

    def connect(self) -> BaseException | None:
        """Connect; return what went wrong, or `None`."""
        self.client.start()
        return self._connected.get(timeout=WAIT)

    def subscribe(self) -> None:
        packet = mqtt5.SubscribePacket(subscriptions=[mqtt5.Subscription("my-topic", mqtt5.QoS.AT_LEAST_ONCE)])
        granted = self.client.subscribe(packet).result(WAIT)
        assert granted.reason_codes == [mqtt5.SubackReasonCode.GRANTED_QOS_1]

    def publish(self, payload: bytes) -> None:
        packet = mqtt5.PublishPacket(topic="my-topic", payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        acknowledged = self.client.publish(packet).result(WAIT)
        assert acknowledged.puback.reason_code == mqtt5.PubackReasonCode.SUCCESS

    def stop(self) -> None:
        self.client.stop(mqtt5.DisconnectPacket())
        self._stopped.get(timeout=WAIT)


DEVICES: dict[str, Callable[..., Device311 | Device5]] = {"mqtt311": Device311, "mqtt5": Device5}


def carries_three_messages(device: Device311 | Device5) -> None:
    assert device.connect() is None
    device.subscribe()
    for payload in COUNTERS:
        device.publish(payload)
        assert device.received.get(timeout=WAIT) == payload
    device.stop()


def is_refused(device: Device311 | Device5) -> None:
    """Insist on the refusal as each version tells it: MQTT 3.1.1 on this service has no word for it."""
    error = device.connect()
    assert isinstance(error, exceptions.AwsCrtError)
    if isinstance(device, Device5):
        assert device.refusal is not None
        assert device.refusal.reason_code == mqtt5.ConnectReasonCode.NOT_AUTHORIZED
        device.stop()


def only_refusal(endpoint: LocalEndpoint, before: int) -> events.Refused:
    """Return why, and insist that nothing else was refused."""
    refused = endpoint.wait_for(events.Refused, after=before, timeout=WAIT)
    assert {event.cause for event in endpoint.events.since(before) if isinstance(event, events.Refused)} == {
        refused.cause
    }
    return refused


@BOTH_BUILDERS
@pytest.mark.parametrize("way", [as_the_service, as_it_is])
def test_the_websocket_builders_carry_messages_with_a_password(
    reference: LocalEndpoint, protocol: str, way: Callable[[LocalEndpoint], Arguments]
) -> None:
    before = reference.events.last_sequence
    carries_three_messages(DEVICES[protocol](reference, way(reference), with_password("pass01")))
    upgrade = reference.wait_for(events.HttpRequested, after=before, timeout=WAIT)
    assert (upgrade.method, upgrade.path, upgrade.query) == ("GET", "/mqtt", None)
    received = reference.wait_for(events.ConnectReceived, after=before, timeout=WAIT)
    assert received.protocol == protocol
    assert "SDK=" in (received.username or "")
    gone = reference.wait_for(events.Disconnected, after=before, timeout=WAIT)
    assert gone.reason == "CLIENT_INITIATED_DISCONNECT"


@BOTH_BUILDERS
def test_the_websocket_builders_are_refused_with_a_wrong_password(reference: LocalEndpoint, protocol: str) -> None:
    before = reference.events.last_sequence
    is_refused(DEVICES[protocol](reference, as_the_service(reference), with_password("wrong")))
    refused = only_refusal(reference, before)
    assert (refused.cause, refused.reason_code) == ("not_authenticated", 135 if protocol == "mqtt5" else None)


@BOTH_BUILDERS
@pytest.mark.parametrize("encoded", [False, True], ids=["encoded-by-the-sdk", "encoded-before"])
def test_a_signature_reaches_the_authorizer_as_the_websocket_builders_write_it(
    reference: LocalEndpoint, door: Door, protocol: str, encoded: bool
) -> None:
    credentials = door.arguments(door.token, encoded=encoded)
    carries_three_messages(DEVICES[protocol](reference, as_the_service(reference), credentials))
    seen = door.calls[-1]
    assert seen["protocols"] == ["tls", "http", "mqtt"]
    username = seen["protocolData"]["mqtt"]["username"]
    assert ("/" in username.partition("signature=")[2].partition("&")[0]) is not encoded


@BOTH_BUILDERS
def test_the_websocket_builders_are_refused_with_a_wrong_token(
    reference: LocalEndpoint, door: Door, protocol: str
) -> None:
    before, calls = reference.events.last_sequence, len(door.calls)
    is_refused(DEVICES[protocol](reference, as_the_service(reference), door.arguments("somebody-else")))
    assert only_refusal(reference, before).cause == "not_authenticated"
    assert len(door.calls) > calls


@BOTH_BUILDERS
def test_a_wrong_signature_of_the_websocket_builders_never_calls_the_function(
    reference: LocalEndpoint, door: Door, protocol: str
) -> None:
    before, calls = reference.events.last_sequence, len(door.calls)
    credentials = door.arguments(door.token, signature_of="another token")
    is_refused(DEVICES[protocol](reference, as_the_service(reference), credentials))
    assert only_refusal(reference, before).cause == "signature_invalid"
    assert len(door.calls) == calls
