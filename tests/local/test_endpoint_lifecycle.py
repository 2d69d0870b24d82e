"""Lifecycle events on real sockets: a watcher of our own client, and devices that come and go in every way."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest
from http_clients import NAME, HttpClient, WebSocketClient
from mqtt_wire import WireClient
from wsproto.events import CloseConnection

from iot_customauth_client import Connection, Credentials, ManualClock, Message, connect
from iot_customauth_client.local import Choices, LocalEndpoint, events
from iot_customauth_client.local.codec import (
    Connect,
    Disconnect,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    Unsubscribe,
    Version,
    Will,
)

WAIT = 10.0
USERNAME = f"device?{NAME}=gate"


def by_user(event: dict[str, Any], context: object) -> dict[str, object]:
    """Lets everybody do everything; `nobody` may not connect, `mute` may not publish, `brief` may not stay."""
    user = event["protocolData"].get("mqtt", {}).get("username", "").partition("?")[0]
    statements: list[dict[str, str]] = [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]
    denied = {"nobody": "iot:Connect", "mute": "iot:Publish"}.get(user)
    if denied:
        statements.append({"Effect": "Deny", "Action": denied, "Resource": "*"})
    return {
        "isAuthenticated": user != "stranger",
        "principalId": "Principal1",
        "disconnectAfterInSeconds": 300 if user == "brief" else 86_400,
        "refreshAfterInSeconds": 86_400,
        "policyDocuments": [{"Version": "2012-10-17", "Statement": statements}],
    }


class Watcher:
    """What the lifecycle events told, in their order."""

    def __init__(self, connection: Connection) -> None:
        self._messages: queue.Queue[Message] = queue.Queue()
        connection.subscribe("$aws/events/#", self._messages.put).wait_granted(WAIT)

    def next(self, topic: str) -> dict[str, Any]:
        """The next event about somebody else than the watcher, which must be this one."""
        while True:
            message = self._messages.get(timeout=WAIT)
            if not message.topic.endswith("/watcher"):
                break
        assert message.topic == f"$aws/events/{topic}"
        assert (message.qos, message.retain) == (1, False)
        event: dict[str, Any] = message.json()
        return event

    def ends(self, client_id: str) -> tuple[str, bool]:
        """Take the events of one connection that came and went; returns why it went, and whether by itself."""
        connected = self.next(f"presence/connected/{client_id}")
        event = self.next(f"presence/disconnected/{client_id}")
        for name in ("sessionIdentifier", "versionNumber", "principalIdentifier"):
            assert event[name] == connected[name]
        return event["disconnectReason"], event["clientInitiatedDisconnect"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def served(clock: ManualClock) -> Iterator[LocalEndpoint]:
    with LocalEndpoint({"gate": by_user}, default_authorizer="gate", clock=clock) as endpoint:
        yield endpoint


@pytest.fixture
def watcher(served: LocalEndpoint) -> Iterator[Watcher]:
    credentials = Credentials.from_password("watcher", "x", authorizer="gate")
    with connect(served.settings("watcher"), credentials=credentials, timeout=WAIT) as connection:
        yield Watcher(connection)


@pytest.mark.parametrize("version", [Version.MQTT5, Version.MQTT311])
def test_a_watcher_is_told_of_a_device_from_its_connect_to_its_disconnect(
    version: Version, served: LocalEndpoint, watcher: Watcher
) -> None:
    with WireClient(served, version) as device:
        device.connected(client_id="device", username=USERNAME)
        device.send(Subscribe(1, (SubscribeRequest("a", 0),)))
        assert isinstance(device.receive(), SubAck)
        device.send(Unsubscribe(2, ("a",)), Disconnect())
        connected = watcher.next("presence/connected/device")
        subscribed = watcher.next("subscriptions/subscribed/device")
        unsubscribed = watcher.next("subscriptions/unsubscribed/device")
        disconnected = watcher.next("presence/disconnected/device")
    assert connected["ipAddress"] == "127.0.0.1"
    assert connected["principalIdentifier"] == "Principal1"
    assert subscribed["topics"] == unsubscribed["topics"] == ["a"]
    assert disconnected["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"
    told = (connected, subscribed, unsubscribed, disconnected)
    assert len({event["sessionIdentifier"] for event in told}) == 1
    assert [event["timestamp"] for event in told] == sorted(event["timestamp"] for event in told)
    log = served.events.of_kind(events.Connected)[-1]
    assert abs(connected["timestamp"] / 1_000 - log.at.timestamp()) < 60


def test_every_way_to_end_has_its_word(served: LocalEndpoint, watcher: Watcher) -> None:
    def device(**fields: Any) -> WireClient:
        return WireClient(served).connected(client_id="device", username=fields.pop("username", USERNAME), **fields)

    with device():
        pass
    assert watcher.ends("device") == ("CONNECTION_LOST", False)
    with device() as client:
        client.send(Publish("$aws/events/presence/connected/device", b"{}"))
        assert watcher.ends("device") == ("CLIENT_ERROR", False)
    with device(username=f"mute?{NAME}=gate") as client:
        client.send(Publish("a", b"x"))
        assert watcher.ends("device") == ("AUTH_ERROR", False)
    with device(will=Will("gone", b"x")) as client:
        served.disconnect("device")
        assert watcher.ends("device") == ("API_INITIATED_DISCONNECT", False)
    with WebSocketClient(served) as socket:
        socket.send(Connect(Version.MQTT5, "device", username=USERNAME, will=Will("gone", b"x")))
        socket.receive()
        socket.send_event(CloseConnection(1000))
        assert watcher.ends("device") == ("CLIENT_INITIATED_DISCONNECT", True)
    with device(), device():
        assert watcher.ends("device") == ("DUPLICATE_CLIENTID", False)
        assert watcher.next("presence/connected/device")["versionNumber"] == 6
    assert watcher.next("presence/disconnected/device")["disconnectReason"] == "CONNECTION_LOST"
    assert [event.client_id for event in served.events.of_kind(events.Published) if event.topic == "gone"] == ["device"]


def test_the_end_of_an_authorizers_time_has_its_word(
    served: LocalEndpoint, watcher: Watcher, clock: ManualClock
) -> None:
    with WireClient(served).connected(client_id="device", username=f"brief?{NAME}=gate") as device:
        clock.advance(300)
        assert watcher.ends("device") == ("CUSTOMAUTH_TTL_EXPIRATION", False)
        assert isinstance(device.receive(), Disconnect)


def test_a_policy_that_denies_connect_is_told_and_a_function_that_does_is_not(
    served: LocalEndpoint, watcher: Watcher
) -> None:
    for user in ("stranger", "nobody"):
        with WireClient(served) as device:
            device.connect(client_id="device", username=f"{user}?{NAME}=gate")
    assert watcher.next("presence/connect_failed/device")["connectFailureReason"] == "AUTHORIZATION_FAILED"


def test_https_requests_have_no_lifecycle(served: LocalEndpoint, watcher: Watcher) -> None:
    client = HttpClient(served)
    assert client.post("/topics/a?qos=1", b"x").status == 200
    assert client.post("/topics/$aws/events/presence/connected/device?qos=1", b"{}").status == 400
    client.connection.close()
    with WireClient(served).connected(client_id="device", username=USERNAME):
        watcher.next("presence/connected/device")


def test_by_choice_a_client_stands_for_a_service() -> None:
    with (
        LocalEndpoint({"gate": by_user}, default_authorizer="gate", choices=Choices(reserved_topics="any")) as endpoint,
        WireClient(endpoint) as device,
        WireClient(endpoint) as shadows,
    ):
        device.connected(client_id="device", username=USERNAME)
        device.send(Subscribe(1, (SubscribeRequest("$aws/things/t/shadow/get/accepted", 0),)))
        assert isinstance(device.receive(), SubAck)
        shadows.connected(client_id="shadows", username=USERNAME)
        shadows.send(Publish("$aws/things/t/shadow/get/accepted", b"{}"))
        message = device.receive()
    assert isinstance(message, Publish)
    assert message.topic == "$aws/things/t/shadow/get/accepted"
