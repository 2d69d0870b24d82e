"""The settings about connections, sessions and policies: each of their values, at the broker without sockets."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from broker_driver import ACCOUNT, EVERYTHING, REGION, V5, V311, Driver, everything_but, grant, only, statement

from iot_customauth_client.local.broker import Broker, DisconnectReason
from iot_customauth_client.local.choices import Choices
from iot_customauth_client.local.codec import (
    ConnAck,
    Connect,
    PingReq,
    Property,
    PubAck,
    Publish,
    Subscribe,
    SubscribeRequest,
    Version,
    Will,
)
from iot_customauth_client.local.effects import Grant
from iot_customauth_client.local.events import Decided, Disconnected, Published, SessionEnded

BOTH = pytest.mark.parametrize("version", [V5, V311])


def driver(**choices: Any) -> Driver:
    numbers = count(1)
    return Driver(
        Broker(region=REGION, account=ACCOUNT, choices=Choices(**choices), new_uuid=lambda: f"uuid-{next(numbers)}")
    )


def connect(version: Version = V5, *, will: bool = False, kept: bool = False, client_id: str = "device") -> Connect:
    properties: dict[Property, Any] = {Property.SESSION_EXPIRY_INTERVAL: 100} if kept and version is V5 else {}
    last = Will("gone", b"it is gone", 1) if will else None
    return Connect(version, client_id, not kept, 60, will=last, properties=properties)


# -- a refresh, and the end of a life ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("choice", "stays"), [("asked", False), ("not_asked", True)])
def test_whether_connect_is_asked_of_refreshed_policies(choice: str, stays: bool) -> None:
    d = driver(connect_after_refresh=choice)
    d.connect(1)
    d.carry_out(d.broker.regrant(1, grant(*everything_but("iot:Connect", "client/*")), now=d.now, at=d.at))
    assert (1 not in d.hung_up) is stays
    assert all(event.allowed for event in d.of(Decided)) is stays


@pytest.mark.parametrize(("choice", "told"), [(135, [135]), (152, [152]), ("hang_up", [])])
@pytest.mark.parametrize("denied_by", ["function", "policy"])
def test_the_code_of_a_failed_refresh(choice: object, told: list[int], denied_by: str) -> None:
    d = driver(failed_refresh_mqtt5=choice)
    d.connect(1)
    if denied_by == "function":
        d.carry_out(d.broker.revoke(1, "denied", now=d.now, at=d.at))
    else:
        d.carry_out(d.broker.regrant(1, grant(*everything_but("iot:Connect", "client/*")), now=d.now, at=d.at))
    assert d.hung_up == {1}
    assert d.disconnects(1) == told
    assert d.last(Disconnected).reason == "AUTH_ERROR"


@pytest.mark.parametrize(("choice", "told"), [(152, [152]), (135, [135]), ("hang_up", [])])
@pytest.mark.parametrize("reason", ["CUSTOMAUTH_TTL_EXPIRATION", "WEBSOCKET_TTL_EXPIRATION"])
def test_the_code_at_the_end_of_a_life(choice: object, told: list[int], reason: str) -> None:
    d = driver(end_of_life_mqtt5=choice)
    d.connect(1, life=300)
    end_life(d, reason)
    assert d.disconnects(1) == told
    assert d.last(Disconnected).reason == reason


@pytest.mark.parametrize("choice", [152, 135, "hang_up"])
def test_other_ends_have_the_same_code_whatever_is_chosen_for_a_life(choice: object) -> None:
    d = driver(end_of_life_mqtt5=choice, failed_refresh_mqtt5=choice)
    d.connect(1, client_id="device")
    d.carry_out(d.broker.disconnect("device", "API_INITIATED_DISCONNECT", now=d.now, at=d.at))
    assert d.disconnects(1) == [152]


def end_life(d: Driver, reason: str) -> None:
    if reason == "CUSTOMAUTH_TTL_EXPIRATION":
        d.advance(300)
    else:  # the endpoint counts the hours of a WebSocket
        d.carry_out(d.broker.end(1, DisconnectReason(reason), "24 hours", now=d.now, at=d.at))


@BOTH
@pytest.mark.parametrize("choice", [152, 135, "hang_up"])
@pytest.mark.parametrize("reason", ["CUSTOMAUTH_TTL_EXPIRATION", "WEBSOCKET_TTL_EXPIRATION"])
def test_the_will_is_published_at_the_end_of_a_life_whatever_is_told(
    version: Version, choice: object, reason: str
) -> None:
    d = driver(end_of_life_mqtt5=choice)
    d.connect(1, connect(version, will=True), life=300)
    end_life(d, reason)
    assert [event.topic for event in d.of(Published)] == ["gone"]


# -- what the policy denies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("choice", "stays"), [("disconnect", False), ("ignored", True)])
@pytest.mark.parametrize("retain", [True, False])
def test_a_denied_publish_of_qos_0(choice: str, stays: bool, retain: bool) -> None:
    d = driver(denied_publish_qos0_mqtt5=choice)
    denied = "iot:RetainPublish" if retain else "iot:Publish"
    d.connect(1, policy=everything_but(denied, "topic/secret"))
    d.publish(1, "secret", retain=retain)
    assert (1 not in d.hung_up) is stays
    assert d.of(Published) == []
    assert (d.last(Decided).action, d.last(Decided).allowed) == (denied, False)


@pytest.mark.parametrize("topic", ["a/" * 8, "$private"])
def test_a_publish_of_qos_0_to_a_topic_that_cannot_be_ends_the_connection_whatever_is_chosen(topic: str) -> None:
    d = driver(denied_publish_qos0_mqtt5="ignored")
    d.connect(1)
    d.publish(1, topic)
    assert d.hung_up == {1}


def test_mqtt_311_is_hung_up_on_for_a_denied_publish_whatever_is_chosen() -> None:
    d = driver(denied_publish_qos0_mqtt5="ignored")
    d.connect(1, version=V311, policy=everything_but("iot:Publish", "topic/secret"))
    d.publish(1, "secret")
    assert d.hung_up == {1}


@BOTH
@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize(("choice", "stays"), [("left_out", True), ("disconnect", False)])
def test_a_denied_delivery(version: Version, qos: int, choice: str, stays: bool) -> None:
    d = driver(denied_delivery=choice)
    d.connect(1, connect(version, will=True), policy=everything_but("iot:Receive", "topic/secret"))
    d.connect(2)
    d.subscribe(1, "secret", "open", qos=qos)
    d.subscribe(2, "secret", "gone", "open", qos=qos)
    d.publish(2, "secret", qos=qos)
    d.publish(2, "open", qos=qos)
    assert (1 not in d.hung_up) is stays
    assert d.topics(1) == (["open"] if stays else [])
    assert d.topics(2) == (["secret", "open"] if stays else ["secret", "gone", "open"])
    if not stays:
        ended = d.last(Disconnected)
        assert (ended.reason, ended.client_id) == ("AUTH_ERROR", "device")
        assert "receive from 'secret' is not allowed" in ended.explanation


def test_two_copies_that_may_not_be_received_end_the_connection_once() -> None:
    d = driver(denied_delivery="disconnect")
    d.connect(1, policy=everything_but("iot:Receive", "topic/secret"))
    d.subscribe(1, "secret", "+", "#")
    d.carry_out(d.broker.publish("secret", b"x", now=d.now, at=d.at))
    assert d.disconnects(1) == [135]
    assert len(d.of(Disconnected)) == 1


def test_a_stored_message_that_may_not_be_received_ends_the_connection_that_resumes_its_session() -> None:
    d = driver(denied_delivery="disconnect")
    d.connect(1, connect(kept=True))
    d.subscribe(1, "secret")
    d.close(1)
    d.carry_out(d.broker.publish("secret", b"x", qos=1, now=d.now, at=d.at))
    d.connect(2, connect(kept=True), policy=everything_but("iot:Receive", "topic/secret"))
    assert d.disconnects(2) == [135]
    assert 2 in d.hung_up


# -- overlapping filters, delayed wills --------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(("choice", "copies"), [("copy_for_each", [0, 1, 0]), ("one_copy", [1])])
def test_a_message_for_a_client_with_overlapping_filters(version: Version, choice: str, copies: list[int]) -> None:
    d = driver(overlapping_filters=choice)
    d.connect(1, connect(version))
    d.connect(2)
    for topic_filter, qos in (("#", 0), ("a/b", 1), ("a/+", 0)):
        d.subscribe(1, topic_filter, qos=qos)
    d.subscribe(1, "$share/group/a/b", qos=0)
    d.subscribe(2, "a/#", qos=0)
    d.carry_out(d.broker.publish("a/b", b"x", qos=1, now=d.now, at=d.at))
    assert sorted(message.qos for message in d.received(1)) == sorted([*copies, 0])  # the shared one comes as ever
    assert len(d.received(2)) == 1


def test_one_copy_comes_by_a_filter_that_takes_the_clients_own_messages() -> None:
    d = driver(overlapping_filters="one_copy")
    d.connect(1)
    d.receive(1, Subscribe(1, (SubscribeRequest("a", 1, no_local=True), SubscribeRequest("+", 0))))
    d.publish(1, "a")
    assert [message.qos for message in d.received(1)] == [0]


@pytest.mark.parametrize(("choice", "at_once"), [("honoured", 0), ("ignored", 1)])
def test_the_will_delay_of_a_kept_session(choice: str, at_once: int) -> None:
    d = driver(will_delay=choice)
    will = Will("gone", b"x", 1, properties={Property.WILL_DELAY_INTERVAL: 30})
    d.connect(1, Connect(V5, "device", will=will, properties={Property.SESSION_EXPIRY_INTERVAL: 100}))
    d.close(1)
    assert len(d.of(Published)) == at_once
    d.advance(30)
    assert len(d.of(Published)) == 1


# -- what policies can speak of ----------------------------------------------------------------------------------------


BY_THING: list[dict[str, object]] = [
    statement("Allow", "iot:Connect", "client/${iot:Connection.Thing.ThingName}"),
    {
        "Effect": "Allow",
        "Action": "iot:Connect",
        "Resource": "*",
        "Condition": {"Bool": {"iot:Connection.Thing.IsAttached": "true"}},
    },
    {
        "Effect": "Allow",
        "Action": "iot:Connect",
        "Resource": "*",
        "Condition": {"StringEquals": {"iot:Connection.Thing.ThingName": "device"}},
    },
]


@pytest.mark.parametrize("policy", BY_THING)
@pytest.mark.parametrize(("choice", "code"), [("no_value", 135), ("client_id", 0)])
def test_a_policy_by_the_name_of_a_thing(policy: dict[str, object], choice: str, code: int) -> None:
    d = driver(thing_name=choice)
    assert only(d.connect(1, connect(), policy=[policy]), ConnAck).reason_code == code
    if code == 0:
        d.carry_out(d.broker.regrant(1, grant(policy), now=d.now, at=d.at))
        assert not d.hung_up
        assert only(d.connect(2, connect(client_id="other"), policy=[BY_THING[2]]), ConnAck).reason_code == 135


@pytest.mark.parametrize(("server_name", "code"), [("a.example", 0), ("b.example", 135), (None, 135)])
def test_a_policy_by_the_domain_name(server_name: str | None, code: int) -> None:
    condition = {"Condition": {"StringEquals": {"iot:DomainName": "a.example"}}}
    granted = grant({**EVERYTHING, **condition}, statement("Allow", "iot:Publish", "topic/${iot:DomainName}"))
    d = driver()
    d.versions[1] = V5
    given_ = Grant(granted.principal_id, granted.policies, granted.source_ip, server_name=server_name)
    answer = only(d.carry_out(d.broker.connect(1, connect(), given_, now=d.now, at=d.at), 1), ConnAck)
    assert answer.reason_code == code


# -- CONNACK and sessions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("choice", "told"), [(149_504, 149_504), (131_072, 131_072), ("left_out", None)])
def test_the_maximum_packet_size_of_connack(choice: object, told: int | None) -> None:
    answer = only(driver(announced_packet_bytes=choice).connect(1), ConnAck)
    assert answer.properties.get(Property.MAXIMUM_PACKET_SIZE) == told


@BOTH
@pytest.mark.parametrize("choice", ["same", "new"])
def test_the_packet_id_of_a_message_that_is_sent_again(version: Version, choice: str) -> None:
    d = driver(packet_id_sent_again=choice)
    d.connect(1, connect(version, kept=True))
    d.subscribe(1, "t")
    for payload in (b"1", b"2", b"3"):
        d.carry_out(d.broker.publish("t", payload, qos=1, now=d.now, at=d.at))
    first = d.received(1)
    d.receive(1, PubAck(first[1].packet_id or 0))
    d.close(1)
    d.connect(2, connect(version, kept=True))
    again = d.received(2)
    assert [(each.payload, each.duplicate) for each in again] == [(b"1", False), (b"3", False)]
    if choice == "same":
        assert [each.packet_id for each in again] == [first[0].packet_id, first[2].packet_id]
    else:
        assert not {each.packet_id for each in again} & {each.packet_id for each in first}
    d.acknowledge(2)
    assert d.broker.sizes()["in_flight"] == 0
    d.close(2)
    d.connect(3, connect(version, kept=True))
    assert d.received(3) == []


def test_however_often_a_session_is_resumed_new_packet_ids_do_not_run_out() -> None:
    d = driver(packet_id_sent_again="new")
    d.connect(1, connect(kept=True))
    d.subscribe(1, "t")
    for number in range(100):
        d.carry_out(d.broker.publish("t", bytes([number]), qos=1, now=d.now, at=d.at))
    for number in range(2, 700):
        d.close(number - 1)
        d.connect(number, connect(kept=True))
    assert [each.payload for each in d.received(699)] == [bytes([number]) for number in range(100)]
    d.acknowledge(699)
    d.carry_out(d.broker.publish("t", b"new", qos=1, now=d.now, at=d.at))
    assert [each.payload for each in d.received(699)] == [b"new"]


@pytest.mark.parametrize("seconds", [0, 1, 1_800])
def test_a_session_may_be_kept_longer_than_its_expiry(seconds: int) -> None:
    for wait, present in ((99.9 + seconds, True), (100 + seconds, False)):
        d = driver(session_overtime_seconds=seconds)
        d.connect(1, connect(kept=True))
        d.close(1)
        d.advance(wait)
        answer = only(d.connect(2, connect(kept=True)), ConnAck)
        assert answer.session_present is present
        assert [event.cause for event in d.of(SessionEnded)] == ([] if present else ["expired"])


# -- idle --------------------------------------------------------------------------------------------------------------


def test_a_connection_is_idle_until_it_sends_something_else_than_a_ping() -> None:
    d = driver()
    d.connect(1)
    assert d.broker.was_idle(1)
    d.receive(1, PingReq())
    assert d.broker.was_idle(1)
    d.receive(1, Publish("t", b""))
    assert not d.broker.was_idle(1)
    d.receive(1, PingReq())
    assert not d.broker.was_idle(1)
    assert not d.broker.was_idle(2)
