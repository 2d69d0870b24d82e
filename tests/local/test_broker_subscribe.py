"""SUBSCRIBE and UNSUBSCRIBE: what is granted, what is refused and how, and retained messages."""

from __future__ import annotations

import pytest
from broker_driver import ARN, REGION, V5, V311, Driver, everything_but, only

from iot_customauth_client.local.broker import Broker
from iot_customauth_client.local.codec import (
    Connect,
    Property,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    UnsubAck,
    Unsubscribe,
    Version,
)
from iot_customauth_client.local.events import Decided, Disconnected, Subscribed, Unsubscribed

BOTH = pytest.mark.parametrize("version", [V5, V311])
DENIED = everything_but("iot:Subscribe", "topicfilter/forbidden/*")


def codes(driver: Driver, *topic_filters: str, qos: int = 1) -> tuple[int, ...]:
    return only(driver.subscribe(1, *topic_filters, qos=qos), SubAck).reason_codes


def connected(version: Version = V5, policy: list[dict[str, object]] | None = None) -> Driver:
    driver = Driver()
    if policy is None:
        driver.connect(1, version=version)
    else:
        driver.connect(1, version=version, policy=policy)
    return driver


@BOTH
def test_a_subscription_is_granted_with_the_qos_asked_for(version: Version) -> None:
    driver = connected(version)
    requests = (SubscribeRequest("a", 0), SubscribeRequest("b/+", 1))
    assert driver.receive(1, Subscribe(7, requests)) == [SubAck(7, (0, 1))]
    assert driver.last(Subscribed) == Subscribed(1, "client-1", ("a", "b/+"), (0, 1))
    decisions = driver.of(Decided)[1:]
    assert [(each.action, each.resource, each.allowed) for each in decisions] == [
        ("iot:Subscribe", f"{ARN}topicfilter/a", True),
        ("iot:Subscribe", f"{ARN}topicfilter/b/+", True),
    ]


def test_qos_2_is_granted_as_1_with_mqtt_5() -> None:
    assert codes(connected(), "a", qos=2) == (1,)


def test_qos_2_is_hung_up_on_with_311() -> None:
    driver = connected(V311)
    assert driver.subscribe(1, "a", qos=2) == []
    assert driver.hung_up == {1}
    assert driver.last(Disconnected).reason == "CLIENT_ERROR"


def test_a_denied_filter_gets_135_in_its_place_and_the_connection_stays() -> None:
    driver = connected(policy=DENIED)
    answer = only(driver.subscribe(1, "a", "forbidden/#", "b"), SubAck)
    assert answer == SubAck(7, (1, 135, 1), {Property.REASON_STRING: "SUBACK:Not authorized:uuid-1"})
    (denied,) = [each for each in driver.of(Decided) if not each.allowed]
    assert denied.resource == f"{ARN}topicfilter/forbidden/#"
    for topic in ("a", "forbidden/x", "b"):
        driver.publish(1, topic)
    assert driver.topics(1) == ["a", "b"]


def test_a_denied_filter_of_311_is_hung_up_on_without_a_suback() -> None:
    driver = connected(V311, policy=DENIED)
    assert driver.subscribe(1, "a", "forbidden/#", "b") == []
    assert driver.hung_up == {1}
    ended = driver.last(Disconnected)
    assert ended.reason == "AUTH_ERROR"
    assert ended.explanation.startswith("subscribe to 'forbidden/#' is not allowed: denied")
    assert not driver.of(Subscribed)


def test_a_denied_filter_of_311_gets_0x80_by_option() -> None:
    driver = Driver(Broker(region=REGION, account="123456789012", refused_subscribe_311="suback"))
    driver.connect(1, version=V311, policy=DENIED)
    assert driver.subscribe(1, "a", "forbidden/#") == [SubAck(7, (1, 0x80))]
    assert not driver.hung_up


