"""PUBLISH from a client: acknowledgement, policy, topics, aliases, sizes; and from the endpoint itself."""

from __future__ import annotations

import pytest
from broker_driver import ARN, EVERYTHING, V5, V311, Driver, everything_but, only, statement

from iot_customauth_client.errors import InvalidTopic, PayloadTooLarge
from iot_customauth_client.local.broker import Broker, Happened, Send
from iot_customauth_client.local.broker_limits import BrokerLimits
from iot_customauth_client.local.choices import Choices
from iot_customauth_client.local.codec import (
    Auth,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Property,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Version,
)
from iot_customauth_client.local.events import Decided, Delivered, Disconnected, Published

BOTH = pytest.mark.parametrize("version", [V5, V311])


def connected(
    version: Version = V5, policy: list[dict[str, object]] | None = None, broker: Broker | None = None
) -> Driver:
    """A driver with the client in question (1) and a subscriber of everything (2)."""
    driver = Driver(broker)
    driver.connect(1, version=version, policy=policy or [EVERYTHING])
    driver.connect(2)
    driver.subscribe(2, "#")
    return driver


def ended(driver: Driver) -> tuple[list[int], str]:
    """The DISCONNECT codes and AWS's word with which client 1 ended."""
    assert driver.hung_up == {1}
    return driver.disconnects(1), driver.last(Disconnected).reason


@BOTH
def test_qos_1_is_acknowledged_after_it_was_routed(version: Version) -> None:
    driver = connected(version)
    effects = driver.broker.receive(1, Publish("a", b"x", qos=1, packet_id=5), now=driver.now, at=driver.at)
    packets = [effect for effect in effects if isinstance(effect, Send)]
    assert [packet.connection for packet in packets] == [2, 1]
    assert packets[1].packet == PubAck(5)
    kinds = [effect.event.kind for effect in effects if isinstance(effect, Happened)]
    assert kinds == ["published", "delivered"]


@BOTH
def test_qos_0_is_routed_and_not_acknowledged(version: Version) -> None:
    driver = connected(version)
    assert driver.receive(1, Publish("a", b"x")) == []
    assert driver.received(2) == [Publish("a", b"x")]
    assert driver.last(Published) == Published(1, "client-1", "a", b"x", 0, False, False)
    assert driver.last(Delivered) == Delivered(2, "client-2", "a", b"x", 0, False)


def test_a_publish_without_a_subscriber_is_acknowledged_with_0() -> None:
    driver = Driver()
    driver.connect(1)
    assert driver.receive(1, Publish("a", b"x", qos=1, packet_id=5)) == [PubAck(5)]


def test_the_dup_flag_is_reported_and_not_handed_on() -> None:
    driver = connected()
    driver.receive(1, Publish("a", b"x", qos=1, duplicate=True, packet_id=5))
    assert driver.last(Published).duplicate
    assert not driver.received(2)[0].duplicate


# -- denied -----------------------------------------------------------------------------------------------------------

DENIED = everything_but("iot:Publish", "topic/forbidden")


def test_a_denied_publish_of_qos_1_gets_a_puback_with_135_and_the_connection_stays() -> None:
    driver = connected(policy=DENIED)
    answer = only(driver.receive(1, Publish("forbidden", b"x", qos=1, packet_id=5)), PubAck)
    assert answer == PubAck(5, 135, {Property.REASON_STRING: "PUBACK:Not authorized:uuid-1"})
    decision = driver.last(Decided)
    assert (decision.action, decision.resource, decision.allowed) == ("iot:Publish", f"{ARN}topic/forbidden", False)
    assert not driver.hung_up
    assert driver.received(2) == []
    assert not driver.of(Published)


def test_a_denied_publish_of_qos_0_disconnects_with_135() -> None:
    driver = connected(policy=DENIED)
    driver.publish(1, "forbidden")
    assert ended(driver) == ([135], "AUTH_ERROR")
    assert driver.received(2) == []


