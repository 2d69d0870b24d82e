"""Deliveries: who gets what with which QoS, the window of QoS 1, the queue behind it, properties on the way."""

from __future__ import annotations

import pytest
from broker_driver import ARN, REGION, V5, V311, Driver, everything_but
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.local.broker import Broker
from iot_customauth_client.local.broker_limits import BrokerLimits
from iot_customauth_client.local.codec import (
    Connect,
    Properties,
    Property,
    PubAck,
    Publish,
    Subscribe,
    SubscribeRequest,
    Version,
    encode,
)
from iot_customauth_client.local.events import Acknowledged, Decided, Disconnected, Dropped

BOTH = pytest.mark.parametrize("version", [V5, V311])


def connected(version: Version = V5, *, broker: Broker | None = None, **properties: int) -> Driver:
    """A driver with a subscriber of `a` (1), which may have CONNECT properties, and a publisher (2)."""
    driver = Driver(broker)
    given = {Property[name.upper()]: value for name, value in properties.items()}
    driver.connect(1, Connect(version, "subscriber", properties=given))
    driver.subscribe(1, "a")
    driver.connect(2)
    return driver


def payloads(driver: Driver) -> list[bytes]:
    return [message.payload for message in driver.received(1)]


@pytest.mark.parametrize(("published", "subscribed", "delivered"), [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 1)])
def test_the_lesser_qos_holds(published: int, subscribed: int, delivered: int) -> None:
    driver = Driver()
    driver.connect(1)
    driver.subscribe(1, "a", qos=subscribed)
    driver.publish(1, "a", qos=published)
    (message,) = driver.received(1)
    assert message.qos == delivered
    assert (message.packet_id is None) == (delivered == 0)


def test_overlapping_filters_deliver_one_copy_each_with_their_own_qos() -> None:
    driver = Driver()
    driver.connect(1)
    driver.subscribe(1, "a/+", qos=0)
    driver.subscribe(1, "a/#", "a/b", qos=1)
    driver.publish(1, "a/b", qos=1)
    assert sorted(message.qos for message in driver.received(1)) == [0, 1, 1]


def test_a_filter_with_hash_does_not_take_its_parent() -> None:
    driver = Driver()
    driver.connect(1)
    driver.subscribe(1, "sensor/#")
    driver.publish(1, "sensor")
    driver.publish(1, "sensor/1")
    assert driver.topics(1) == ["sensor/1"]


def test_wildcards_do_not_take_reserved_topics() -> None:
    driver = Driver()
    driver.connect(1)
    topic = "$aws/things/t/shadow/get"
    driver.subscribe(1, "#", "+/things/t/shadow/get", "$aws/things/+/shadow/get")
    driver.publish(1, topic)
    assert driver.topics(1) == [topic]


def test_no_local_leaves_out_what_the_client_published_itself() -> None:
    driver = Driver()
    driver.connect(1)
    driver.connect(2)
    driver.receive(1, Subscribe(7, (SubscribeRequest("a", 0, no_local=True),)))
    driver.publish(1, "a")
    assert driver.received(1) == []
    driver.publish(2, "a")
    assert driver.topics(1) == ["a"]


@BOTH
def test_a_delivery_that_is_not_allowed_is_left_out_and_the_connection_stays(version: Version) -> None:
    driver = Driver()
    driver.connect(1, version=version, policy=everything_but("iot:Receive", "topic/a/secret"))
    driver.subscribe(1, "a/#")
    driver.connect(2)
    driver.subscribe(2, "a/#")
    driver.publish(2, "a/secret", qos=1)
    driver.publish(2, "a/open", qos=1)
    assert driver.topics(1) == ["a/open"]
    assert driver.topics(2) == ["a/secret", "a/open"]
    decision = driver.last(Decided)
    assert (decision.connection, decision.action, decision.allowed) == (1, "iot:Receive", False)
    assert decision.resource == f"{ARN}topic/a/secret"
    assert not driver.hung_up


