"""What MQTT 5 hands on with a message: user properties, payload format, content type, request and response."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, V311, Bench, raw_publish
from depth import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iot_customauth_client.local.codec import Properties, Property, PubAck, Publish, Version

P = Property
FULL: Properties = {
    P.PAYLOAD_FORMAT_INDICATOR: 1,
    P.CONTENT_TYPE: "application/json; charset=utf-8",
    P.RESPONSE_TOPIC: "answers/here",
    P.CORRELATION_DATA: bytes(range(256)),
    P.USER_PROPERTY: (("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("b", "0")),
}


@pytest.mark.mqtt5("3.3.2-4", "3.3.2-15", "3.3.2-16", "3.3.2-17", "3.3.2-18", "3.3.2-20")
@pytest.mark.parametrize("qos", [0, 1])
def test_properties_are_handed_on_unchanged(bench: Bench, qos: int) -> None:
    topic = bench.name()
    receiver, sender = bench.client(V5), bench.client(V5)
    receiver.subscribe(topic)
    sender.publish(topic, b"{}", qos=qos, properties=FULL)
    assert receiver.message().properties == FULL


@pytest.mark.mqtt5("3.3.2-4", "3.3.2-15", "3.3.2-16", "3.3.2-17", "3.3.2-18", "3.3.2-20")
def test_properties_wait_with_their_message(bench: Bench) -> None:
    topic = bench.name()
    receiver = bench.keeper(V5)
    receiver.subscribe(topic)
    receiver.leave()
    bench.client(V5).publish(topic, b"{}", qos=1, properties=FULL)
    assert bench.keeper(V5, receiver.client_id).message().properties == FULL


@EITHER
def test_311_gets_the_message_without_them(bench: Bench, version: Version) -> None:
    topic = bench.name()
    receiver, sender = bench.client(V311), bench.client(version)
    receiver.subscribe(topic)
    sender.publish(topic, b"{}", properties=FULL if version is V5 else {})
    assert receiver.message() == Publish(topic, b"{}")


PAIRS = st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.text("xyz", max_size=3)), min_size=1, max_size=8)


@pytest.mark.mqtt5("3.3.2-17", "3.3.2-18")
@given(pairs=PAIRS)
@settings(max_examples=examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_user_properties_keep_their_number_and_order(bench: Bench, pairs: list[tuple[str, str]]) -> None:
    topic = bench.name()
    client = bench.client(V5)
    client.subscribe(topic)
    client.publish(topic, properties={P.USER_PROPERTY: tuple(pairs)})
    assert client.message().properties == {P.USER_PROPERTY: tuple(pairs)}
    client.close()


@pytest.mark.mqtt5("3.3.2-4")
@pytest.mark.parametrize("payload", [b"\xff\xfe", b"\xed\xa0\x80"])
@pytest.mark.parametrize("indicator", [0, 1])
def test_a_payload_is_not_looked_into(bench: Bench, indicator: int, payload: bytes) -> None:
    # Section 3.3.2.3.2: a receiver may check the format; the endpoint hands it on to whom it is for.
    topic = bench.name()
    client = bench.client(V5)
    client.subscribe(topic)
    client.publish(topic, payload, properties={P.PAYLOAD_FORMAT_INDICATOR: indicator})
    message = client.message()
    assert message.payload == payload
    assert message.properties == {P.PAYLOAD_FORMAT_INDICATOR: indicator}


def test_an_absent_payload_format_stays_absent(bench: Bench) -> None:
    topic = bench.name()
    client = bench.client(V5)
    client.subscribe(topic)
    client.publish(topic)
    assert client.message().properties == {}


def test_a_requester_gets_its_answer_by_response_topic_and_correlation_data(bench: Bench) -> None:
    questions, answers = bench.name(), bench.name()
    requester, responder = bench.client(V5), bench.client(V5)
    requester.subscribe(answers)
    responder.subscribe(questions)
    for number in range(3):
        properties = {P.RESPONSE_TOPIC: answers, P.CORRELATION_DATA: b"%d" % number}
        requester.publish(questions, b"?", qos=1, properties=properties)
    for question in reversed(responder.messages()):
        response_topic = question.properties[P.RESPONSE_TOPIC]
        assert isinstance(response_topic, str)
        correlation = {P.CORRELATION_DATA: question.properties[P.CORRELATION_DATA]}
        responder.publish(response_topic, b"!", properties=correlation)
    assert [message.properties for message in requester.messages()] == [
        {P.CORRELATION_DATA: b"2"},
        {P.CORRELATION_DATA: b"1"},
        {P.CORRELATION_DATA: b"0"},
    ]


@pytest.mark.mqtt5("3.3.2-14")
@pytest.mark.parametrize("topic", ["a/+", "#", "a/#"])
def test_a_response_topic_with_a_wildcard_ends_the_connection(bench: Bench, topic: str) -> None:
    client = bench.client(V5)
    block = b"\x08\0" + bytes((len(topic),)) + topic.encode()
    client.send_bytes(raw_publish(V5, "a", after=bytes((len(block),)) + block))
    assert client.end() == 130


@pytest.mark.mqtt5("3.3.4-6")
def test_a_subscription_identifier_in_publish_ends_the_connection(bench: Bench) -> None:
    client = bench.client(V5)
    client.send_bytes(raw_publish(V5, "a", after=b"\2\x0b\1"))
    assert client.end() == 130


@pytest.mark.parametrize("properties", [{P.USER_PROPERTY: (("a", "b"), ("a", "c"))}, {P.REASON_STRING: "why"}])
def test_properties_of_a_clients_puback_do_no_harm(bench: Bench, properties: Properties) -> None:
    topic = bench.name()
    client = bench.client(V5)
    client.subscribe(topic)
    client.publish(topic, qos=1)
    (message,) = client.messages(acknowledge=False)
    assert message.packet_id is not None
    client.send(PubAck(message.packet_id, 0, properties))
    client.ping()
