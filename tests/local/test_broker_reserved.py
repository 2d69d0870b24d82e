"""Reserved topics: what a client may publish and subscribe to of all that starts with `$`."""

from __future__ import annotations

import pytest
from broker_driver import ACCOUNT, REGION, V5, V311, Driver, everything_but, grant, only
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.local.broker import Broker
from iot_customauth_client.local.choices import Choices
from iot_customauth_client.local.codec import NO_PROPERTIES, ConnAck, Connect, PubAck, Publish, SubAck, Version, Will
from iot_customauth_client.local.events import Decided, Disconnected, Published, Refused
from iot_customauth_client.local.reserved_topics import ReservedTopics, can_take, operations
from iot_customauth_client.local.visitor import Visitor
from iot_customauth_client.topics import matches

PUBLISH_ONLY = [
    "$aws/things/t/jobs/get",
    "$aws/things/t/jobs/start-next",
    "$aws/things/t/jobs/$next/get",
    "$aws/things/t/jobs/j/update",
    "$aws/things/t/defender/metrics/json",
    "$aws/things/t/streams/s/get/cbor",
    "$aws/things/t/streams/s/describe/json",
    "$aws/certificates/create/json",
    "$aws/certificates/create-from-csr/cbor",
    "$aws/provisioning-templates/p/provision/json",
    "$aws/device_location/d/get_position_estimate",
    "$aws/commands/things/t/executions/e/response/json",
    "$aws/rules/r",
    "$aws/rules/r/any/topic/whatever/it/is",
]
SUBSCRIBE_ONLY = [
    "$aws/events/presence/connected/c",
    "$aws/events/presence/disconnected/c",
    "$aws/events/presence/connect_failed/c",
    "$aws/events/presence/connected/c/with/slashes",
    "$aws/events/subscriptions/subscribed/c",
    "$aws/events/subscriptions/unsubscribed/c",
    "$aws/events/thing/t/created",
    "$aws/events/thingTypeAssociation/thing/t/type",
    "$aws/events/thingTypeAssociation/thing/t/thingType/type/added",
    "$aws/events/thingGroupMembership/thingGroup/g/thing/t/added",
    "$aws/events/job/j/completed",
    "$aws/events/jobExecution/j/timed_out",
    "$aws/events/certificates/registered/ca",
    "$aws/things/t/shadow/get/accepted",
    "$aws/things/t/shadow/update/delta",
    "$aws/things/t/shadow/name/n/update/documents",
    "$aws/things/t/jobs/notify-next",
    "$aws/things/t/jobs/j/get/rejected",
    "$aws/things/t/tunnels/notify",
    "$aws/things/t/streams/s/data/json",
    "$aws/certificates/create/json/accepted",
    "$aws/commands/clients/c/executions/e/request/json",
    "$aws/commands/things/t/executions/e/response/accepted",
    "$aws/sitewise/asset-models/m/assets/a/properties/p",
]
BOTH_WAYS = ["$aws/things/t/shadow/get", "$aws/things/t/shadow/update", "$aws/things/t/shadow/name/n/delete"]
UNKNOWN = [
    "$aws/a",
    "$aws/things/t",
    "$aws/things/t/shadow",
    "$aws/things/t/shadow/get/delta",
    "$aws/things/t/shadows/get",
    "$aws/things/t/jobs/j/get/accepted/more",
    "$aws/events/presence/connected",
    "$aws/events/presence/left/c",
    "$aws/certificates/create/xml",
    "$aws/rules",
    "$aws/rule/r/a",
]
NOT_AWS = ["$SYS/a", "$aws", "$awsome/a", "$iot/a", "$"]


def connected(version: Version = V5, reserved: ReservedTopics = "documented") -> Driver:
    driver = Driver(Broker(region=REGION, account=ACCOUNT, choices=Choices(reserved_topics=reserved)))
    driver.connect(1, version=version)
    return driver


def published(driver: Driver) -> list[str]:
    return [event.topic for event in driver.of(Published)]


