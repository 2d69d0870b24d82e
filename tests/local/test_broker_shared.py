"""Shared subscriptions: one member gets each message, and what happens when members come, go, or may not receive."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from broker_driver import ACCOUNT, ARN, REGION, V5, V311, Driver, everything_but, only
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.local.broker import Broker
from iot_customauth_client.local.broker_limits import BrokerLimits
from iot_customauth_client.local.codec import (
    Connect,
    Property,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    Unsubscribe,
    Version,
)
from iot_customauth_client.local.events import Decided, Disconnected, Dropped, Queued

BOTH = pytest.mark.parametrize("version", [V5, V311])
SHARED = "$share/group/a/#"


def taking_turns(**settings: Any) -> Broker:
    """A broker that chooses members one after the other instead of at random."""
    turns = count()
    return Broker(region=REGION, account=ACCOUNT, choose=lambda members: next(turns) % members, **settings)


def member(number: int, version: Version = V5, *, expiry: int = 0, window: int = 100) -> Connect:
    properties = {Property.SESSION_EXPIRY_INTERVAL: expiry, Property.RECEIVE_MAXIMUM: window} if version is V5 else {}
    return Connect(version, f"member-{number}", version is V311 and not expiry, 60, properties=properties)


def group(members: int = 2, version: Version = V5, *, broker: Broker | None = None, expiry: int = 0) -> Driver:
    """Members 1, 2 ... of one shared subscription of QoS 1, and a publisher (9)."""
    driver = Driver(broker or taking_turns())
    for number in range(1, members + 1):
        driver.connect(number, member(number, version, expiry=expiry))
        driver.subscribe(number, SHARED)
    driver.connect(9, Connect(V5, "publisher"))
    return driver


def publish(driver: Driver, *payloads: bytes, qos: int = 1) -> None:
    for payload in payloads:
        driver.publish(9, "a/b", payload, qos=qos)


def payloads(driver: Driver, number: int) -> list[bytes]:
    return [message.payload for message in driver.received(number)]


# -- one of them ------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("qos", [0, 1])
def test_each_message_goes_to_one_member(version: Version, qos: int) -> None:
    driver = group(3, version)
    publish(driver, b"1", b"2", b"3", b"4", qos=qos)
    assert [payloads(driver, number) for number in (1, 2, 3)] == [[b"1", b"4"], [b"2"], [b"3"]]


def test_the_member_is_chosen_at_random() -> None:
    driver = group(2, broker=Broker(region=REGION, account=ACCOUNT))
    publish(driver, *(b"%d" % number for number in range(100)))
    shares = [len(driver.received(number)) for number in (1, 2)]
    assert sum(shares) == 100
    assert min(shares) > 5


def test_members_of_both_versions_share() -> None:
    driver = group(1)
    driver.connect(2, member(2, V311))
    driver.subscribe(2, SHARED)
    publish(driver, b"1", b"2")
    assert (payloads(driver, 1), payloads(driver, 2)) == ([b"1"], [b"2"])


def test_each_group_and_each_other_subscription_gets_a_copy() -> None:
    driver = group(1)
    for number, topic_filter in enumerate(("$share/group/a/b", "$share/other/a/#", "a/#"), start=2):
        driver.connect(number, member(number))
        driver.subscribe(number, topic_filter)
    publish(driver, b"1")
    assert [payloads(driver, number) for number in (1, 2, 3, 4)] == [[b"1"]] * 4


def test_a_member_has_its_own_qos_and_options() -> None:
    driver = group(1)
    driver.receive(1, Subscribe(7, (SubscribeRequest(SHARED, 0, retain_as_published=True),)))
    driver.publish(9, "a/b", b"1", qos=1, retain=True)
    (message,) = driver.received(1)
    assert (message.qos, message.retain) == (0, True)


@BOTH
def test_a_retained_message_is_not_sent_for_a_shared_subscription(version: Version) -> None:
    driver = group(0)
    driver.publish(9, "a/b", b"kept", retain=True)
    driver.connect(1, member(1, version))
    driver.subscribe(1, "$share/group/a/b")
    assert driver.received(1) == []
    driver.publish(9, "a/b", b"live", retain=True)
    (message,) = driver.received(1)
    assert (message.payload, message.retain) == (b"live", False)


def test_the_policy_is_asked_about_the_filter_as_sent() -> None:
    driver = group(1)
    assert driver.of(Decided)[1].resource == f"{ARN}topicfilter/{SHARED}"
    driver = Driver()
    driver.connect(1, policy=everything_but("iot:Subscribe", "topicfilter/$share/*"))
    assert only(driver.subscribe(1, SHARED, "a/#"), SubAck).reason_codes == (135, 1)


def test_no_local_is_a_protocol_error() -> None:
    driver = group(1)
    driver.receive(1, Subscribe(7, (SubscribeRequest("$share/group/a", 1, no_local=True),)))
    assert driver.disconnects(1) == [130]
    assert "MQTT-3.8.3-4" in driver.last(Disconnected).explanation


@pytest.mark.parametrize(("version", "told"), [(V5, (151,)), (V311, None)])
def test_a_group_has_so_many_members(version: Version, told: tuple[int, ...] | None) -> None:
    driver = group(2, broker=taking_turns(limits=BrokerLimits(max_shared_members=2)))
    driver.connect(3, member(3, version))
    sent = driver.subscribe(3, SHARED)
    assert [packet.reason_codes for packet in sent if isinstance(packet, SubAck)] == ([] if told is None else [told])
    assert (3 in driver.hung_up) == (told is None)
    assert only(driver.subscribe(1, SHARED, qos=0), SubAck).reason_codes == (0,)


def test_shared_subscriptions_count_among_the_50() -> None:
    driver = group(1)
    for number in range(49):
        driver.subscribe(1, f"$share/{number}/a")
    assert only(driver.subscribe(1, "one more"), SubAck).reason_codes == (151,)


# -- may it -----------------------------------------------------------------------------------------------------------


def test_a_member_that_may_not_receive_is_passed_over_and_reported() -> None:
    driver = Driver(taking_turns())
    driver.connect(1, member(1), policy=everything_but("iot:Receive", "topic/a/*"))
    driver.connect(2, member(2))
    for number in (1, 2):
        driver.subscribe(number, SHARED)
    driver.connect(9)
    publish(driver, b"1", b"2")
    assert (payloads(driver, 1), payloads(driver, 2)) == ([], [b"1", b"2"])
    denied = [event for event in driver.of(Decided) if not event.allowed]
    assert {(event.connection, event.action) for event in denied} == {(1, "iot:Receive")}


# -- members that are away --------------------------------------------------------------------------------------------


@BOTH
def test_only_members_that_are_connected_are_chosen(version: Version) -> None:
    driver = group(2, version, expiry=100)
    driver.close(1)
    publish(driver, b"1", b"2")
    assert payloads(driver, 2) == [b"1", b"2"]
    driver.connect(3, member(1, version, expiry=100))
    assert driver.received(3) == []


@BOTH
def test_messages_wait_for_the_group_while_all_are_away(version: Version) -> None:
    driver = group(2, version, expiry=100)
    driver.close(1)
    driver.close(2)
    publish(driver, b"0", qos=0)
    publish(driver, b"1", b"2")
    assert driver.of(Queued) == [Queued("", SHARED, "a/b", b"1"), Queued("", SHARED, "a/b", b"2")]
    driver.connect(3, member(2, version, expiry=100))
    assert payloads(driver, 3) == [b"1", b"2"]
    assert driver.broker.sizes()["shared_waiting"] == 0


def test_a_new_member_gets_what_waits() -> None:
    driver = group(1, expiry=100)
    driver.close(1)
    publish(driver, b"1")
    driver.connect(3, member(3))
    sent = driver.subscribe(3, SHARED)
    assert [type(packet) for packet in sent] == [SubAck, Publish]


def test_nothing_waits_for_members_that_cannot_come_back() -> None:
    driver = group(2)
    driver.close(1)
    driver.close(2)
    publish(driver, b"1")
    assert not driver.of(Queued)
    sizes = driver.broker.sizes()
    assert sizes["shared_groups"] == sizes["filter_nodes"] == 0


def test_what_waits_ends_with_the_last_session_of_the_group() -> None:
    driver = group(1, expiry=100)
    driver.close(1)
    publish(driver, b"1")
    driver.advance(100)
    assert (driver.last(Dropped).cause, driver.last(Dropped).client_id) == ("no_member", "")
    sizes = driver.broker.sizes()
    assert sizes["shared_groups"] == sizes["shared_waiting"] == sizes["planned"] == 0


def test_what_waits_is_bounded_and_the_older_messages_stay() -> None:
    driver = group(1, broker=taking_turns(limits=BrokerLimits(max_queued_messages=2)), expiry=100)
    driver.close(1)
    publish(driver, b"1", b"2", b"3")
    assert (driver.last(Dropped).cause, driver.last(Dropped).payload) == ("queue_full", b"3")
    driver.connect(2, member(1, expiry=100))
    assert payloads(driver, 2) == [b"1", b"2"]


def test_what_waits_expires_with_its_message_expiry_or_after_the_longest_life_of_a_session() -> None:
    driver = group(1, broker=taking_turns(session_expiry_seconds=100), expiry=100)
    driver.close(1)
    publish(driver, b"1")
    driver.receive(9, Publish("a/b", b"2", 1, packet_id=9, properties={Property.MESSAGE_EXPIRY_INTERVAL: 30}))
    driver.receive(9, Publish("a/b", b"3", 1, packet_id=9, properties={Property.MESSAGE_EXPIRY_INTERVAL: 500}))
    driver.advance(50)
    driver.connect(2, Connect(V5, "late", properties={Property.RECEIVE_MAXIMUM: 1}))
    driver.subscribe(2, SHARED)
    assert payloads(driver, 2) == [b"1"]
    driver.advance(60)
    driver.acknowledge(2)
    (message,) = driver.received(2)
    assert (message.payload, message.properties) == (b"3", {Property.MESSAGE_EXPIRY_INTERVAL: 390})
    assert [event.payload for event in driver.of(Dropped)] == [b"2"]


def test_nothing_waits_for_members_that_subscribed_with_qos_0() -> None:
    driver = Driver(taking_turns())
    driver.connect(1, member(1, expiry=100))
    driver.subscribe(1, SHARED, qos=0)
    driver.connect(9)
    driver.close(1)
    publish(driver, b"1")
    assert not driver.of(Queued)
    assert driver.broker.sizes()["shared_waiting"] == 0


def test_what_waits_for_a_slow_member_expires_as_well() -> None:
    driver = Driver(taking_turns(session_expiry_seconds=100, limits=BrokerLimits(max_queued_messages=1)))
    driver.connect(1, member(1, expiry=100, window=1))
    driver.subscribe(1, SHARED)
    driver.connect(9)
    publish(driver, b"1", b"2", b"3")
    assert driver.broker.sizes()["shared_waiting"] == 1
    driver.advance(100)
    driver.acknowledge(1)
    assert payloads(driver, 1) == [b"1", b"2"]
    assert (driver.last(Dropped).cause, driver.last(Dropped).payload) == ("expired", b"3")


# -- members that leave -----------------------------------------------------------------------------------------------


@BOTH
def test_what_a_member_did_not_acknowledge_goes_to_another_one_at_once(version: Version) -> None:
    driver = group(2, version)
    publish(driver, b"1", b"2", b"3")
    driver.receive(1, PubAck(1))
    driver.received(2)
    driver.close(1)
    assert payloads(driver, 2) == [b"3"]


def test_what_the_last_member_did_not_acknowledge_waits_for_it_in_order() -> None:
    driver = group(1, expiry=100)
    publish(driver, b"1", b"2", b"3")
    driver.receive(1, PubAck(2))
    driver.close(1)
    publish(driver, b"4")
    driver.connect(2, member(1, expiry=100))
    assert payloads(driver, 2) == [b"1", b"3", b"4"]


def test_what_the_last_member_that_cannot_come_back_did_not_acknowledge_is_dropped() -> None:
    driver = group(1)
    publish(driver, b"1")
    driver.close(1)
    assert driver.last(Dropped).cause == "no_member"


def test_a_member_that_unsubscribes_gets_no_more() -> None:
    driver = group(2)
    driver.receive(1, Unsubscribe(8, (SHARED,)))
    publish(driver, b"1", b"2")
    assert (payloads(driver, 1), payloads(driver, 2)) == ([], [b"1", b"2"])
    driver.receive(2, Unsubscribe(8, (SHARED,)))
    publish(driver, b"3")
    sizes = driver.broker.sizes()
    assert sizes["shared_groups"] == sizes["subscriptions"] == sizes["filter_nodes"] == 0


def test_a_member_of_qos_0_needs_no_window() -> None:
    driver = Driver(taking_turns(limits=BrokerLimits(max_queued_messages=0)))
    driver.connect(1, member(1, window=1))
    driver.subscribe(1, "own")
    driver.subscribe(1, SHARED, qos=0)
    driver.connect(9)
    driver.publish(9, "own", b"0", qos=1)
    publish(driver, b"1", b"2")
    assert payloads(driver, 1) == [b"0", b"1", b"2"]


# -- members that are slow --------------------------------------------------------------------------------------------


def test_a_member_whose_window_is_open_is_preferred() -> None:
    driver = Driver(taking_turns())
    driver.connect(1, member(1, window=1))
    driver.connect(2, member(2))
    for number in (1, 2):
        driver.subscribe(number, SHARED)
    driver.connect(9)
    publish(driver, *(b"%d" % number for number in range(6)))
    assert len(driver.received(1)) == 1
    assert len(driver.received(2)) == 5


def test_without_an_open_window_a_member_queues_as_for_its_own_subscriptions() -> None:
    driver = Driver(taking_turns())
    driver.connect(1, member(1, window=1))
    driver.subscribe(1, SHARED)
    driver.connect(9)
    publish(driver, b"1", b"2", b"3")
    assert payloads(driver, 1) == [b"1"]
    driver.acknowledge(1)
    assert payloads(driver, 1) == [b"2", b"3"]


def test_a_group_whose_members_have_no_room_ends_none_of_them() -> None:
    driver = Driver(taking_turns(limits=BrokerLimits(max_queued_messages=1)))
    for number in (1, 2):
        driver.connect(number, member(number, window=1))
        driver.subscribe(number, SHARED)
    driver.connect(9)
    publish(driver, *(b"%d" % number for number in range(6)))
    assert not driver.hung_up
    assert driver.broker.sizes()["shared_waiting"] == 1
    assert (driver.last(Dropped).cause, driver.last(Dropped).payload) == ("queue_full", b"5")
    driver.acknowledge(1)
    driver.acknowledge(2)
    assert sorted(payloads(driver, 1) + payloads(driver, 2)) == [b"0", b"1", b"2", b"3", b"4"]


def test_a_member_that_is_ended_for_being_slow_leaves_its_messages_to_the_others() -> None:
    driver = Driver(taking_turns(limits=BrokerLimits(max_queued_messages=1)))
    for number in (1, 2):
        driver.connect(number, member(number, window=1))
        driver.subscribe(number, SHARED)
    driver.connect(9)
    publish(driver, b"1", b"2", b"3", b"4")
    driver.subscribe(1, "own")
    driver.publish(9, "own", b"too much", qos=1)
    assert [event.client_id for event in driver.of(Disconnected)] == ["member-1"]
    driver.acknowledge(2)
    assert sorted(payloads(driver, 2)) == [b"1", b"2", b"3", b"4"]


@given(st.lists(st.tuples(st.sampled_from(["publish", "come", "go", "acknowledge"]), st.integers(1, 3)), max_size=40))
def test_no_message_of_a_group_with_a_session_is_lost(steps: list[tuple[str, int]]) -> None:
    driver = Driver()
    driver.connect(9, Connect(V5, "publisher"))
    connections = {number: number for number in (1, 2, 3)}
    there = dict.fromkeys(connections, True)
    for number in connections:
        driver.connect(number, member(number, expiry=1_000, window=2))
        driver.subscribe(number, SHARED)
    received: dict[int, list[bytes]] = {}
    acknowledged: list[bytes] = []
    published = 0

    def acknowledge(number: int) -> None:
        connection = connections[number]
        received.setdefault(connection, []).extend(payloads(driver, connection))
        waiting = driver.unacknowledged[connection]
        acknowledged.append(received[connection][len(received[connection]) - len(waiting)])
        driver.receive(connection, PubAck(next(iter(waiting))))
        received[connection].extend(payloads(driver, connection))

    for step, number in [*steps, *(("come", number) for number in connections)]:
        if step == "publish":
            publish(driver, b"%d" % published)
            published += 1
        elif step == "come" and not there[number]:
            connections[number] += 10
            driver.connect(connections[number], member(number, expiry=1_000, window=2))
            there[number] = True
        elif step == "go" and there[number]:
            driver.close(connections[number])
            there[number] = False
        elif step == "acknowledge" and there[number] and driver.unacknowledged[connections[number]]:
            acknowledge(number)
    while any(driver.unacknowledged[connections[number]] for number in connections):
        for number in connections:
            while driver.unacknowledged[connections[number]]:
                acknowledge(number)
    assert sorted(acknowledged) == sorted(b"%d" % number for number in range(published))
