"""The AWS SDK as people have it: the builders of `awsiot`, and a bare `awscrt` connection as in the reference flow.

The builders insist on port 443, so they reach the endpoint by its HTTP CONNECT, under a name of the service. Their
metrics stay on: the SDK appends them to the user name, and an authorizer must get on with that.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from awscrt import exceptions, http, io, mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder
from client_support import AWS_HOSTNAME, REFERENCE_AUTHORIZER, REFERENCE_FILE, WAIT

from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events

pytest_plugins = ("client_support",)

COUNTERS = [b'{"counter": %d}' % number for number in range(3)]


@pytest.fixture(scope="module")
def reference() -> Iterator[LocalEndpoint]:
    """An endpoint with the authorizer of the reference flow."""
    authorizer = LocalAuthorizer(REFERENCE_FILE, signing_disabled=True)
    with LocalEndpoint({REFERENCE_AUTHORIZER: authorizer}, hostnames=("localhost", AWS_HOSTNAME)) as endpoint:
        yield endpoint


def direct(builder: Callable[..., Any], endpoint: LocalEndpoint, password: str, **more: Any) -> Any:
    return builder(
        endpoint=AWS_HOSTNAME,
        client_id="client_id",
        auth_username="user01",
        auth_password=password,
        auth_authorizer_name=REFERENCE_AUTHORIZER,
        ca_filepath=str(endpoint.ca_file),
        http_proxy_options=http.HttpProxyOptions(host_name="127.0.0.1", port=endpoint.port),
        **more,
    )


def carries_three_messages(connection: mqtt.Connection) -> None:
    received: queue.Queue[bytes] = queue.Queue()
    connection.connect().result(WAIT)
    future, _ = connection.subscribe(
        "my-topic", mqtt.QoS.AT_LEAST_ONCE, lambda topic, payload, **_: received.put(payload)
    )
    assert future.result(WAIT)["qos"] == mqtt.QoS.AT_LEAST_ONCE
    for payload in COUNTERS:
        connection.publish("my-topic", payload, mqtt.QoS.AT_LEAST_ONCE)[0].result(WAIT)
        assert received.get(timeout=WAIT) == payload
    connection.disconnect().result(WAIT)


def test_the_311_builder_connects_subscribes_publishes_and_receives(reference: LocalEndpoint) -> None:
    before = reference.events.last_sequence
    carries_three_messages(direct(mqtt_connection_builder.direct_with_custom_authorizer, reference, "pass01"))
    received = reference.wait_for(events.ConnectReceived, after=before, timeout=WAIT)
    assert received.protocol == "mqtt311"
    assert "SDK=" in (received.username or "")
    gone = reference.wait_for(events.Disconnected, after=before, timeout=WAIT)
    assert gone.reason == "CLIENT_INITIATED_DISCONNECT"


def test_the_311_builder_is_refused_with_a_wrong_password(reference: LocalEndpoint) -> None:
    before = reference.events.last_sequence
    connection = direct(mqtt_connection_builder.direct_with_custom_authorizer, reference, "wrong")
    with pytest.raises(exceptions.AwsCrtError):
        connection.connect().result(WAIT)
    assert reference.wait_for(events.Refused, after=before, timeout=WAIT).reason_code is None


class Mqtt5:
    """What the builder of MQTT 5 wants: callbacks, here as queues."""

    def __init__(self, endpoint: LocalEndpoint, password: str) -> None:
        self.connected: queue.Queue[Any] = queue.Queue()
        self.received: queue.Queue[bytes] = queue.Queue()
        self.stopped: queue.Queue[Any] = queue.Queue()
        self.client = direct(
            mqtt5_client_builder.direct_with_custom_authorizer,
            endpoint,
            password,
            on_lifecycle_connection_success=self.connected.put,
            on_lifecycle_connection_failure=self.connected.put,
            on_lifecycle_stopped=self.stopped.put,
            on_publish_received=lambda data: self.received.put(data.publish_packet.payload),
        )
        self.client.start()

    def stop(self) -> None:
        self.client.stop(mqtt5.DisconnectPacket())
        self.stopped.get(timeout=WAIT)


def test_the_mqtt5_builder_connects_subscribes_publishes_and_receives(reference: LocalEndpoint) -> None:
    before = reference.events.last_sequence
    device = Mqtt5(reference, "pass01")
    connected = device.connected.get(timeout=WAIT)
    assert isinstance(connected, mqtt5.LifecycleConnectSuccessData)
    assert connected.negotiated_settings.maximum_qos == mqtt5.QoS.AT_LEAST_ONCE
    subscribe = mqtt5.SubscribePacket(subscriptions=[mqtt5.Subscription("my-topic", mqtt5.QoS.AT_LEAST_ONCE)])
    assert device.client.subscribe(subscribe).result(WAIT).reason_codes == [mqtt5.SubackReasonCode.GRANTED_QOS_1]
    for payload in COUNTERS:
        packet = mqtt5.PublishPacket(topic="my-topic", payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        assert device.client.publish(packet).result(WAIT).puback.reason_code == mqtt5.PubackReasonCode.SUCCESS
        assert device.received.get(timeout=WAIT) == payload
    device.stop()
    received = reference.wait_for(events.ConnectReceived, after=before, timeout=WAIT)
    assert received.protocol == "mqtt5"
    assert "SDK=" in (received.username or "")


def test_the_mqtt5_builder_is_refused_with_a_wrong_password(reference: LocalEndpoint) -> None:
    device = Mqtt5(reference, "wrong")
    failed = device.connected.get(timeout=WAIT)
    assert isinstance(failed, mqtt5.LifecycleConnectFailureData)
    assert failed.connack_packet.reason_code == mqtt5.ConnectReasonCode.NOT_AUTHORIZED
    device.stop()


def bare(endpoint: LocalEndpoint, password: str) -> mqtt.Connection:
    """The device of the reference flow, with nothing but awscrt."""
    options = io.TlsContextOptions()
    options.override_default_trust_store_from_path(None, str(endpoint.ca_file))
    options.alpn_list = ["mqtt"]
    group = io.EventLoopGroup(1)
    bootstrap = io.ClientBootstrap(group, io.DefaultHostResolver(group))
    return mqtt.Connection(
        client=mqtt.Client(bootstrap, io.ClientTlsContext(options)),
        host_name="localhost",
        port=endpoint.port,
        client_id="client_id",
        username=f"user01?x-amz-customauthorizer-name={REFERENCE_AUTHORIZER}",
        password=password,
        keep_alive_secs=6,
        clean_session=True,
    )


def test_a_bare_awscrt_connection_as_in_the_reference_flow_works(reference: LocalEndpoint) -> None:
    before = reference.events.last_sequence
    carries_three_messages(bare(reference, "pass01"))
    assert reference.wait_for(events.ConnectReceived, after=before, timeout=WAIT).keep_alive_seconds == 6
    assert reference.wait_for(events.Connected, after=before, timeout=WAIT).keep_alive_seconds == 30


def test_a_bare_awscrt_connection_is_refused_with_a_wrong_password(reference: LocalEndpoint) -> None:
    with pytest.raises(exceptions.AwsCrtError, match=r"SOCKET_CLOSED|HANGUP"):
        bare(reference, "wrong").connect().result(WAIT)
