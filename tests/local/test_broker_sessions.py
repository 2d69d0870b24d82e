"""Sessions that outlive their connection: when they are kept and for how long, and what is stored meanwhile."""

from __future__ import annotations

import pytest
from broker_driver import ACCOUNT, REGION, V5, V311, Driver, everything_but, only
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.local.broker import Broker
from iot_customauth_client.local.broker_limits import BrokerLimits
from iot_customauth_client.local.choices import Choices
from iot_customauth_client.local.codec import (
    ConnAck,
    Connect,
    Disconnect,
    Property,
    PubAck,
    Publish,
    Subscribe,
    SubscribeRequest,
    Unsubscribe,
    Version,
)
from iot_customauth_client.local.events import Connected, Decided, Disconnected, Dropped, Queued, SessionEnded

BOTH = pytest.mark.parametrize("version", [V5, V311])


def persistent(
    version: Version = V5, *, clean_start: bool = False, expiry: int = 3600, client_id: str = "device", **given: int
) -> Connect:
    """A CONNECT that asks for a session; with MQTT 3.1.1 by clean session 0 alone."""
    properties = {Property[name.upper()]: value for name, value in given.items()}
    if version is V5:
        properties[Property.SESSION_EXPIRY_INTERVAL] = expiry
    return Connect(version, client_id, clean_start, 60, properties=properties)


def driven(version: Version = V5, *, broker: Broker | None = None, **given: int) -> Driver:
    """A device (1) that has a session and subscribed to `a`, and a publisher (9)."""
    driver = Driver(broker)
    driver.connect(1, persistent(version, **given))
    driver.subscribe(1, "a")
    driver.connect(9, Connect(V5, "publisher"))
    return driver


def resume(driver: Driver, number: int = 2, version: Version = V5, **given: int) -> bool:
    """Let the device come back; tells what CONNACK says about its session."""
    return only(driver.connect(number, persistent(version, **given)), ConnAck).session_present


def payloads(driver: Driver, number: int) -> list[bytes]:
    return [message.payload for message in driver.received(number)]


# -- begin, resume, end -----------------------------------------------------------------------------------------------


@BOTH
def test_a_session_is_resumed_with_its_subscriptions(version: Version) -> None:
    driver = driven(version)
    assert not driver.of(Connected)[0].session_present
    driver.close(1)
    assert resume(driver, version=version)
    assert driver.last(Connected).session_present
    driver.publish(9, "a")
    assert driver.topics(2) == ["a"]


@pytest.mark.parametrize(
    "packet",
    [
        persistent(V5, expiry=0),
        Connect(V5, "device", clean_start=False),
        Connect(V311, "device", clean_start=True),
    ],
)
def test_a_session_without_expiry_ends_with_its_connection(packet: Connect) -> None:
    driver = Driver()
    driver.connect(1, packet)
    driver.subscribe(1, "a")
    driver.close(1)
    assert driver.broker.sizes()["sessions"] == 0
    assert not only(driver.connect(2, persistent(packet.version)), ConnAck).session_present
    assert not driver.of(SessionEnded)


@BOTH
def test_a_clean_start_discards_the_session_and_what_was_stored(version: Version) -> None:
    driver = driven(version)
    driver.close(1)
    driver.publish(9, "a", qos=1)
    assert not only(driver.connect(2, persistent(version, clean_start=True)), ConnAck).session_present
    assert driver.last(SessionEnded).cause == "clean_start"
    driver.publish(9, "a", qos=1)
    assert driver.received(2) == []
    assert driver.broker.sizes()["queued"] == 0


@pytest.mark.parametrize(("before", "after"), [(V5, V311), (V311, V5)])
def test_the_sessions_of_the_two_versions_are_not_interchangeable(before: Version, after: Version) -> None:
    driver = driven(before)
    driver.close(1)
    driver.publish(9, "a", qos=1)
    assert not resume(driver, version=after)
    assert driver.received(2) == []
    assert driver.last(SessionEnded).cause == "other_version"
    driver.close(2)
    assert not resume(driver, 3, before)