# -- the window -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("receive_maximum", "window"), [(None, 100), (3, 3), (1, 1), (65_535, 100)])
def test_no_more_than_the_window_is_unacknowledged(receive_maximum: int | None, window: int) -> None:
    driver = connected() if receive_maximum is None else connected(receive_maximum=receive_maximum)
    for number in range(window + 5):
        driver.publish(2, "a", b"%d" % number, qos=1)
    assert payloads(driver) == [b"%d" % number for number in range(window)]
    assert driver.broker.sizes()["queued"] == 5


def test_an_acknowledgement_lets_the_next_message_out_in_order() -> None:
    driver = connected(receive_maximum=2)
    for number in range(4):
        driver.publish(2, "a", b"%d" % number, qos=1)
    first, second = driver.received(1)
    assert first.packet_id is not None
    assert second.packet_id is not None
    sent = driver.receive(1, PubAck(second.packet_id))
    assert [packet.payload for packet in sent if isinstance(packet, Publish)] == [b"2"]
    assert driver.last(Acknowledged) == Acknowledged(1, "subscriber", second.packet_id)
    driver.receive(1, PubAck(first.packet_id))
    assert payloads(driver) == [b"2", b"3"]
    assert driver.broker.sizes()["queued"] == 0


def test_qos_0_does_not_wait_for_the_window() -> None:
    driver = connected(receive_maximum=1)
    driver.publish(2, "a", b"1", qos=1)
    driver.publish(2, "a", b"2", qos=1)
    driver.publish(2, "a", b"3", qos=0)
    assert payloads(driver) == [b"1", b"3"]


def test_a_refusing_puback_frees_the_window_too() -> None:
    driver = connected(receive_maximum=1)
    driver.publish(2, "a", b"1", qos=1)
    driver.publish(2, "a", b"2", qos=1)
    driver.receive(1, PubAck(1, 0x80))
    assert payloads(driver) == [b"1", b"2"]


def test_a_puback_that_nothing_waits_for_is_ignored() -> None:
    driver = connected(receive_maximum=1)
    driver.publish(2, "a", b"1", qos=1)
    driver.publish(2, "a", b"2", qos=1)
    driver.receive(1, PubAck(77))
    assert payloads(driver) == [b"1"]
    assert not driver.of(Acknowledged)
    assert not driver.hung_up


def test_packet_identifiers_go_round_and_leave_out_those_in_flight() -> None:
    driver = connected(receive_maximum=2)
    driver.publish(2, "a", qos=1)
    (held,) = driver.received(1)
    seen = set()
    for _ in range(65_540):
        driver.publish(2, "a", qos=1)
        (message,) = driver.received(1)
        assert message.packet_id is not None
        seen.add(message.packet_id)
        driver.receive(1, PubAck(message.packet_id))
        driver.events.clear()
    assert held.packet_id == 1
    assert seen == set(range(2, 65_536))


# -- the queue --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "fits"), [(BrokerLimits(max_queued_messages=3), 3), (BrokerLimits(max_queued_bytes=25), 2)]
)
@pytest.mark.parametrize(("version", "told"), [(V5, [151]), (V311, [])])
def test_a_client_that_does_not_acknowledge_is_ended_when_its_queue_is_full(
    version: Version, told: list[int], limits: BrokerLimits, fits: int
) -> None:
    driver = connected(version, broker=Broker(region=REGION, account="123456789012", limits=limits))
    for number in range(100 + fits):
        driver.publish(2, "a", b"%010d" % number, qos=1)
    assert not driver.hung_up
    driver.publish(2, "a", b"%010d" % 1, qos=1)
    assert driver.hung_up == {1}
    assert driver.disconnects(1) == told
    ended = driver.last(Disconnected)
    assert (ended.reason, ended.client_id) == ("THROTTLED", "subscriber")
    assert f"100 messages unacknowledged and {fits} more waiting" in ended.explanation
    driver.publish(2, "a", qos=1)
    assert driver.broker.sizes()["queued"] == 0


def test_a_hundred_thousand_messages_wait_for_a_client_and_one_more_ends_it() -> None:
    driver = connected()
    message = Publish("a", b"x", 1, packet_id=9)
    for _ in range(100):
        driver.receive(2, message)
    for _ in range(100_000):  # past the driver, whose checks would take several times as long
        assert len(driver.broker.receive(2, message, now=driver.now, at=driver.at)) == 2  # published, and its PUBACK
    driver.receive(2, message)
    assert driver.hung_up == {1}
    assert driver.disconnects(1) == [151]


