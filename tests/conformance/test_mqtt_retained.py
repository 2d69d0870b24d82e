"""Retained messages. AWS sends them for exact filters only (AWS page "MQTT", "MQTT retained messages")."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, V311, Bench

from iot_customauth_client.local.codec import Property, Publish, SubAck, Subscribe, SubscribeRequest, Version


@pytest.mark.mqtt5("3.3.1-5", "3.3.1-9")
@pytest.mark.mqtt311("3.3.1-5", "3.3.1-6", "3.3.1-7", "3.3.1-8")
@EITHER
@pytest.mark.parametrize("qos", [0, 1])
def test_a_new_subscription_gets_the_last_retained_message_with_retain_set(
    bench: Bench, version: Version, qos: int
) -> None:
    topic = bench.name()
    sender, late = bench.client(version), bench.client(version)
    sender.publish(topic, b"first", qos=1, retain=True)
    sender.publish(topic, b"last", qos=qos, retain=True)
    late.subscribe(topic)
    message = late.message()
    assert (message.payload, message.qos, message.retain) == (b"last", qos, True)


@pytest.mark.mqtt311("3.3.1-8")
def test_a_retained_message_comes_after_the_suback(bench: Bench) -> None:
    topic = bench.name()
    client = bench.client(V311)
    client.publish(topic, retain=True)
    client.send(Subscribe(1, (SubscribeRequest(topic, 0),)))
    assert [type(client.receive()) for _ in range(2)] == [SubAck, Publish]


@pytest.mark.mqtt5("3.3.1-6", "3.3.1-7")
@pytest.mark.mqtt311("3.3.1-10", "3.3.1-11")
@EITHER
def test_an_empty_payload_is_delivered_and_deletes_what_was_retained(bench: Bench, version: Version) -> None:
    topic = bench.name()
    sender, present, late = bench.client(version), bench.client(version), bench.client(version)
    sender.publish(topic, b"kept", retain=True)
    present.subscribe(topic)
    assert present.message().retain
    sender.publish(topic, b"", retain=True)
    message = present.message()
    assert (message.payload, message.retain) == (b"", False)
    late.subscribe(topic)
    assert late.messages() == []


@pytest.mark.mqtt5("3.3.1-8", "3.3.1-12")
@pytest.mark.mqtt311("3.3.1-9", "3.3.1-12")
@EITHER
def test_a_message_without_retain_leaves_the_retained_one_alone(bench: Bench, version: Version) -> None:
    topic = bench.name()
    sender, present, late = bench.client(version), bench.client(version), bench.client(version)
    present.subscribe(topic)
    sender.publish(topic, b"kept", retain=True)
    sender.publish(topic, b"passing")
    sender.publish(topic, b"")
    assert [(message.payload, message.retain) for message in present.messages()] == [
        (b"kept", False),
        (b"passing", False),
        (b"", False),
    ]
    late.subscribe(topic)
    assert late.message().payload == b"kept"


@pytest.mark.mqtt5("3.8.4-3", "3.8.4-4")
@pytest.mark.mqtt311("3.8.4-3")
@EITHER
def test_subscribing_again_replaces_the_subscription_and_gets_the_retained_message_again(
    bench: Bench, version: Version
) -> None:
    topic = bench.name()
    client = bench.client(version)
    client.publish(topic, b"kept", retain=True)
    client.subscribe(topic, qos=0)
    client.subscribe(topic, qos=1)
    assert client.payloads() == [b"kept", b"kept"]
    client.publish(topic, b"live", qos=1)
    message = client.message()
    assert (message.payload, message.qos) == (b"live", 1)


@pytest.mark.mqtt311("3.1.2-7")
@EITHER
def test_retained_messages_outlive_the_session_of_their_publisher(bench: Bench, version: Version) -> None:
    topic = bench.name()
    sender, late = bench.client(version), bench.client(version)
    sender.publish(topic, b"kept", retain=True)
    sender.leave()
    late.subscribe(topic)
    assert late.message().payload == b"kept"


@pytest.mark.aws("retained-exact")
@EITHER
@pytest.mark.parametrize("form", ["{0}/+", "{0}/#", "+/{1}", "$share/g/{0}/a"])
def test_a_filter_with_wildcards_or_a_shared_one_gets_no_retained_messages(
    bench: Bench, version: Version, form: str
) -> None:
    root = bench.name()
    client = bench.client(version)
    client.publish(f"{root}/a", b"kept", retain=True)
    topic_filter = form.format(root, bench.name())
    client.subscribe(topic_filter)
    assert client.messages() == []
    client.subscribe(f"{root}/a")
    assert client.message().payload == b"kept"


@pytest.mark.aws("nothing-retained-on-reserved-topics")
@EITHER
def test_nothing_is_retained_on_reserved_topics(bench: Bench, version: Version) -> None:
    topic = f"$aws/things/{bench.name()}/shadow/update"
    client = bench.client(version)
    client.send(Publish(topic, b"x", 0, retain=True))
    assert client.end() == (144 if version is V5 else None)


@pytest.mark.mqtt5("3.3.2-5", "3.3.2-6")
def test_a_retained_message_expires_too(bench: Bench) -> None:
    topic = bench.name()
    bench.client().publish(topic, b"kept", retain=True, properties={Property.MESSAGE_EXPIRY_INTERVAL: 100})
    bench.clock.advance(40)
    early, late = bench.client(), bench.client()
    early.subscribe(topic)
    assert early.message().properties[Property.MESSAGE_EXPIRY_INTERVAL] == 60
    bench.clock.advance(60)
    late.subscribe(topic)
    assert late.messages() == []


@pytest.mark.mqtt5("3.3.2-4", "3.3.2-15", "3.3.2-16", "3.3.2-17", "3.3.2-20")
def test_a_retained_message_keeps_its_properties(bench: Bench) -> None:
    topic = bench.name()
    properties = {
        Property.PAYLOAD_FORMAT_INDICATOR: 1,
        Property.CONTENT_TYPE: "text/plain",
        Property.RESPONSE_TOPIC: "answers",
        Property.CORRELATION_DATA: b"\0\1",
        Property.USER_PROPERTY: (("b", "1"), ("a", "2"), ("b", "1")),
    }
    bench.client().publish(topic, "é".encode(), retain=True, properties=properties)
    for version, expected in ((V5, properties), (V311, {})):
        client = bench.client(version)
        client.subscribe(topic)
        assert client.message().properties == expected