@BOTH
def test_a_session_ends_when_its_expiry_has_passed(version: Version) -> None:
    driver = driven(version)
    driver.publish(9, "a", qos=1)
    driver.close(1)
    ends_at = driver.at + 3600
    assert driver.broker.next_at() == ends_at
    driver.advance(3599.9)
    assert driver.broker.sizes()["kept_sessions"] == 1
    driver.advance(0.1)
    assert driver.last(SessionEnded) == SessionEnded("device", "expired", "its client did not come back within 3600 s")
    sizes = driver.broker.sizes()
    assert sizes["sessions"] == 1
    assert sizes["subscriptions"] == sizes["queued"] == sizes["planned"] == 0
    assert not resume(driver, version=version)


def test_a_client_that_comes_too_late_finds_no_session_although_nobody_called_expire() -> None:
    driver = driven()
    driver.close(1)
    driver.at += 3600
    assert not resume(driver)


def test_the_expiry_begins_anew_with_each_connection() -> None:
    driver = driven()
    for number in (2, 3):
        driver.close(number - 1)
        driver.advance(3000)
        assert resume(driver, number)
    driver.advance(100_000)
    assert not driver.of(SessionEnded)


def test_real_time_does_not_end_a_session() -> None:
    driver = driven()
    driver.close(1)
    driver.now += 1_000_000
    driver.carry_out(driver.broker.expire(driver.now, driver.at))
    assert resume(driver)


def test_mqtt_5_gets_what_it_asks_for_up_to_the_maximum() -> None:
    driver = Driver(Broker(region=REGION, account="123456789012", session_expiry_seconds=100))
    driver.connect(1, persistent(expiry=60))
    assert only(driver.connect(2, persistent(expiry=200, client_id="other")), ConnAck).properties[
        Property.SESSION_EXPIRY_INTERVAL
    ] == 100  # fmt: skip
    driver.connect(3, persistent(V311, client_id="old"))
    for number in (1, 2, 3):
        driver.close(number)
    driver.advance(60)
    assert [event.client_id for event in driver.of(SessionEnded)] == ["device"]
    driver.advance(40)
    assert [event.client_id for event in driver.of(SessionEnded)] == ["device", "other", "old"]


@pytest.mark.parametrize("seconds", [0, -1, 604_801])
def test_the_account_cannot_keep_sessions_for_longer_than_the_service(seconds: int) -> None:
    with pytest.raises(ValueError, match="604800"):
        Broker(region=REGION, account="123456789012", session_expiry_seconds=seconds)


def test_a_resumed_session_lives_as_long_as_its_last_connect_says() -> None:
    driver = driven()
    driver.close(1)
    resume(driver, expiry=10)
    driver.close(2)
    driver.advance(10)
    assert driver.last(SessionEnded).cause == "expired"


def test_an_assigned_client_id_has_no_session_that_could_be_resumed() -> None:
    driver = Driver()
    answer = only(driver.connect(1, persistent(client_id="", expiry=60)), ConnAck)
    assert answer.properties[Property.SESSION_EXPIRY_INTERVAL] == 0
    driver.subscribe(1, "a")
    driver.close(1)
    assert driver.broker.sizes()["sessions"] == 0


@pytest.mark.parametrize(("told", "lives"), [(None, 60), (10, 10), (200, 100)])
def test_disconnect_may_change_the_expiry_of_a_session_that_has_one(told: int | None, lives: int) -> None:
    driver = Driver(Broker(region=REGION, account="123456789012", session_expiry_seconds=100))
    driver.connect(1, persistent(expiry=60))
    driver.receive(1, Disconnect(0, {} if told is None else {Property.SESSION_EXPIRY_INTERVAL: told}))
    assert driver.broker.next_at() == driver.at + lives


def test_an_expiry_of_0_in_disconnect_ends_the_session() -> None:
    driver = driven()
    driver.receive(1, Disconnect(0, {Property.SESSION_EXPIRY_INTERVAL: 0}))
    assert driver.last(SessionEnded).cause == "disconnect"
    assert not resume(driver)


