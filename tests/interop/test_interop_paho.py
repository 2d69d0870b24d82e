"""`paho-mqtt` as people use it: an `ssl.SSLContext` with the endpoint's authority and ALPN `mqtt`."""

from __future__ import annotations

import queue
import ssl
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as paho
import pytest
from client_support import REFERENCE_AUTHORIZER, REFERENCE_FILE, WAIT
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events

pytest_plugins = ("client_support",)

VERSIONS = pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])


@pytest.fixture(scope="module")
def reference() -> Iterator[LocalEndpoint]:
    """An endpoint with the authorizer of the reference flow."""
    with LocalEndpoint({REFERENCE_AUTHORIZER: LocalAuthorizer(REFERENCE_FILE, signing_disabled=True)}) as endpoint:
        yield endpoint


class Device:
    """A paho client whose callbacks fill queues."""

    def __init__(self, endpoint: LocalEndpoint, version: MQTTProtocolVersion, password: str) -> None:
        self.connected: queue.Queue[Any] = queue.Queue()
        self.subscribed: queue.Queue[Any] = queue.Queue()
        self.received: queue.Queue[bytes] = queue.Queue()
        self.disconnected: queue.Queue[Any] = queue.Queue()
        self.client = client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="client_id", protocol=version, reconnect_on_failure=False
        )
        context = ssl.create_default_context(cafile=str(endpoint.ca_file))
        context.set_alpn_protocols(["mqtt"])
        client.tls_set_context(context)
        client.username_pw_set(f"user01?x-amz-customauthorizer-name={REFERENCE_AUTHORIZER}", password)
        client.on_connect = lambda client, userdata, flags, code, properties: self.connected.put(code)
        client.on_disconnect = lambda client, userdata, flags, code, properties: self.disconnected.put(code)
        client.on_subscribe = lambda client, userdata, mid, codes, properties: self.subscribed.put(codes)
        client.on_message = lambda client, userdata, message: self.received.put(message.payload)
        client.connect("localhost", endpoint.port, keepalive=60)
        client.loop_start()


@VERSIONS
def test_paho_connects_subscribes_publishes_and_receives(
    reference: LocalEndpoint, version: MQTTProtocolVersion
) -> None:
    before = reference.events.last_sequence
    device = Device(reference, version, "pass01")
    assert not device.connected.get(timeout=WAIT).is_failure
    device.client.subscribe("my-topic", qos=1)
    assert [code.value for code in device.subscribed.get(timeout=WAIT)] == [1]
    for number in range(3):
        published = device.client.publish("my-topic", f'{{"counter": {number}}}', qos=1)
        published.wait_for_publish(WAIT)
        assert published.is_published()
        assert device.received.get(timeout=WAIT) == b'{"counter": %d}' % number
    device.client.disconnect()
    device.client.loop_stop()
    connected = reference.wait_for(events.Connected, after=before, timeout=WAIT)
    assert connected.protocol == ("mqtt5" if version is MQTTProtocolVersion.MQTTv5 else "mqtt311")
    gone = reference.wait_for(events.Disconnected, after=before, timeout=WAIT)
    assert gone.reason == "CLIENT_INITIATED_DISCONNECT"


def test_paho_over_mqtt5_is_told_not_authorized_for_a_wrong_password(reference: LocalEndpoint) -> None:
    device = Device(reference, MQTTProtocolVersion.MQTTv5, "wrong")
    assert device.connected.get(timeout=WAIT).value == 135
    device.client.loop_stop()


def test_paho_over_mqtt311_is_hung_up_on_for_a_wrong_password(reference: LocalEndpoint) -> None:
    before = reference.events.last_sequence
    device = Device(reference, MQTTProtocolVersion.MQTTv311, "wrong")
    assert device.disconnected.get(timeout=WAIT).is_failure
    device.client.loop_stop()
    assert device.connected.empty()
    assert reference.wait_for(events.Refused, after=before, timeout=WAIT).reason_code is None