@pytest.mark.parametrize("topic", PUBLISH_ONLY + BOTH_WAYS)
@pytest.mark.parametrize("version", [V5, V311])
def test_a_client_publishes_to_what_the_service_takes(version: Version, topic: str) -> None:
    driver = connected(version)
    assert driver.receive(1, Publish(topic, b"{}", 1, packet_id=5)) == [PubAck(5)]
    assert published(driver) == [topic]


@pytest.mark.parametrize("topic", SUBSCRIBE_ONLY + UNKNOWN + NOT_AWS)
def test_what_only_the_service_publishes_and_what_is_no_topic_is_refused_with_144(topic: str) -> None:
    driver = connected()
    assert only(driver.receive(1, Publish(topic, b"{}", 1, packet_id=5)), PubAck).reason_code == 144
    assert not driver.hung_up
    assert driver.last(Decided).action == "iot:Publish"
    driver.publish(1, topic)
    assert driver.disconnects(1) == [144]
    assert driver.hung_up == {1}
    assert published(driver) == []


@pytest.mark.parametrize("topic", [SUBSCRIBE_ONLY[0], UNKNOWN[0], NOT_AWS[0]])
@pytest.mark.parametrize("qos", [0, 1])
def test_with_311_misuse_is_hung_up_on_as_a_client_error(qos: int, topic: str) -> None:
    driver = connected(V311)
    assert driver.receive(1, Publish(topic, b"{}", qos, packet_id=5 if qos else None)) == []
    assert driver.hung_up == {1}
    assert driver.last(Disconnected).reason == "CLIENT_ERROR"


@pytest.mark.parametrize("topic_filter", SUBSCRIBE_ONLY + BOTH_WAYS)
@pytest.mark.parametrize("version", [V5, V311])
def test_a_client_subscribes_to_what_the_service_publishes(version: Version, topic_filter: str) -> None:
    driver = connected(version)
    assert only(driver.subscribe(1, topic_filter, f"$share/g/{topic_filter}"), SubAck).reason_codes == (1, 1)


@pytest.mark.parametrize(
    "topic_filter",
    [
        "$aws/#",
        "$aws/+/t/shadow/#",
        "$aws/things/+/shadow/+",
        "$aws/things/t/#",
        "$aws/things/+/jobs/+/get/+",
        "$aws/events/+/+/c",
        "$aws/events/presence/connected/+",
        "$aws/events/presence/connected/a/+/b",
        "$aws/events/subscriptions/#",
    ],
)
def test_a_filter_with_wildcards_is_granted_if_it_takes_something(topic_filter: str) -> None:
    assert only(connected().subscribe(1, topic_filter), SubAck).reason_codes == (1,)


@pytest.mark.parametrize(
    "topic_filter",
    [
        *PUBLISH_ONLY,
        *UNKNOWN,
        *NOT_AWS,
        "$aws/rules/#",
        "$aws/rules/+/a",
        "$aws/things/+/jobs/+/get",
        "$aws/+",
        "$aws/nothing/#",
        "$aws/things/t/shadow/+/+/+/+/+",
        "$SYS/#",
    ],
)
def test_a_filter_that_takes_nothing_a_client_may_see_is_refused_with_143(topic_filter: str) -> None:
    driver = connected()
    assert only(driver.subscribe(1, topic_filter, "a"), SubAck).reason_codes == (143, 1)
    assert not driver.hung_up
    old = connected(V311)
    assert old.subscribe(1, topic_filter) == []
    assert (old.hung_up, old.last(Disconnected).reason) == ({1}, "CLIENT_ERROR")


@pytest.mark.parametrize("topic", SUBSCRIBE_ONLY + UNKNOWN + PUBLISH_ONLY)
def test_by_choice_the_policy_alone_decides_about_aws_topics(topic: str) -> None:
    driver = connected(reserved="any")
    assert only(driver.subscribe(1, topic), SubAck).reason_codes == (1,)
    assert only(driver.receive(1, Publish(topic, b"{}", 1, packet_id=5)), PubAck).reason_code == 0
    policy = everything_but("iot:Publish", f"topic/{topic}")
    driver.connect(2, policy=policy)
    assert only(driver.receive(2, Publish(topic, b"{}", 1, packet_id=5)), PubAck).reason_code == 135