def test_disconnect_cannot_begin_a_session() -> None:
    driver = driven(expiry=0)
    driver.receive(1, Disconnect(0, {Property.SESSION_EXPIRY_INTERVAL: 60}))
    assert driver.disconnects(1) == [130]
    assert driver.broker.sizes()["kept_sessions"] == 0


def test_the_session_that_was_left_first_makes_room() -> None:
    driver = Driver(Broker(region=REGION, account="123456789012", limits=BrokerLimits(max_kept_sessions=2)))
    for number in (1, 2, 3):
        driver.connect(number, persistent(client_id=f"device-{number}"))
    for number in (2, 1, 3):
        driver.close(number)
    ended = driver.last(SessionEnded)
    assert (ended.client_id, ended.cause) == ("device-2", "too_many")
    assert driver.broker.sizes()["kept_sessions"] == 2


def test_the_user_of_the_endpoint_can_delete_a_session() -> None:
    driver = driven()
    kick = {"reason": "API_INITIATED_DISCONNECT", "now": driver.now, "at": driver.at}
    driver.carry_out(driver.broker.disconnect("device", clean_session=True, **kick))  # type: ignore[arg-type]
    assert driver.disconnects(1) == [152]
    assert driver.last(SessionEnded).cause == "deleted"
    assert not resume(driver)
    driver.close(2)
    driver.carry_out(driver.broker.disconnect("device", **kick))  # type: ignore[arg-type]
    assert driver.broker.sizes()["kept_sessions"] == 1
    driver.carry_out(driver.broker.disconnect("device", clean_session=True, **kick))  # type: ignore[arg-type]
    assert driver.broker.sizes()["kept_sessions"] == 0


# -- what is stored ---------------------------------------------------------------------------------------------------


@BOTH
def test_qos_1_is_stored_while_the_client_is_away_and_qos_0_is_not(version: Version) -> None:
    driver = driven(version)
    driver.receive(1, Subscribe(7, (SubscribeRequest("b", 0),)))
    driver.close(1)
    driver.publish(9, "a", b"1", qos=1)
    driver.publish(9, "a", b"2", qos=0)
    driver.publish(9, "b", b"3", qos=1)
    driver.publish(9, "a", b"4", qos=1)
    assert driver.of(Queued) == [Queued("device", "a", "a", b"1"), Queued("device", "a", "a", b"4")]
    sent = driver.connect(2, persistent(version))
    assert isinstance(sent[0], ConnAck)
    messages = driver.received(2)
    assert [(each.payload, each.qos, each.duplicate) for each in messages] == [(b"1", 1, False), (b"4", 1, False)]


def test_what_was_stored_comes_once_however_often_the_client_comes_back() -> None:
    driver = driven()
    driver.close(1)
    driver.publish(9, "a", b"1", qos=1)
    resume(driver)
    assert payloads(driver, 2) == [b"1"]
    driver.acknowledge(2)
    driver.close(2)
    resume(driver, 3)
    assert driver.received(3) == []


@BOTH
def test_what_was_not_acknowledged_comes_again_first_without_dup_and_with_its_packet_id(version: Version) -> None:
    driver = driven(version)
    for number in range(4):
        driver.publish(9, "a", b"%d" % number, qos=1)
    sent = driver.received(1)
    driver.receive(1, PubAck(sent[1].packet_id or 0))
    driver.close(1)
    driver.publish(9, "a", b"4", qos=1)
    resume(driver, version=version)
    again = driver.received(2)
    assert [message.payload for message in again] == [b"0", b"2", b"3", b"4"]
    assert [message.packet_id for message in again[:3]] == [sent[0].packet_id, sent[2].packet_id, sent[3].packet_id]
    assert not any(message.duplicate for message in again)
    assert len({message.packet_id for message in again}) == 4


def test_the_window_holds_for_what_comes_again() -> None:
    driver = driven()
    for number in range(5):
        driver.publish(9, "a", b"%d" % number, qos=1)
    driver.close(1)
    resume(driver, receive_maximum=2)
    assert payloads(driver, 2) == [b"0", b"1"]
    driver.publish(9, "a", b"5", qos=1)
    driver.close(2)
    resume(driver, 3, receive_maximum=1)
    assert payloads(driver, 3) == [b"0"]
    driver.acknowledge(3)
    assert payloads(driver, 3) == [b"1", b"2", b"3", b"4", b"5"]