@pytest.mark.parametrize("qos", [0, 1])
def test_a_denied_publish_of_311_is_hung_up_on_without_a_puback(qos: int) -> None:
    driver = connected(V311, policy=DENIED)
    assert driver.receive(1, Publish("forbidden", b"x", qos=qos, packet_id=5 if qos else None)) == []
    assert ended(driver) == ([], "AUTH_ERROR")
    explanation = driver.last(Disconnected).explanation
    assert explanation.startswith("publish to 'forbidden' is not allowed: denied")
    assert driver.last(Decided).action == "iot:Publish"


def test_a_retained_publish_needs_retain_publish_as_well() -> None:
    policy = [statement("Allow", "iot:Connect", "*"), statement("Allow", "iot:Publish", "topic/a")]
    driver = connected(policy=policy)
    driver.publish(1, "a")
    assert driver.topics(2) == ["a"]
    answer = only(driver.receive(1, Publish("a", b"x", qos=1, retain=True, packet_id=5)), PubAck)
    assert answer.reason_code == 135
    assert driver.last(Decided).action == "iot:RetainPublish"
    assert driver.topics(2) == []
    assert driver.broker.sizes()["retained"] == 0


@pytest.mark.parametrize("qos", [0, 1])
def test_a_denied_retained_publish_of_311_is_hung_up_on(qos: int) -> None:
    driver = connected(V311, policy=everything_but("iot:RetainPublish", "topic/a"))
    driver.publish(1, "a", qos=qos, retain=True)
    assert ended(driver) == ([], "AUTH_ERROR")
    assert driver.last(Decided).action == "iot:RetainPublish"
    assert driver.received(2) == []


@pytest.mark.parametrize("topic", ["a/b/c/d/e/f/g/h/i", "a" * 257, "$SYS/a", "$share/g/a", "$aws"])
def test_a_topic_that_the_service_does_not_take_is_refused_with_144(topic: str) -> None:
    driver = connected()
    answer = only(driver.receive(1, Publish(topic, b"x", qos=1, packet_id=5)), PubAck)
    assert answer.reason_code == 144
    assert not driver.last(Decided).allowed
    assert not driver.hung_up
    driver.publish(1, topic)
    assert ended(driver) == ([144], "CLIENT_ERROR")
    driver = connected(V311)
    driver.publish(1, topic, qos=1)
    assert ended(driver) == ([], "CLIENT_ERROR")


def test_a_topic_of_8_levels_and_of_256_bytes_is_taken() -> None:
    driver = connected()
    for topic in ("a/b/c/d/e/f/g/h", "é" * 128, "$aws/things/t/shadow/update"):
        assert driver.receive(1, Publish(topic, b"x", qos=1, packet_id=5)) == [PubAck(5)]
    assert driver.topics(2) == ["a/b/c/d/e/f/g/h", "é" * 128]


def test_a_reserved_topic_needs_a_grant_as_any_other() -> None:
    topic = "$aws/things/t/shadow/update"
    driver = connected(policy=everything_but("iot:*", f"topic/{topic}", f"topicfilter/{topic}"))
    assert only(driver.receive(1, Publish(topic, b"x", qos=1, packet_id=5)), PubAck).reason_code == 135
    assert only(driver.subscribe(1, topic, "$aws/things/t/shadow/#"), SubAck).reason_codes == (135, 1)
    driver.publish(2, topic)
    assert driver.received(1) == []


def test_nothing_can_be_retained_on_a_reserved_topic() -> None:
    driver = connected()
    topic = "$aws/things/t/shadow/update"
    assert driver.receive(1, Publish(topic, b"x", qos=1, packet_id=5)) == [PubAck(5)]
    answer = only(driver.receive(1, Publish(topic, b"x", qos=1, retain=True, packet_id=5)), PubAck)
    assert answer.reason_code == 144


def test_basic_ingest_is_accepted_and_reaches_no_subscriber() -> None:
    broker = Broker(region="eu-west-1", account="123456789012", choices=Choices(reserved_topics="any"))
    driver = connected(broker=broker)  # by default nobody could subscribe there
    driver.subscribe(2, "$aws/rules/#", "$aws/rule/#")
    assert driver.receive(1, Publish("$aws/rules/r/a", b"x", qos=1, packet_id=5)) == [PubAck(5)]
    assert driver.received(2) == []
    driver.publish(1, "$aws/rule/r/a")
    assert driver.topics(2) == ["$aws/rule/r/a"]


