"""Lifecycle events under $aws/events: who is told what of a client, and who is not."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from broker_driver import ACCOUNT, REGION, V5, V311, Driver, everything_but, only, statement
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.local import lifecycle
from iot_customauth_client.local.broker import Broker, DisconnectReason
from iot_customauth_client.local.broker_limits import BrokerLimits
from iot_customauth_client.local.codec import (
    ConnAck,
    Connect,
    Disconnect,
    Property,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    Unsubscribe,
    Version,
    Will,
)
from iot_customauth_client.local.connections import KICKS
from iot_customauth_client.local.events import Decided, Disconnected, Dropped, Published, Refused

BOTH = pytest.mark.parametrize("version", [V5, V311])
WATCHER = 100
CONNECTED = "$aws/events/presence/connected/"
DISCONNECTED = "$aws/events/presence/disconnected/"
CONNECT_FAILED = "$aws/events/presence/connect_failed/"
SUBSCRIBED = "$aws/events/subscriptions/subscribed/"
UNSUBSCRIBED = "$aws/events/subscriptions/unsubscribed/"
NOON = 1_700_000_000.25
REFUSED = everything_but("iot:Connect", "client/*")


def watched(*topic_filters: str, **settings: Any) -> Driver:
    """A broker with one client that has subscribed to lifecycle events."""
    driver = Driver(Broker(region=REGION, account=ACCOUNT, wall_time=lambda: NOON, **settings))
    driver.connect(WATCHER, client_id="watcher")
    driver.subscribe(WATCHER, *(topic_filters or ("$aws/events/#",)))
    driver.received(WATCHER)
    return driver


def told(driver: Driver) -> list[tuple[str, dict[str, Any]]]:
    """Take what the watcher was told since the last call: the topic without its prefix, and the event."""
    return [(message.topic, json.loads(message.payload)) for message in driver.received(WATCHER)]


def persistent(version: Version = V5, client_id: str = "device", *, seconds: int = 3_600) -> Connect:
    properties = {Property.SESSION_EXPIRY_INTERVAL: seconds} if version is V5 else {}
    return Connect(version, client_id, False, 1_200, properties=properties)


# -- what is told -----------------------------------------------------------------------------------------------------


@BOTH
def test_a_connection_is_told_with_the_fields_of_aws_in_their_order(version: Version) -> None:
    driver = watched()
    driver.connect(1, version=version, client_id="device", source_ip="192.0.2.7")
    ((topic, event),) = told(driver)
    assert topic == CONNECTED + "device"
    assert list(event.items()) == [
        ("clientId", "device"),
        ("timestamp", 1_700_000_000_250),
        ("eventType", "connected"),
        ("sessionIdentifier", event["sessionIdentifier"]),
        ("principalIdentifier", "principal"),
        ("ipAddress", "192.0.2.7"),
        ("versionNumber", 0),
    ]
    assert str(UUID(event["sessionIdentifier"])) == event["sessionIdentifier"]


@BOTH
def test_the_end_of_a_connection_is_told_with_the_fields_of_aws_in_their_order(version: Version) -> None:
    driver = watched()
    driver.connect(1, version=version, client_id="device")
    ((_, connected),) = told(driver)
    driver.receive(1, Disconnect())
    ((topic, event),) = told(driver)
    assert topic == DISCONNECTED + "device"
    assert list(event.items()) == [
        ("clientId", "device"),
        ("timestamp", 1_700_000_000_250),
        ("eventType", "disconnected"),
        ("sessionIdentifier", connected["sessionIdentifier"]),
        ("principalIdentifier", "principal"),
        ("clientInitiatedDisconnect", True),
        ("disconnectReason", "CLIENT_INITIATED_DISCONNECT"),
        ("versionNumber", 0),
    ]


@BOTH
def test_granted_filters_are_told_and_refused_ones_are_not(version: Version) -> None:
    driver = watched(refused_subscribe_311="suback")
    driver.connect(1, version=version, client_id="device", policy=everything_but("iot:Subscribe", "topicfilter/no"))
    ((_, connected),) = told(driver)
    driver.subscribe(1, "a/+", "no", "$share/g/b")
    ((topic, event),) = told(driver)
    assert topic == SUBSCRIBED + "device"
    assert list(event.items()) == [
        ("clientId", "device"),
        ("timestamp", 1_700_000_000_250),
        ("eventType", "subscribed"),
        ("sessionIdentifier", connected["sessionIdentifier"]),
        ("principalIdentifier", "principal"),
        ("topics", ["a/+", "$share/g/b"]),
    ]
    driver.subscribe(1, "no")
    assert told(driver) == []


@BOTH
def test_removed_filters_are_told_and_others_are_not(version: Version) -> None:
    driver = watched()
    driver.connect(1, version=version, client_id="device")
    driver.subscribe(1, "a", "b")
    told(driver)
    driver.receive(1, Unsubscribe(8, ("a", "never")))
    ((topic, event),) = told(driver)
    assert topic == UNSUBSCRIBED + "device"
    assert (event["eventType"], event["topics"]) == ("unsubscribed", ["a"])
    assert set(event) == {
        "clientId",
        "timestamp",
        "eventType",
        "sessionIdentifier",
        "principalIdentifier",
        "topics",
    }
    driver.receive(1, Unsubscribe(9, ("a", "never")))
    assert told(driver) == []


@pytest.mark.parametrize(
    ("denied", "will"),
    [(("iot:Connect", "client/*"), None), (("iot:Publish", "topic/gone"), Will("gone", b"x"))],
)
@BOTH
def test_a_client_that_may_not_connect_or_not_with_its_will_is_told(
    version: Version, denied: tuple[str, str], will: Will | None
) -> None:
    driver = watched()
    packet = Connect(version, "device", True, 60, will=will)
    driver.connect(1, packet, policy=everything_but(*denied), source_ip="2001:db8::1")
    assert len(driver.of(Refused)) == 1
    ((topic, event),) = told(driver)
    assert topic == CONNECT_FAILED + "device"
    assert list(event.items()) == [
        ("clientId", "device"),
        ("timestamp", 1_700_000_000_250),
        ("eventType", "connect_failed"),
        ("connectFailureReason", "AUTHORIZATION_FAILED"),
        ("principalIdentifier", "principal"),
        ("sessionIdentifier", event["sessionIdentifier"]),
        ("ipAddress", "2001:db8::1"),
    ]


@BOTH
def test_other_refusals_of_a_connect_are_not_told(version: Version) -> None:
    driver = watched()
    driver.connect(1, Connect(version, "$reserved", True, 60))
    driver.connect(2, Connect(version, "device", True, 60, will=Will("a", b"x", 2)))
    driver.versions[3] = version
    driver.carry_out(driver.broker.refuse(3, Connect(version, "device"), cause="not_authenticated", explanation="no"))
    assert len(driver.of(Refused)) == 3
    assert told(driver) == []


def test_the_address_is_left_out_if_it_is_not_known() -> None:
    driver = watched()
    driver.connect(1, source_ip=None)
    ((_, event),) = told(driver)
    assert "ipAddress" not in event


def test_a_topic_alias_shortens_no_event_for_others() -> None:
    driver = Driver()
    driver.connect(WATCHER, Connect(V5, "watcher", True, 60, properties={Property.TOPIC_ALIAS_MAXIMUM: 8}))
    driver.subscribe(WATCHER, CONNECTED + "#")
    driver.connect(1, client_id="device")
    (message,) = driver.received(WATCHER)
    assert message.properties == {Property.TOPIC_ALIAS: 1}


# -- the end, in AWS's words ------------------------------------------------------------------------------------------


def _leaves(driver: Driver) -> None:
    driver.receive(1, Disconnect())


def _closes_its_websocket(driver: Driver) -> None:
    driver.carry_out(driver.broker.left(1, "it closed", now=driver.now, at=driver.at))
    driver.close(1)


def _publishes_what_it_may_not(driver: Driver) -> None:
    driver.publish(1, "forbidden")


def _connects_twice(driver: Driver) -> None:
    driver.receive(1, Connect(V5, "device"))


def _is_lost(driver: Driver) -> None:
    driver.close(1)


def _is_taken_over(driver: Driver) -> None:
    driver.connect(2, client_id="device")


def _is_silent(driver: Driver) -> None:
    driver.receive(WATCHER, Publish("keeps/alive", b""))
    driver.now += 89
    driver.receive(WATCHER, Publish("keeps/alive", b""))
    driver.wait(1)


def _is_over(driver: Driver) -> None:
    driver.advance(900)


def _does_not_acknowledge(driver: Driver) -> None:
    driver.subscribe(1, "flood")
    for _ in range(103):
        driver.publish(WATCHER, "flood", qos=1)


def _is_shut_down(driver: Driver) -> None:
    driver.carry_out(driver.broker.shut_down(1, now=driver.now, at=driver.at))


def _is_revoked(driver: Driver) -> None:
    driver.carry_out(driver.broker.revoke(1, "asked again", now=driver.now, at=driver.at))


def _websocket_is_old(driver: Driver) -> None:
    word = DisconnectReason.WEBSOCKET_TTL_EXPIRATION
    driver.carry_out(driver.broker.end(1, word, "24 hours", now=driver.now, at=driver.at))


@pytest.mark.parametrize(
    ("happening", "word"),
    [
        (_leaves, "CLIENT_INITIATED_DISCONNECT"),
        (_closes_its_websocket, "CLIENT_INITIATED_DISCONNECT"),
        (_publishes_what_it_may_not, "AUTH_ERROR"),
        (_is_revoked, "AUTH_ERROR"),
        (_connects_twice, "CLIENT_ERROR"),
        (_is_lost, "CONNECTION_LOST"),
        (_is_taken_over, "DUPLICATE_CLIENTID"),
        (_is_silent, "MQTT_KEEP_ALIVE_TIMEOUT"),
        (_is_over, "CUSTOMAUTH_TTL_EXPIRATION"),
        (_does_not_acknowledge, "THROTTLED"),
        (_is_shut_down, "SERVER_INITIATED_DISCONNECT"),
        (_websocket_is_old, "WEBSOCKET_TTL_EXPIRATION"),
    ],
)
def test_the_reason_of_an_end_is_told_and_every_other_end_than_the_clients_own_publishes_the_will(
    happening: Any, word: str
) -> None:
    driver = watched(DISCONNECTED + "device", "gone", limits=BrokerLimits(max_queued_messages=2))
    packet = Connect(V5, "device", True, 60, will=Will("gone", b"will"))
    driver.connect(1, packet, life=900, policy=everything_but("iot:Publish", "topic/forbidden"))
    happening(driver)
    messages = driver.received(WATCHER)
    (event,) = [json.loads(message.payload) for message in messages if message.topic == DISCONNECTED + "device"]
    by_client = word == "CLIENT_INITIATED_DISCONNECT"
    assert (event["disconnectReason"], event["clientInitiatedDisconnect"]) == (word, by_client)
    assert [message.topic for message in messages].count("gone") == (0 if by_client else 1)
    assert [each.reason for each in driver.of(Disconnected) if each.client_id == "device"] == [word]


@pytest.mark.parametrize("word", sorted(KICKS))
def test_every_word_that_an_operator_gives_is_told(word: str) -> None:
    driver = watched(DISCONNECTED + "device")
    driver.connect(1, client_id="device")
    driver.carry_out(driver.broker.disconnect("device", word, now=driver.now, at=driver.at))
    ((_, event),) = told(driver)
    assert (event["disconnectReason"], event["clientInitiatedDisconnect"]) == (word, False)


def test_a_disconnect_of_mqtt_5_that_asks_for_the_will_is_the_clients_own_all_the_same() -> None:
    driver = watched(DISCONNECTED + "device", "gone")
    driver.connect(1, Connect(V5, "device", True, 60, will=Will("gone", b"will")))
    driver.receive(1, Disconnect(4))
    messages = {message.topic: message.payload for message in driver.received(WATCHER)}
    assert messages["gone"] == b"will"
    assert json.loads(messages[DISCONNECTED + "device"])["clientInitiatedDisconnect"] is True


# -- version numbers and session identifiers --------------------------------------------------------------------------


def test_each_connection_has_its_own_session_identifier_and_the_next_version_number() -> None:
    driver = watched("$aws/events/presence/#")
    for number in (1, 2):
        driver.connect(number, client_id="device")
        driver.receive(number, Disconnect())
    driver.connect(3, client_id="another")
    events = [event for _, event in told(driver)]
    assert [event["versionNumber"] for event in events] == [0, 0, 1, 1, 0]
    assert len({event["sessionIdentifier"] for event in events}) == 3


def test_a_takeover_is_the_next_version_and_its_disconnect_has_the_old_one() -> None:
    driver = watched("$aws/events/presence/#")
    driver.connect(1, client_id="device")
    driver.connect(2, client_id="device")
    assert [(event["eventType"], event["versionNumber"]) for _, event in told(driver)] == [
        ("connected", 0),
        ("disconnected", 0),
        ("connected", 1),
    ]


@pytest.mark.parametrize(
    ("packet", "seconds"),
    [
        (Connect(V5, "device", True, 1_200), 3_600),
        (Connect(V311, "device", True, 1_200), 3_600),
        (persistent(seconds=100), 100),
        (persistent(V311), 7_200),
    ],
)
def test_the_version_number_begins_again_after_an_hour_or_the_life_of_the_session(
    packet: Connect, seconds: int
) -> None:
    driver = watched(CONNECTED + "device", session_expiry_seconds=7_200)
    driver.connect(1, packet)
    driver.close(1)
    driver.advance(seconds - 1)
    driver.connect(2, packet)
    driver.close(2)
    driver.advance(seconds)
    driver.connect(3, packet)
    assert [event["versionNumber"] for _, event in told(driver)] == [0, 1, 0]


def test_no_more_version_numbers_are_kept_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_MAX_KEPT_VERSIONS", 2)
    driver = watched("$aws/events/presence/connected/+")
    for number, client_id in enumerate(("a", "b", "c", "a", "c"), start=1):
        driver.connect(number, client_id=client_id)
        driver.receive(number, Disconnect())
    versions = [(event["clientId"], event["versionNumber"]) for _, event in told(driver)]
    assert versions == [("a", 0), ("b", 0), ("c", 0), ("a", 0), ("c", 1)]


# -- who is told ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client_id", ["a+b", "+", "#", "a/#", "a#"])
def test_a_client_id_with_a_wildcard_has_no_events(client_id: str) -> None:
    driver = watched()
    driver.connect(1, client_id=client_id)
    driver.subscribe(1, "a")
    driver.receive(1, Unsubscribe(8, ("a",)))
    driver.receive(1, Disconnect())
    driver.connect(2, client_id=client_id, policy=REFUSED)
    assert told(driver) == []


def test_an_assigned_client_id_has_events_two_levels_down() -> None:
    driver = watched(CONNECTED + "+", CONNECTED + "$GEN/+", new_uuid=lambda: "uuid-1")
    driver.connect(1, Connect(V5, "", True, 60))
    assert [(topic, event["clientId"]) for topic, event in told(driver)] == [(CONNECTED + "$GEN/uuid-1", "$GEN/uuid-1")]


def test_a_client_without_an_id_of_its_own_that_may_not_connect_is_not_told() -> None:
    driver = watched()
    driver.connect(1, Connect(V5, "", True, 60), policy=REFUSED)
    assert told(driver) == []


def test_the_longest_client_id_with_only_slashes_has_events() -> None:
    driver = watched(CONNECTED + "#")
    driver.connect(1, client_id="/" * 128)
    ((topic, _),) = told(driver)
    assert topic == CONNECTED + "/" * 128


def test_events_need_a_subscription_and_receive_on_the_literal_topic() -> None:
    driver = Driver()
    topicfilter, topic = "topicfilter/$aws/events/presence/*", f"topic/{CONNECTED}device"
    allow = [statement("Allow", "iot:Connect", "client/*"), statement("Allow", "iot:Subscribe", topicfilter)]
    driver.connect(1, client_id="may-not-receive", policy=allow)
    driver.connect(2, client_id="may", policy=[*allow, statement("Allow", "iot:Receive", topic)])
    driver.connect(3, client_id="has-not-subscribed")
    driver.subscribe(3, "#", "+/events/presence/connected/device")
    refused = driver.subscribe(2, SUBSCRIBED + "device")
    assert only(refused, SubAck).reason_codes == (135,)
    for number in (1, 2):
        driver.subscribe(number, CONNECTED + "+")
    driver.connect(4, client_id="device")
    assert [driver.topics(number) for number in (1, 2, 3)] == [[], [CONNECTED + "device"], []]
    denied = [each for each in driver.of(Decided) if each.action == "iot:Receive"]
    assert [(each.client_id, each.allowed) for each in denied] == [("may-not-receive", False)]


def test_a_client_is_told_of_its_own_subscription_after_its_suback() -> None:
    driver = Driver()
    driver.connect(1, client_id="device")
    answers = driver.subscribe(1, SUBSCRIBED + "device")
    assert [type(packet) for packet in answers] == [SubAck, Publish]
    driver.received(1)
    driver.receive(1, Unsubscribe(8, (SUBSCRIBED + "device",)))
    assert driver.received(1) == []


def test_a_resumed_client_is_told_of_its_own_connection_after_what_was_stored() -> None:
    driver = Driver()
    driver.connect(1, persistent())
    driver.subscribe(1, "a", "$aws/events/presence/#")
    driver.close(1)
    driver.connect(2, client_id="publisher")
    driver.publish(2, "a", qos=1)
    driver.received(3)
    driver.connect(3, persistent())
    assert driver.topics(3) == [DISCONNECTED + "device", CONNECTED + "publisher", "a", CONNECTED + "device"]


def test_an_event_has_quality_1_is_not_retained_and_causes_no_other() -> None:
    driver = watched()
    driver.connect(1, client_id="device")
    (message,) = driver.received(WATCHER)
    assert (message.qos, message.retain, message.properties) == (1, False, {})
    driver.receive(WATCHER, PubAck(message.packet_id or 0))
    assert driver.received(WATCHER) == []
    driver.subscribe(1, message.topic)
    assert driver.topics(1) == []
    published = [each for each in driver.of(Published) if each.topic.startswith("$aws/events/")]
    assert [(each.connection, each.client_id, each.retain) for each in published][:1] == [(None, "", False)]


def test_nothing_is_made_of_what_nobody_subscribed_to() -> None:
    driver = Driver()
    driver.connect(1)
    driver.subscribe(1, "$aws/events/presence/connected/somebody", "#")
    driver.connect(2, client_id="device")
    driver.subscribe(2, "a")
    driver.receive(2, Disconnect())
    assert driver.of(Published) == []


def test_events_wait_for_a_session_and_go_to_one_member_of_a_group() -> None:
    driver = Driver()
    driver.connect(1, persistent(client_id="watcher"))
    driver.subscribe(1, CONNECTED + "+")
    driver.close(1)
    for number in (2, 3):
        driver.connect(number)
        driver.subscribe(number, f"$share/group/{CONNECTED}+")
    driver.received(2)
    driver.connect(4, client_id="device")
    assert driver.topics(2) + driver.topics(3) == [CONNECTED + "device"]
    driver.connect(5, persistent(client_id="watcher"))
    assert driver.topics(5)[-2:] == [CONNECTED + "device", CONNECTED + "watcher"]


def test_events_count_for_the_rates_of_their_subscriber() -> None:
    driver = watched("$aws/events/presence/#", quotas="aws")
    driver.now += 1
    for number in range(1, 103):
        driver.connect(number, client_id=f"device-{number}") if number != WATCHER else None
        driver.acknowledge(WATCHER)
    assert len(driver.received(WATCHER)) == 100
    assert {each.cause for each in driver.of(Dropped)} == {"delivery_rate"}


def test_a_watcher_that_does_not_acknowledge_is_ended_by_events_as_by_other_messages() -> None:
    driver = watched(CONNECTED + "+", limits=BrokerLimits(max_queued_messages=3))
    for number in range(1, 111):
        if number != WATCHER:
            driver.connect(number)
    assert [each.reason for each in driver.of(Disconnected)] == ["THROTTLED"]
    assert driver.disconnects(WATCHER) == [151]


@given(st.lists(st.sampled_from(["connect", "leave", "lose", "subscribe", "unsubscribe", "refuse"]), max_size=20))
def test_the_events_of_a_client_fit_together_whatever_it_does(steps: list[str]) -> None:
    driver = watched()
    number = 0
    live = False
    for step in steps:
        match step:
            case "connect":
                number += 1
                driver.connect(number, client_id="device")
                live = True
            case "refuse":
                driver.connect(1_000 + number + len(driver.events), client_id="device", policy=REFUSED)
            case "leave" if live:
                driver.receive(number, Disconnect())
                live = False
            case "lose" if live:
                driver.close(number)
                live = False
            case "subscribe" if live:
                driver.receive(number, Subscribe(7, (SubscribeRequest("a", 0),)))
            case "unsubscribe" if live:
                driver.receive(number, Unsubscribe(8, ("a",)))
        driver.acknowledge(WATCHER)
    current: str | None = None
    versions: list[int] = []
    for topic, event in told(driver):
        assert topic.endswith(f"/{event['eventType']}/device")
        session = event["sessionIdentifier"]
        match event["eventType"]:
            case "connected":
                assert current is None
                current = session
                versions.append(event["versionNumber"])
            case "disconnected":
                assert (session, event["versionNumber"]) == (current, versions[-1])
                current = None
            case "connect_failed":
                assert session != current
            case _:
                assert session == current
    assert (current is not None) == live
    assert versions == list(range(len(versions)))


def test_connack_comes_before_everything_that_a_connection_is_told() -> None:
    driver = Driver()
    packet = persistent()
    driver.connect(1, packet)
    driver.subscribe(1, CONNECTED + "#")
    driver.close(1)
    answers = driver.connect(2, packet)
    assert [type(answer) for answer in answers] == [ConnAck, Publish]