def test_new_messages_come_behind_those_that_were_stored() -> None:
    driver = driven()
    driver.close(1)
    for number in range(3):
        driver.publish(9, "a", b"%d" % number, qos=1)
    resume(driver, receive_maximum=1)
    driver.publish(9, "a", b"3", qos=1)
    driver.acknowledge(2)
    assert payloads(driver, 2) == [b"0", b"1", b"2", b"3"]


def test_what_was_queued_behind_the_window_is_kept_with_the_session() -> None:
    driver = driven(receive_maximum=1)
    for number in range(3):
        driver.publish(9, "a", b"%d" % number, qos=1)
    driver.close(1)
    resume(driver)
    assert payloads(driver, 2) == [b"0", b"1", b"2"]


def test_the_policy_is_asked_when_it_is_delivered_under_the_new_grant() -> None:
    driver = Driver()
    driver.connect(1, persistent(), policy=everything_but("iot:Receive", "topic/b"))
    driver.subscribe(1, "a", "b")
    driver.connect(9, Connect(V5, "publisher"))
    driver.close(1)
    driver.publish(9, "a", b"1", qos=1)
    driver.publish(9, "b", b"2", qos=1)
    driver.connect(2, persistent(), policy=everything_but("iot:Receive", "topic/a"))
    assert payloads(driver, 2) == [b"2"]
    denied = driver.last(Decided)
    assert (denied.connection, denied.action, denied.allowed) == (2, "iot:Receive", False)
    driver.acknowledge(2)
    assert driver.broker.sizes()["in_flight"] == driver.broker.sizes()["queued"] == 0


@pytest.mark.parametrize("limits", [BrokerLimits(max_queued_messages=2), BrokerLimits(max_queued_bytes=20)])
def test_newer_messages_are_dropped_when_the_store_is_full(limits: BrokerLimits) -> None:
    driver = driven(broker=Broker(region=REGION, account="123456789012", limits=limits))
    driver.close(1)
    for number in range(3):
        driver.publish(9, "a", b"%010d" % number, qos=1)
    dropped = driver.last(Dropped)
    assert (dropped.connection, dropped.client_id, dropped.cause) == (None, "device", "queue_full")
    resume(driver)
    assert payloads(driver, 2) == [b"0000000000", b"0000000001"]


def test_what_has_expired_makes_room_in_a_full_store() -> None:
    driver = driven(broker=Broker(region=REGION, account="123456789012", limits=BrokerLimits(max_queued_messages=2)))
    driver.close(1)
    expiring = {Property.MESSAGE_EXPIRY_INTERVAL: 10}
    driver.publish(9, "a", b"1", qos=1)
    driver.receive(9, Publish("a", b"2", 1, packet_id=9, properties=expiring))
    driver.at += 10
    driver.publish(9, "a", b"3", qos=1)
    assert driver.last(Dropped).cause == "expired"
    driver.publish(9, "a", b"4", qos=1)
    assert driver.last(Dropped).cause == "queue_full"
    resume(driver)
    assert payloads(driver, 2) == [b"1", b"3"]


def test_the_message_expiry_counts_down_while_it_is_stored() -> None:
    driver = driven()
    driver.close(1)
    for seconds in (10, 100):
        properties = {Property.MESSAGE_EXPIRY_INTERVAL: seconds}
        driver.receive(9, Publish("a", b"%d" % seconds, 1, packet_id=9, properties=properties))
    driver.now += 1_000
    driver.at += 30.5
    resume(driver)
    (message,) = driver.received(2)
    assert (message.payload, message.properties) == (b"100", {Property.MESSAGE_EXPIRY_INTERVAL: 69})
    assert (driver.last(Dropped).cause, driver.last(Dropped).payload) == ("expired", b"10")


