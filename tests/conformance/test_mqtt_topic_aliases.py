"""Topic aliases in both directions: 8 at most (AWS page "MQTT")."""

from __future__ import annotations

import pytest
from conformance_bench import V5, Bench

from iot_customauth_client.local.codec import Property, Publish

ALIAS = Property.TOPIC_ALIAS


@pytest.mark.mqtt5("3.3.2-12", "3.2.2-17")
def test_every_alias_up_to_the_servers_maximum_is_taken(bench: Bench) -> None:
    client = bench.client(V5)
    topics = [bench.name() for _ in range(8)]
    client.subscribe(*topics)
    for number, topic in enumerate(topics, start=1):
        client.send(Publish(topic, b"named", properties={ALIAS: number}))
    for number in range(1, 9):
        client.send(Publish("", b"by alias", properties={ALIAS: number}))
    got = [(message.topic, message.payload) for message in client.messages()]
    assert got == [(topic, b"named") for topic in topics] + [(topic, b"by alias") for topic in topics]


@pytest.mark.mqtt5("3.3.2-8", "3.3.2-9")
@pytest.mark.parametrize("number", [0, 9, 65_535])
def test_an_alias_beyond_the_servers_maximum_or_0_ends_the_connection(bench: Bench, number: int) -> None:
    client = bench.client(V5)
    client.send_bytes(b"\x30\x07\0\1a\3\x23" + number.to_bytes(2, "big"))
    assert client.end() == 148  # section 3.3.4


@pytest.mark.mqtt5("4.13.1-1")
def test_an_alias_that_stands_for_nothing_ends_the_connection(bench: Bench) -> None:
    client = bench.client(V5)
    client.send(Publish("", b"", properties={ALIAS: 1}))
    assert client.end() == 130


def test_an_alias_can_be_given_another_topic(bench: Bench) -> None:
    first, second = bench.name(), bench.name()
    client = bench.client(V5)
    client.subscribe(first, second)
    for topic in (first, second, ""):
        client.send(Publish(topic, b"", properties={ALIAS: 1}))
    assert [message.topic for message in client.messages()] == [first, second, second]


@pytest.mark.mqtt5("3.3.2-7")
def test_aliases_end_with_their_connection(bench: Bench) -> None:
    client = bench.keeper(V5)
    client.send(Publish(bench.name(), b"", properties={ALIAS: 1}))
    client.leave()
    again = bench.keeper(V5, client.client_id)
    again.send(Publish("", b"", properties={ALIAS: 1}))
    assert again.end() == 130


@pytest.mark.mqtt5("3.3.2-7")
def test_the_aliases_of_one_client_mean_nothing_to_another(bench: Bench) -> None:
    one, other = bench.client(V5), bench.client(V5)
    one.send(Publish(bench.name(), b"", properties={ALIAS: 1}))
    one.ping()
    other.send(Publish("", b"", properties={ALIAS: 1}))
    assert other.end() == 130


@pytest.mark.mqtt5("3.1.2-27")
@pytest.mark.parametrize("properties", [{}, {Property.TOPIC_ALIAS_MAXIMUM: 0}])
def test_a_client_that_takes_no_aliases_gets_none(bench: Bench, properties: dict[Property, int]) -> None:
    topic = bench.name() + "/long/enough/to/be/worth/one"
    client = bench.client(V5, properties=properties)
    client.subscribe(topic)
    for _ in range(3):
        client.publish(topic)
    assert [(message.topic, dict(message.properties)) for message in client.messages()] == [(topic, {})] * 3


@pytest.mark.mqtt5("3.1.2-26", "3.3.2-11")
@pytest.mark.parametrize("maximum", [1, 2, 8, 65_535])
def test_a_client_gets_no_more_aliases_than_it_takes_and_can_read_them(bench: Bench, maximum: int) -> None:
    root = bench.name()
    client = bench.client(V5, properties={Property.TOPIC_ALIAS_MAXIMUM: maximum})
    client.subscribe(f"{root}/#")
    topics = [f"{root}/long/enough/to/be/worth/an/{number}" for number in range(10)]
    for topic in topics * 2:
        client.publish(topic, topic.encode())
    known: dict[object, str] = {}
    for message in client.messages():
        alias = message.properties.get(ALIAS)
        if alias is not None:
            assert isinstance(alias, int)
            assert 1 <= alias <= min(maximum, 8)
            known[alias] = message.topic or known[alias]
        assert (message.topic or known[alias]) == message.payload.decode()
    assert len(known) == min(maximum, 8)


@pytest.mark.mqtt5("3.3.2-8")
def test_an_alias_is_the_matter_of_one_hop(bench: Bench) -> None:
    topic = bench.name()
    client = bench.client(V5)
    client.subscribe(topic)
    client.send(Publish(topic, b"", properties={ALIAS: 5}))
    message = client.message()
    assert (message.topic, dict(message.properties)) == (topic, {})