@pytest.mark.parametrize(
    ("topic_filter", "code"),
    [
        ("a/#/b", 143),
        ("a+", 143),
        ("a/b/c/d/e/f/g/h/#", 143),
        ("$SYS/#", 143),
        ("$aws", 143),
        ("$share/group/$SYS/#", 143),
        ("$share/group/a+", 143),
        ("$share/gr+oup/a", 143),
        ("$share/group", 143),
    ],
)
def test_a_filter_that_the_service_does_not_take_is_refused(topic_filter: str, code: int) -> None:
    driver = connected()
    assert codes(driver, topic_filter, "b") == (code, 1)
    assert not driver.of(Decided)[-2].allowed
    driver = connected(V311)
    assert driver.subscribe(1, topic_filter) == []
    assert driver.hung_up == {1}


def test_a_shared_filter_of_8_levels_is_granted() -> None:
    assert codes(connected(), "$share/group/a/b/c/d/e/f/g/h", "$share/group/a/b/c/d/e/f/g/h/i") == (1, 143)


def test_reserved_filters_for_use_are_granted() -> None:
    assert codes(connected(), "$aws/things/t/shadow/#") == (1,)


def test_nine_filters_in_one_subscribe_are_refused() -> None:
    driver = connected()
    assert codes(driver, *"abcdefgh") == (1,) * 8
    assert codes(driver, *"ijklmnopq") == (151,) * 9
    assert driver.broker.sizes()["subscriptions"] == 8
    driver = connected(V311)
    assert driver.subscribe(1, *"abcdefghi") == []
    assert driver.hung_up == {1}


def test_the_51st_subscription_is_refused() -> None:
    driver = connected()
    for number in range(50):
        assert codes(driver, f"a/{number}") == (1,)
    assert codes(driver, "a/50", "a/7") == (151, 1)
    driver.receive(1, Unsubscribe(8, ("a/7",)))
    assert codes(driver, "a/50", "a/51") == (1, 151)


@pytest.mark.parametrize("count", [49, 50])
def test_a_filter_given_twice_counts_once(count: int) -> None:
    driver = connected()
    for number in range(count):
        codes(driver, f"a/{number}")
    assert codes(driver, "new", "new") == ((1, 1) if count == 49 else (151, 151))


def test_a_subscription_identifier_ends_the_connection_with_161() -> None:
    driver = connected()
    packet = Subscribe(7, (SubscribeRequest("a", 1),), {Property.SUBSCRIPTION_IDENTIFIER: 1})
    driver.receive(1, packet)
    assert driver.disconnects(1) == [161]
    assert driver.last(Disconnected).reason == "CLIENT_ERROR"


def test_subscribing_again_replaces_the_options() -> None:
    driver = connected()
    codes(driver, "a", qos=1)
    codes(driver, "a", qos=0)
    driver.publish(1, "a", qos=1)
    assert [message.qos for message in driver.received(1)] == [0]


@BOTH
def test_unsubscribe_ends_deliveries_and_is_answered(version: Version) -> None:
    driver = connected(version)
    codes(driver, "a", "b")
    answer = only(driver.receive(1, Unsubscribe(8, ("a", "never"))), UnsubAck)
    assert answer == UnsubAck(8, (0, 0) if version is V5 else ())
    assert driver.last(Unsubscribed) == Unsubscribed(1, "client-1", ("a", "never"))
    driver.publish(1, "a")
    driver.publish(1, "b")
    assert driver.topics(1) == ["b"]


def test_unsubscribing_from_no_filter_at_all_is_143() -> None:
    answer = only(connected().receive(1, Unsubscribe(8, ("a/#/b", "a"))), UnsubAck)
    assert answer.reason_codes == (143, 0)


def test_an_answer_larger_than_the_client_takes_ends_the_connection() -> None:
    driver = Driver()
    driver.connect(1, Connect(V5, "c", properties={Property.MAXIMUM_PACKET_SIZE: 100}))
    driver.receive(1, Unsubscribe(8, ("a",) * 200))
    assert driver.disconnects(1) == [151]


# -- retained messages ------------------------------------------------------------------------------------------------