def test_a_message_that_was_never_acknowledged_expires_too() -> None:
    driver = driven()
    driver.receive(9, Publish("a", b"x", 1, packet_id=9, properties={Property.MESSAGE_EXPIRY_INTERVAL: 10}))
    driver.close(1)
    driver.at += 10
    resume(driver)
    assert payloads(driver, 2) == []
    assert driver.broker.sizes()["in_flight"] == 0


def test_unsubscribing_ends_what_is_stored_from_then_on() -> None:
    driver = driven()
    driver.receive(1, Unsubscribe(8, ("a",)))
    driver.close(1)
    driver.publish(9, "a", qos=1)
    resume(driver)
    assert driver.received(2) == []


def test_a_retained_message_is_not_sent_again_for_a_subscription_that_was_resumed() -> None:
    driver = driven()
    driver.close(1)
    driver.publish(9, "a", b"kept", retain=True)
    resume(driver)
    assert driver.received(2) == []
    driver.receive(2, Subscribe(7, (SubscribeRequest("a", 1, retain_handling=1),)))
    assert driver.received(2) == []


def test_a_client_that_does_not_acknowledge_is_ended_and_keeps_its_session() -> None:
    driver = driven(
        broker=Broker(region=REGION, account="123456789012", limits=BrokerLimits(max_queued_messages=1)),
        receive_maximum=1,
    )
    for number in range(3):
        driver.publish(9, "a", b"%d" % number, qos=1)
    assert driver.last(Disconnected).reason == "THROTTLED"
    assert driver.last(Dropped).cause == "queue_full"
    assert resume(driver)
    driver.acknowledge(2)
    assert payloads(driver, 2) == [b"0", b"1"]


# -- takeover ---------------------------------------------------------------------------------------------------------


@BOTH
def test_a_takeover_resumes_the_session_of_the_old_connection(version: Version) -> None:
    driver = driven(version)
    driver.publish(9, "a", b"1", qos=1)
    assert resume(driver, version=version)
    assert driver.last(Disconnected).reason == "DUPLICATE_CLIENTID"
    assert payloads(driver, 2) == [b"1"]
    driver.publish(9, "a", b"2", qos=1)
    assert payloads(driver, 2) == [b"2"]


def test_a_takeover_of_a_clean_session_begins_a_new_one() -> None:
    driver = driven(expiry=0)
    assert not resume(driver)


def test_a_takeover_with_clean_start_ends_the_session_of_the_old_connection() -> None:
    driver = driven()
    driver.connect(2, persistent(clean_start=True))
    kinds = [event.kind for event in driver.events[-4:]]
    assert kinds == ["decided", "disconnected", "session_ended", "connected"]


# -- order ------------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from(["publish", "publish", "acknowledge", "leave", "come"]), max_size=50), st.integers(1, 3)
)
def test_every_message_arrives_in_order_and_again_only_if_it_was_not_acknowledged(
    steps: list[str], window: int
) -> None:
    driver = Driver()
    driver.connect(9, Connect(V5, "publisher"))
    number = 1
    driver.connect(number, persistent(receive_maximum=window))
    driver.subscribe(number, "a")
    published = 0
    arrived: list[int] = []  # on this connection, in their order
    acknowledged: list[int] = []
    there = True

    def look() -> None:
        arrived.extend(int(payload) for payload in payloads(driver, number))
        unacknowledged = arrived[len(arrived) - len(driver.unacknowledged[number]) :] if there else []
        assert arrived == sorted(set(arrived))
        assert acknowledged == sorted(set(acknowledged))
        assert not set(unacknowledged) & set(acknowledged)

    def acknowledge() -> None:
        packet_id = next(iter(driver.unacknowledged[number]))
        acknowledged.append(arrived[len(arrived) - len(driver.unacknowledged[number])])
        driver.receive(number, PubAck(packet_id))
        look()

    for step in [*steps, "come"]:
        if step == "publish":
            driver.publish(9, "a", b"%d" % published, qos=1)
            published += 1
        elif step == "acknowledge" and there and driver.unacknowledged[number]:
            acknowledge()
        elif step == "leave" and there:
            driver.close(number)
            there = False
        elif step == "come" and not there:
            number += 10
            arrived.clear()
            there = True
            assert resume(driver, number, receive_maximum=window)
        look()
    while driver.unacknowledged[number]:
        acknowledge()
    assert acknowledged == list(range(published))