def test_a_burst_that_waits_for_a_slow_client_reaches_it_whole_and_in_order() -> None:
    driver = connected()
    for number in range(20_000):
        driver.publish(2, "a", b"%d" % number, qos=1)
    driver.acknowledge(1)
    assert [int(payload) for payload in payloads(driver)] == list(range(20_000))
    assert driver.broker.sizes()["queued"] == 0


def test_a_client_whose_overlapping_filters_fill_its_queue_is_ended_once() -> None:
    driver = connected(broker=Broker(region=REGION, account="123456789012", limits=BrokerLimits(max_queued_messages=0)))
    driver.subscribe(1, "+", "#")
    for _ in range(34):
        driver.publish(2, "a", qos=1)
    assert [event.reason for event in driver.of(Disconnected)] == ["THROTTLED"]


def test_a_payload_over_the_bound_of_the_queue_is_sent_if_the_window_is_open() -> None:
    driver = connected(broker=Broker(region=REGION, account="123456789012", limits=BrokerLimits(max_queued_bytes=1)))
    driver.publish(2, "a", b"larger than the bound", qos=1)
    assert payloads(driver) == [b"larger than the bound"]


def test_a_message_that_expires_in_the_queue_is_dropped() -> None:
    driver = connected(receive_maximum=1)
    driver.publish(2, "a", b"1", qos=1)
    for payload, expiry in ((b"2", 5), (b"3", 6)):
        properties = {Property.MESSAGE_EXPIRY_INTERVAL: expiry}
        driver.receive(2, Publish("a", payload, 1, packet_id=9, properties=properties))
    driver.received(1)
    driver.at += 5.5
    driver.receive(1, PubAck(1))
    (message,) = driver.received(1)
    assert (message.payload, message.properties) == (b"3", {Property.MESSAGE_EXPIRY_INTERVAL: 0})


# -- sizes and properties ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("qos", [0, 1])
def test_a_message_larger_than_the_client_takes_counts_as_delivered(qos: int) -> None:
    driver = connected(maximum_packet_size=100, receive_maximum=1)
    fitting = Publish("a", b"", qos, packet_id=1 if qos else None)
    room = 100 - len(encode(fitting, V5))
    driver.publish(2, "a", b"x" * (room + 1), qos=qos)
    driver.publish(2, "a", b"x" * room, qos=qos)
    assert [len(payload) for payload in payloads(driver)] == [room]
    assert driver.broker.sizes()["in_flight"] == qos


HANDED_ON: Properties = {
    Property.PAYLOAD_FORMAT_INDICATOR: 1,
    Property.CONTENT_TYPE: "text/plain",
    Property.RESPONSE_TOPIC: "answers/1",
    Property.CORRELATION_DATA: b"\x00\xff",
    Property.USER_PROPERTY: (("b", "1"), ("a", "2"), ("b", "1")),
}


def test_properties_are_handed_on_to_mqtt_5_and_dropped_for_311() -> None:
    driver = Driver()
    driver.connect(1)
    driver.connect(2, version=V311)
    for number in (1, 2):
        driver.subscribe(number, "a")
    driver.receive(1, Publish("a", b"x", properties={**HANDED_ON, Property.TOPIC_ALIAS: 1}))
    assert driver.received(1) == [Publish("a", b"x", properties=HANDED_ON)]
    assert driver.received(2) == [Publish("a", b"x")]
    driver.receive(2, Publish("a", b"y"))
    assert driver.received(1) == [Publish("a", b"y")]


@pytest.mark.parametrize(("asked", "left"), [(0, 1), (1, 1), (60, 60), (604_800, 604_800), (2**32 - 1, 604_800)])
def test_the_message_expiry_is_clamped(asked: int, left: int) -> None:
    driver = connected()
    driver.receive(2, Publish("a", b"x", properties={Property.MESSAGE_EXPIRY_INTERVAL: asked}))
    assert driver.received(1)[0].properties == {Property.MESSAGE_EXPIRY_INTERVAL: left}