def test_a_response_topic_that_nobody_could_publish_to_is_refused() -> None:
    driver = connected()
    properties = {Property.RESPONSE_TOPIC: "a/b/c/d/e/f/g/h/i"}
    answer = only(driver.receive(1, Publish("a", b"x", 1, packet_id=5, properties=properties)), PubAck)
    assert answer.reason_code == 144
    assert "response topic" in driver.last(Decided).explanation


@pytest.mark.parametrize(("version", "told"), [(V5, [151]), (V311, [])])
def test_a_payload_over_128_kib_ends_the_connection(version: Version, told: list[int]) -> None:
    driver = connected(version)
    driver.publish(1, "a", b"x" * 131_072)
    assert driver.topics(2) == ["a"]
    driver.publish(1, "a", b"x" * 131_073, qos=1)
    assert ended(driver) == (told, "CLIENT_ERROR")
    assert driver.received(2) == []


@pytest.mark.parametrize(("version", "told"), [(V5, [155]), (V311, [])])
def test_qos_2_ends_the_connection(version: Version, told: list[int]) -> None:
    driver = connected(version)
    driver.publish(1, "a", qos=2)
    assert ended(driver) == (told, "CLIENT_ERROR")
    assert driver.received(2) == []


@pytest.mark.parametrize(
    "packet",
    [PubRec(1), PubRel(1), PubComp(1), Auth(0x18, {Property.AUTHENTICATION_METHOD: "x"}), PingResp(), SubAck(1, (0,))],
    ids=lambda packet: type(packet).__name__,
)
def test_a_packet_that_is_not_for_a_client_to_send_ends_the_connection(packet: Packet) -> None:
    driver = connected()
    assert only(driver.receive(1, packet), Disconnect).reason_code == 130
    assert ended(driver) == ([130], "CLIENT_ERROR")
    assert type(packet).__name__.upper() in driver.last(Disconnected).explanation


@BOTH
def test_a_ping_is_answered(version: Version) -> None:
    assert connected(version).receive(1, PingReq()) == [PingResp()]


# -- topic aliases ----------------------------------------------------------------------------------------------------


def aliased(topic: str, alias: int) -> Publish:
    return Publish(topic, b"x", properties={Property.TOPIC_ALIAS: alias})


def test_a_topic_alias_stands_for_its_topic_until_it_gets_another_one() -> None:
    driver = connected()
    for packet in (aliased("a", 8), aliased("", 8), aliased("b", 8), aliased("", 8), aliased("c", 1), aliased("", 8)):
        driver.receive(1, packet)
    assert driver.topics(2) == ["a", "a", "b", "b", "c", "b"]


def test_a_topic_alias_is_not_handed_on() -> None:
    driver = connected()
    driver.receive(1, aliased("a", 1))
    assert driver.received(2) == [Publish("a", b"x")]


def test_the_policy_is_asked_about_the_topic_behind_the_alias() -> None:
    driver = connected(policy=DENIED)
    driver.receive(1, aliased("forbidden", 1))
    assert ended(driver) == ([135], "AUTH_ERROR")


@pytest.mark.parametrize(("alias", "code"), [(9, 148), (65_535, 148), (0, 148), (2, 130)])
def test_an_alias_that_is_too_large_or_unknown_ends_the_connection(alias: int, code: int) -> None:
    driver = connected()
    driver.receive(1, aliased("", alias))
    assert ended(driver) == ([code], "CLIENT_ERROR")


def test_one_client_does_not_see_the_aliases_of_another_one() -> None:
    driver = connected()
    driver.receive(2, aliased("a", 1))
    driver.receive(1, aliased("", 1))
    assert ended(driver) == ([130], "CLIENT_ERROR")


# -- the endpoint itself ----------------------------------------------------------------------------------------------