def test_the_session_of_a_connection_that_a_refresh_ended_is_kept() -> None:
    driver = driven()
    driver.carry_out(driver.broker.revoke(1, "the authorizer denied it", now=driver.now, at=driver.at))
    driver.publish(9, "a", b"stored", qos=1)
    resume(driver)
    assert payloads(driver, 2) == [b"stored"]


# -- an hour without PUBACK -------------------------------------------------------------------------------------------


BOTH_IDENTIFIERS = pytest.mark.parametrize("choices", [Choices(), Choices(packet_id_sent_again="new")])


@pytest.mark.parametrize(("away", "comes_again"), [(3_599 - 600, True), (3_600 - 600, False)])
def test_what_was_not_acknowledged_for_an_hour_is_not_sent_again(away: int, comes_again: bool) -> None:
    driver = Driver(Broker(region=REGION, account=ACCOUNT, session_expiry_seconds=604_800))
    packet = Connect(V311, "device", False, 1_200)
    driver.connect(1, packet)
    driver.subscribe(1, "a")
    driver.connect(2)
    driver.publish(2, "a", b"sent", qos=1)
    driver.advance(600)
    driver.close(1)
    driver.publish(2, "a", b"stored", qos=1)
    driver.advance(away)
    driver.connect(3, packet)
    assert [message.payload for message in driver.received(3)] == ([b"sent"] if comes_again else []) + [b"stored"]
    assert [event.cause for event in driver.of(Dropped)] == ([] if comes_again else ["unacknowledged"])
    assert driver.broker.sizes()["in_flight"] == 1 + comes_again


@BOTH_IDENTIFIERS
def test_the_hour_counts_from_when_a_message_was_sent_first(choices: Choices) -> None:
    driver = Driver(Broker(region=REGION, account=ACCOUNT, session_expiry_seconds=604_800, choices=choices))
    packet = Connect(V311, "device", False, 1_200)
    driver.connect(1, packet)
    driver.subscribe(1, "a")
    driver.connect(2)
    driver.publish(2, "a", qos=1)
    for number in (3, 4):
        driver.advance(1_799)
        driver.connect(number, packet)
        assert len(driver.received(number)) == 1
    driver.advance(2)
    driver.connect(5, packet)
    assert driver.received(5) == []


@BOTH_IDENTIFIERS
@pytest.mark.parametrize(("waits", "comes_again"), [(3_598, True), (3_599, False)])
def test_what_waits_for_the_window_after_a_resumption_is_not_sent_again_after_the_hour_either(
    choices: Choices, waits: int, comes_again: bool
) -> None:
    driver = driven(broker=Broker(region=REGION, account=ACCOUNT, choices=choices), receive_maximum=3)
    for payload in (b"0", b"1", b"2"):
        driver.publish(9, "a", payload, qos=1)
    driver.close(1)
    driver.publish(9, "a", b"stored", qos=1)
    driver.advance(1)
    resume(driver, receive_maximum=1)
    assert payloads(driver, 2) == [b"0"]
    driver.advance(waits)
    driver.acknowledge(2)
    again = [b"1", b"2"]
    assert payloads(driver, 2) == (again if comes_again else []) + [b"stored"]
    lost = [event.payload for event in driver.of(Dropped) if event.cause == "unacknowledged"]
    assert lost == ([] if comes_again else again)
    assert driver.broker.sizes()["in_flight"] == driver.broker.sizes()["held_bytes"] == 0


def test_a_message_in_flight_keeps_its_place_in_the_window_however_old_it_is() -> None:
    driver = Driver()
    driver.connect(1, Connect(V5, "device", True, 1_200, properties={Property.RECEIVE_MAXIMUM: 1}))
    driver.subscribe(1, "a")
    for _ in range(2):
        driver.publish(1, "a", qos=1)
    driver.advance(7_200)
    assert len(driver.received(1)) == 1
    driver.acknowledge(1)
    assert len(driver.received(1)) == 1