@pytest.mark.parametrize("topic", NOT_AWS)
def test_no_choice_opens_other_names_with_a_dollar(topic: str) -> None:
    driver = connected(reserved="any")
    assert only(driver.subscribe(1, topic), SubAck).reason_codes == (143,)
    assert only(driver.receive(1, Publish(topic, b"", 1, packet_id=5)), PubAck).reason_code == 144


@pytest.mark.parametrize("reserved", ["documented", "any"])
@pytest.mark.parametrize("topic", [*BOTH_WAYS, "$aws/rules/r/a"])
def test_nothing_is_retained_on_a_reserved_topic(topic: str, reserved: ReservedTopics) -> None:
    driver = connected(reserved=reserved)
    refused = only(driver.receive(1, Publish(topic, b"{}", 1, retain=True, packet_id=5)), PubAck)
    assert refused.reason_code == 144
    assert driver.broker.sizes()["retained"] == 0


@pytest.mark.parametrize("topic", SUBSCRIBE_ONLY + UNKNOWN + NOT_AWS)
def test_a_will_to_a_topic_that_is_not_for_clients_refuses_the_connect(topic: str) -> None:
    driver = Driver()
    answers = driver.connect(1, Connect(V5, "device", True, 60, will=Will(topic, b"x")))
    assert only(answers, ConnAck).reason_code == 144
    assert driver.last(Refused).cause == "will_topic_invalid"
    driver.connect(2, Connect(V5, "device", True, 60, will=Will(BOTH_WAYS[0], b"x")))
    driver.subscribe(2, BOTH_WAYS[0])
    driver.connect(3)
    driver.subscribe(3, BOTH_WAYS[0])
    driver.close(2)
    assert driver.topics(3) == [BOTH_WAYS[0]]


@pytest.mark.parametrize(
    ("topic", "code"), [(PUBLISH_ONLY[0], None), (SUBSCRIBE_ONLY[0], 144), (UNKNOWN[0], 144), (NOT_AWS[0], 144)]
)
def test_the_same_holds_over_https(topic: str, code: int | None) -> None:
    driver = Driver()
    visitor = Visitor(1, grant(), region=REGION, account=ACCOUNT)
    _, refusal = driver.broker.publish_for(
        visitor, topic, b"{}", qos=1, retain=False, properties=NO_PROPERTIES, now=driver.now, at=driver.at
    )
    assert (refusal.reason_code if refusal else None) == code


@pytest.mark.parametrize("topic", SUBSCRIBE_ONLY)
def test_the_endpoint_itself_publishes_what_the_service_would(topic: str) -> None:
    driver = connected()
    driver.subscribe(1, topic)
    driver.received(1)
    driver.carry_out(driver.broker.publish(topic, b"{}", qos=1, now=driver.now, at=driver.at))
    assert driver.topics(1) == [topic]


LEVELS = st.sampled_from(["$aws", "things", "t", "shadow", "get", "accepted", "events", "jobs", "+", "rules"])
FILTERS = st.builds(
    lambda levels, end: "/".join(["$aws", *levels, *end]), st.lists(LEVELS), st.sampled_from([[], ["#"]])
)


@given(FILTERS, st.sampled_from(SUBSCRIBE_ONLY + BOTH_WAYS))
def test_a_filter_that_takes_a_topic_for_subscribers_is_granted(topic_filter: str, topic: str) -> None:
    if matches(topic_filter, topic):
        assert can_take(topic_filter)


@given(FILTERS.filter(lambda topic_filter: "+" not in topic_filter and "#" not in topic_filter))
def test_a_filter_without_wildcards_is_granted_if_its_topic_is_for_subscribers(topic: str) -> None:
    assert can_take(topic) == any("subscribe" in each for each in operations(topic))