def test_the_endpoint_publishes_without_a_policy() -> None:
    driver = connected()
    driver.carry_out(driver.broker.publish("a", b"x", qos=1, retain=True, now=driver.now, at=driver.at))
    assert driver.topics(2) == ["a"]
    assert driver.last(Published) == Published(None, "", "a", b"x", 1, True, False)
    assert driver.broker.sizes()["retained"] == 1


@pytest.mark.parametrize("qos", [0, 1])
def test_what_the_endpoint_publishes_still_needs_receive(qos: int) -> None:
    driver = Driver()
    driver.connect(1, policy=everything_but("iot:Receive", "topic/a"))
    driver.subscribe(1, "#")
    driver.carry_out(driver.broker.publish("a", b"x", qos=qos, now=driver.now, at=driver.at))
    assert driver.received(1) == []


def test_the_endpoint_refuses_to_publish_what_the_service_would_not_take() -> None:
    broker = connected().broker
    with pytest.raises(InvalidTopic):
        broker.publish("a/#", b"x", now=0, at=0)
    with pytest.raises(PayloadTooLarge):
        broker.publish("a", b"x" * 131_073, now=0, at=0)
    with pytest.raises(ValueError, match="QoS 2"):
        broker.publish("a", b"x", qos=2, now=0, at=0)
    with pytest.raises(ValueError, match="topic"):
        broker.publish("a", b"x", properties={Property.RESPONSE_TOPIC: "a/+"}, now=0, at=0)
    with pytest.raises(ValueError, match="receive maximum"):
        broker.publish("a", b"x", properties={Property.RECEIVE_MAXIMUM: 1}, now=0, at=0)


def test_one_retained_message_too_many_is_refused_with_151() -> None:
    driver = connected(
        broker=Broker(region="eu-west-1", account="123456789012", limits=BrokerLimits(max_retained_messages=2))
    )
    for topic, code in (("a", 0), ("b", 0), ("c", 151), ("a", 0)):
        answer = only(driver.receive(1, Publish(topic, b"x", 1, retain=True, packet_id=5)), PubAck)
        assert answer.reason_code == code
    driver.publish(1, "b", b"", retain=True)
    assert driver.broker.sizes()["retained"] == 1


def test_expired_retained_messages_make_room() -> None:
    driver = connected(
        broker=Broker(region="eu-west-1", account="123456789012", limits=BrokerLimits(max_retained_messages=1))
    )
    expiring = Publish("a", b"x", 1, True, packet_id=5, properties={Property.MESSAGE_EXPIRY_INTERVAL: 10})
    assert only(driver.receive(1, expiring), PubAck).reason_code == 0
    driver.at += 10
    answer = only(driver.receive(1, Publish("b", b"x", 1, retain=True, packet_id=5)), PubAck)
    assert answer.reason_code == 0


def test_a_client_that_wants_no_problem_information_gets_bare_codes() -> None:
    driver = Driver()
    packet = Connect(V5, "c", properties={Property.REQUEST_PROBLEM_INFORMATION: 0})
    driver.connect(1, packet, policy=DENIED)
    assert driver.receive(1, Publish("forbidden", b"x", 1, packet_id=5)) == [PubAck(5, 135)]
    assert driver.receive(1, Publish("forbidden", b"x")) == [Disconnect(135)]


def test_a_reason_string_that_the_client_cannot_take_is_left_out() -> None:
    driver = Driver()
    driver.connect(1, Connect(V5, "c", properties={Property.MAXIMUM_PACKET_SIZE: 30}), policy=DENIED)
    assert driver.receive(1, Publish("forbidden", b"x", 1, packet_id=5)) == [PubAck(5, 135)]


def test_what_a_client_made_very_long_is_shortened_in_events() -> None:
    driver = connected()
    driver.publish(1, "$share/" + "a" * 50_000)
    assert len(driver.last(Decided).explanation) < 1_000
    assert len(driver.last(Decided).resource) < 1_000
    assert len(driver.last(Disconnected).explanation) < 1_000


def test_the_answers_kept_about_the_policy_are_bounded() -> None:
    driver = Driver()
    driver.connect(1)
    for number in range(2_000):
        driver.publish(1, f"a/{number}")
    assert driver.broker.sizes()["policy_answers"] <= 512