def retained(topic: str = "a", payload: bytes = b"kept", qos: int = 1) -> Driver:
    """A driver in which client 9 left a retained message."""
    driver = Driver()
    driver.connect(9)
    driver.publish(9, topic, payload, qos=qos, retain=True)
    driver.connect(1)
    return driver


def test_a_retained_message_is_sent_for_its_exact_filter_after_the_suback() -> None:
    sent = retained().subscribe(1, "a")
    assert sent == [SubAck(7, (1,)), Publish("a", b"kept", 1, retain=True, packet_id=1)]


@pytest.mark.parametrize("topic_filter", ["#", "+", "+/b", "a/#", "a/+"])
def test_a_retained_message_is_never_sent_for_a_filter_with_wildcards(topic_filter: str) -> None:
    driver = retained("a/b")
    driver.subscribe(1, topic_filter)
    assert driver.received(1) == []


def test_the_last_retained_message_counts() -> None:
    driver = retained()
    driver.publish(9, "a", b"newer", retain=True)
    driver.publish(9, "a", b"not retained")
    driver.subscribe(1, "a")
    assert [message.payload for message in driver.received(1)] == [b"newer"]


def test_an_empty_retained_payload_deletes_and_is_forwarded() -> None:
    driver = retained()
    driver.connect(2)
    driver.subscribe(2, "+")
    driver.publish(9, "a", b"", retain=True)
    assert driver.received(2) == [Publish("a", b"")]
    driver.subscribe(1, "a")
    assert driver.received(1) == []
    assert driver.broker.sizes()["retained"] == 0


@BOTH
def test_a_live_delivery_has_no_retain_flag(version: Version) -> None:
    driver = connected(version)
    driver.subscribe(1, "a")
    driver.publish(1, "a", retain=True)
    assert [message.retain for message in driver.received(1)] == [False]


def test_retain_as_published_keeps_the_flag() -> None:
    driver = connected()
    driver.receive(1, Subscribe(7, (SubscribeRequest("a", 0, retain_as_published=True),)))
    driver.publish(1, "a", retain=True)
    driver.publish(1, "a", retain=False)
    assert [message.retain for message in driver.received(1)] == [True, False]


@pytest.mark.parametrize(("handling", "deliveries"), [(0, 2), (1, 1), (2, 0)])
def test_retain_handling_says_when_retained_messages_are_sent(handling: int, deliveries: int) -> None:
    driver = retained()
    for _ in range(2):
        driver.receive(1, Subscribe(7, (SubscribeRequest("a", 0, retain_handling=handling),)))
    assert len(driver.received(1)) == deliveries


def test_a_retained_message_has_the_lesser_qos() -> None:
    driver = retained(qos=0)
    driver.subscribe(1, "a", qos=1)
    assert [message.qos for message in driver.received(1)] == [0]
    driver = retained(qos=1)
    driver.subscribe(1, "a", qos=0)
    assert [message.qos for message in driver.received(1)] == [0]


def test_a_retained_message_needs_receive() -> None:
    driver = retained()
    driver.connect(3, policy=everything_but("iot:Receive", "topic/a"))
    driver.subscribe(3, "a")
    assert driver.received(3) == []
    assert (driver.last(Decided).action, driver.last(Decided).connection) == ("iot:Receive", 3)


def test_a_retained_message_ends_with_its_expiry() -> None:
    driver = Driver()
    driver.connect(1)
    driver.receive(1, Publish("a", b"x", retain=True, properties={Property.MESSAGE_EXPIRY_INTERVAL: 10}))
    driver.at += 3.5
    driver.subscribe(1, "a")
    (message,) = driver.received(1)
    assert message.properties == {Property.MESSAGE_EXPIRY_INTERVAL: 6}
    driver.at += 6.5
    driver.subscribe(1, "a")
    assert driver.received(1) == []
    assert driver.broker.sizes()["retained"] == 0


def test_no_local_holds_for_retained_messages_too() -> None:
    driver = retained()
    driver.receive(9, Subscribe(7, (SubscribeRequest("a", 0, no_local=True),)))
    assert driver.received(9) == []