@given(st.lists(st.sampled_from(["publish", "acknowledge"]), max_size=40), st.integers(1, 3))
def test_qos_1_arrives_once_each_and_in_order_whenever_it_is_acknowledged(steps: list[str], window: int) -> None:
    driver = connected(receive_maximum=window)
    arrived: list[Publish] = []
    published = acknowledged = 0
    for step in [*steps, *["acknowledge"] * len(steps)]:
        if step == "publish":
            driver.publish(2, "a", b"%d" % published, qos=1)
            published += 1
        elif acknowledged < len(arrived):
            packet_id = arrived[acknowledged].packet_id
            assert packet_id is not None
            driver.receive(1, PubAck(packet_id))
            acknowledged += 1
        arrived += driver.received(1)
    assert [message.payload for message in arrived] == [b"%d" % number for number in range(published)]


# -- topic aliases ----------------------------------------------------------------------------------------------------


def test_a_client_that_takes_topic_aliases_gets_them_for_the_first_topics() -> None:
    driver = connected(topic_alias_maximum=2)
    driver.subscribe(1, "#")
    received: list[tuple[str, object]] = []
    for topic in ("abc", "abcd", "efgh", "ijkl", "efgh", "abcd", "ijkl"):
        driver.publish(2, topic)
        (message,) = driver.received(1)
        received.append((message.topic, message.properties.get(Property.TOPIC_ALIAS)))
    assert received == [("abc", None), ("abcd", 1), ("efgh", 2), ("ijkl", None), ("", 2), ("", 1), ("ijkl", None)]


def test_no_more_than_8_topic_aliases_are_used() -> None:
    driver = connected(topic_alias_maximum=65_535)
    driver.subscribe(1, "#")
    for number in range(20):
        driver.publish(2, f"topic/{number}")
    aliases = [message.properties.get(Property.TOPIC_ALIAS) for message in driver.received(1)]
    assert [alias for alias in aliases if alias is not None] == [1, 2, 3, 4, 5, 6, 7, 8]


@BOTH
def test_a_client_that_does_not_ask_for_topic_aliases_gets_none(version: Version) -> None:
    driver = connected(version)
    driver.subscribe(1, "a long topic")
    for _ in range(2):
        driver.publish(2, "a long topic")
    assert driver.received(1) == [Publish("a long topic", b"x")] * 2


def test_topic_aliases_begin_anew_with_each_connection() -> None:
    driver = Driver()
    properties = {Property.SESSION_EXPIRY_INTERVAL: 60, Property.TOPIC_ALIAS_MAXIMUM: 8}
    for number in (1, 2):
        driver.connect(number, Connect(V5, "device", False, properties=properties))
        driver.subscribe(number, "a long topic")
        driver.publish(number, "a long topic")
        (message,) = driver.received(number)
        assert (message.topic, message.properties) == ("a long topic", {Property.TOPIC_ALIAS: 1})


def test_a_topic_alias_is_left_out_where_the_packet_would_be_too_large_with_it() -> None:
    room = len(encode(Publish("a long topic", b"x" * 10), V5))
    driver = connected(maximum_packet_size=room + 30, topic_alias_maximum=8)
    driver.subscribe(1, "a long topic")
    driver.publish(2, "a long topic", b"x" * 40)
    driver.publish(2, "a long topic", b"x" * 10)
    driver.publish(2, "a long topic", b"x" * 10)
    assert [(message.topic, len(message.payload)) for message in driver.received(1)] == [
        ("a long topic", 40),
        ("a long topic", 10),
        ("", 10),
    ]


# -- what is given up is reported -------------------------------------------------------------------------------------


def test_what_is_too_large_or_expired_is_reported_as_dropped() -> None:
    driver = connected(maximum_packet_size=100, receive_maximum=1)
    driver.publish(2, "a", b"x" * 100)
    driver.publish(2, "a", b"1", qos=1)
    driver.receive(2, Publish("a", b"2", 1, packet_id=9, properties={Property.MESSAGE_EXPIRY_INTERVAL: 1}))
    driver.at += 1
    driver.acknowledge(1)
    assert [(event.connection, event.client_id, event.cause) for event in driver.of(Dropped)] == [
        (1, "subscriber", "too_large"),
        (1, "subscriber", "expired"),
    ]
