"""Publishing without a connection, as HTTPS does: the broker's part, without any socket."""

from __future__ import annotations

import pytest

from iot_customauth_client.authorizer.policy_document import PolicyDocument
from iot_customauth_client.local import events
from iot_customauth_client.local.broker import Broker
from iot_customauth_client.local.broker_limits import DEFAULT_BROKER_LIMITS, BrokerLimits
from iot_customauth_client.local.codec import Property, ReasonCode
from iot_customauth_client.local.effects import Effect, Grant, Happened
from iot_customauth_client.local.offence import RefusedOperation
from iot_customauth_client.local.visitor import Visitor

REGION, ACCOUNT = "eu-west-1", "123456789012"


def visitor(*actions: str, resource: str = "*") -> Visitor:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    policy = PolicyDocument.parse({"Version": "2012-10-17", "Statement": statement})
    return Visitor(7, Grant("principal", (policy,), "127.0.0.1"), region=REGION, account=ACCOUNT)


def publish(
    broker: Broker, who: Visitor, topic: str = "a", *, retain: bool = False, response_topic: str | None = None
) -> tuple[list[events.Event], RefusedOperation | None]:
    effects: list[Effect]
    properties = {} if response_topic is None else {Property.RESPONSE_TOPIC: response_topic}
    effects, refusal = broker.publish_for(
        who, topic, b"x", qos=1, retain=retain, properties=properties, now=1.0, at=1.0
    )
    return [effect.event for effect in effects if isinstance(effect, Happened)], refusal


def broker(limits: BrokerLimits = DEFAULT_BROKER_LIMITS) -> Broker:
    return Broker(region=REGION, account=ACCOUNT, limits=limits)


def test_publish_alone_is_enough_and_connect_is_not_asked() -> None:
    (published,), refusal = publish(
        broker(), visitor("iot:Publish", resource=f"arn:aws:iot:{REGION}:{ACCOUNT}:topic/a")
    )
    assert refusal is None
    assert isinstance(published, events.Published)
    assert (published.connection, published.client_id, published.topic, published.qos) == (7, "", "a", 1)


def test_a_denial_is_a_decision_and_publishes_nothing() -> None:
    (decided,), refusal = publish(broker(), visitor("iot:Connect"))
    assert isinstance(decided, events.Decided)
    assert (decided.action, decided.allowed) == ("iot:Publish", False)
    assert decided.resource == f"arn:aws:iot:{REGION}:{ACCOUNT}:topic/a"
    assert refusal is not None
    assert refusal.reason_code is ReasonCode.NOT_AUTHORIZED


def test_retain_needs_its_own_permission() -> None:
    (decided,), refusal = publish(broker(), visitor("iot:Publish"), retain=True)
    assert refusal is not None
    assert isinstance(decided, events.Decided)
    assert decided.action == "iot:RetainPublish"


def test_one_retained_message_too_many_is_refused() -> None:
    small = broker(limits=BrokerLimits(max_retained_messages=1))
    who = visitor("iot:Publish", "iot:RetainPublish")
    assert publish(small, who, "a", retain=True)[1] is None
    (decided,), refusal = publish(small, who, "b", retain=True)
    assert refusal is not None
    assert refusal.reason_code is ReasonCode.QUOTA_EXCEEDED
    assert isinstance(decided, events.Decided)
    assert publish(small, who, "a", retain=True)[1] is None


@pytest.mark.parametrize(
    ("topic", "response_topic"), [("a/+", None), ("", None), ("$SYS/a", None), ("x" * 257, None), ("a", "x" * 257)]
)
def test_a_wrong_topic_is_refused_before_the_policy_is_asked(topic: str, response_topic: str | None) -> None:
    _, refusal = publish(broker(), visitor("iot:Connect"), topic, response_topic=response_topic)
    assert refusal is not None
    assert refusal.reason_code is ReasonCode.TOPIC_NAME_INVALID


def test_nothing_of_a_visitor_stays_in_the_broker() -> None:
    some = broker()
    before = some.sizes()
    publish(some, visitor("iot:Publish"))
    assert some.sizes() == before
