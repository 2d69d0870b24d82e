"""Publish and subscribe in their plain forms: QoS 0 and 1, several filters, unsubscribe, ping."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, V311, Bench
from depth import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iot_customauth_client.local.codec import (
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    UnsubAck,
    Unsubscribe,
    Version,
)
from iot_customauth_client.topics import matches


@pytest.mark.mqtt5("3.3.4-1", "4.3.1-1", "4.3.2-1", "4.3.2-2", "4.3.2-4", "3.8.4-8", "4.5.0-1")
@pytest.mark.mqtt311("3.3.4-1", "4.3.1-1", "4.3.2-1", "4.3.2-2", "3.8.4-6", "4.5.0-1")
@EITHER
@pytest.mark.parametrize("published", [0, 1])
@pytest.mark.parametrize("granted", [0, 1])
def test_a_message_arrives_with_the_lesser_qos(bench: Bench, version: Version, published: int, granted: int) -> None:
    topic = bench.name()
    receiver, sender = bench.client(version), bench.client(version)
    receiver.subscribe(topic, qos=granted)
    answer = sender.publish(topic, b"hello", qos=published)
    assert (answer is not None) == bool(published)
    message = receiver.message()
    assert (message.topic, message.payload, message.qos) == (topic, b"hello", min(published, granted))
    assert not message.duplicate
    assert (message.packet_id is not None) == bool(message.qos)


@pytest.mark.mqtt5("2.2.1-5", "2.2.1-6", "2.2.1-2", "3.8.4-1", "3.8.4-2", "3.10.4-4")
@pytest.mark.mqtt311("2.3.1-6", "2.3.1-7", "2.3.1-5", "3.8.4-1", "3.8.4-2", "3.10.4-4")
@EITHER
@pytest.mark.parametrize("packet_id", [1, 255, 256, 65_535])
def test_an_answer_has_the_packet_identifier_of_its_question(bench: Bench, version: Version, packet_id: int) -> None:
    client, topic = bench.client(version), bench.name()
    client.send(Publish(topic, b"", 1, packet_id=packet_id))
    assert client.expect(PubAck).packet_id == packet_id
    client.send(Subscribe(packet_id, (SubscribeRequest(topic, 1),)))
    assert client.expect(SubAck).packet_id == packet_id
    client.send(Unsubscribe(packet_id, (topic,)))
    assert client.expect(UnsubAck).packet_id == packet_id
    client.send(Publish(topic, b""))
    client.ping()


@pytest.mark.mqtt5("3.8.4-5", "3.8.4-6", "3.8.4-7", "3.9.3-1", "3.9.3-2", "3.10.4-6", "3.11.3-1", "3.11.3-2")
@pytest.mark.mqtt311("3.8.4-4", "3.8.4-5", "3.9.3-1", "3.9.3-2", "3.10.4-6")
@EITHER
def test_several_filters_are_as_many_subscriptions_with_one_answer(bench: Bench, version: Version) -> None:
    first, second, third = bench.name(), bench.name(), bench.name()
    client = bench.client(version)
    assert client.subscribe(*(SubscribeRequest(name, qos) for name, qos in ((first, 0), (second, 1), (third, 0)))) == (
        0,
        1,
        0,
    )
    for topic in (first, second, third):
        client.publish(topic, qos=1)
    assert [(message.topic, message.qos) for message in client.messages()] == [(first, 0), (second, 1), (third, 0)]
    assert client.unsubscribe(first, third) == ((0, 0) if version is V5 else ())
    for topic in (first, second, third):
        client.publish(topic)
    assert [message.topic for message in client.messages()] == [second]


@pytest.mark.mqtt5("3.10.4-1", "3.10.4-2")
@pytest.mark.mqtt311("3.10.4-1", "3.10.4-2")
@EITHER
def test_unsubscribing_compares_filters_character_by_character(bench: Bench, version: Version) -> None:
    topic = bench.name()
    client = bench.client(version)
    client.subscribe(f"{topic}/+")
    client.unsubscribe(f"{topic}/a", f"{topic}/#", f"{topic}/+/", f"{topic}/ +", topic)
    client.publish(f"{topic}/a")
    assert len(client.messages()) == 1
    client.unsubscribe(f"{topic}/+")
    client.publish(f"{topic}/a")
    assert client.messages() == []


@pytest.mark.mqtt5("3.10.4-5")
@pytest.mark.mqtt311("3.10.4-5")
@pytest.mark.aws("unsuback-17")
@EITHER
def test_unsubscribing_from_nothing_is_answered_too(bench: Bench, version: Version) -> None:
    client = bench.client(version)
    assert client.unsubscribe(bench.name()) == ((0,) if version is V5 else ())


@pytest.mark.mqtt5("3.10.4-3")
@pytest.mark.mqtt311("3.10.4-3")
@EITHER
def test_what_was_sent_before_unsubscribe_is_seen_through(bench: Bench, version: Version) -> None:
    client_id, topic = bench.name("c"), bench.name()
    client = bench.keeper(version, client_id)
    client.subscribe(topic)
    bench.client().publish(topic, b"before", qos=1)
    (sent,) = client.messages(acknowledge=False)
    client.unsubscribe(topic)
    client.vanish()
    again = bench.keeper(version, client_id)
    message = again.message()
    assert (message.payload, message.packet_id) == (b"before", sent.packet_id)


@pytest.mark.mqtt5("3.12.4-1")
@pytest.mark.mqtt311("3.12.4-1")
@EITHER
def test_every_ping_is_answered(bench: Bench, version: Version) -> None:
    client = bench.client(version)
    client.send(*[PingReq()] * 20)
    assert [client.receive() for _ in range(20)] == [PingResp()] * 20


@pytest.mark.mqtt5("4.3.2-5", "3.3.1-3")
@pytest.mark.mqtt311("4.3.2-2", "3.3.1-3")
@EITHER
def test_an_acknowledged_packet_identifier_begins_a_new_message_whatever_its_dup_says(
    bench: Bench, version: Version
) -> None:
    topic = bench.name()
    receiver, sender = bench.client(version), bench.client(version)
    receiver.subscribe(topic)
    for payload, duplicate in ((b"1", False), (b"2", False), (b"3", True)):
        sender.send(Publish(topic, payload, 1, duplicate=duplicate, packet_id=7))
        assert sender.expect(PubAck) == PubAck(7)
    messages = receiver.messages()
    assert [message.payload for message in messages] == [b"1", b"2", b"3"]
    assert not any(message.duplicate for message in messages)


@pytest.mark.mqtt5("3.3.2-3")
@pytest.mark.mqtt311("3.3.2-3", "3.8.3-2")
@EITHER
def test_a_client_gets_what_its_filters_take_and_nothing_else(bench: Bench, version: Version) -> None:
    root = bench.name()
    client = bench.client(version)
    client.subscribe(f"{root}/+/c", f"{root}/x/#", f"{root}/exact")
    for tail in ("a/c", "/c", "a/b/c", "c", "x", "x/", "x/1", "x/1/2", "exact", "exact/", "EXACT"):
        client.publish(f"{root}/{tail}")
    got = [message.topic.removeprefix(f"{root}/") for message in client.messages()]
    assert got == ["a/c", "/c", "x/", "x/1", "x/1/2", "exact"]


LEVEL = st.sampled_from(["", "a", "b", "$x"])
FILTER_LEVEL = st.sampled_from(["", "a", "b", "+", "$x"])


@pytest.mark.mqtt5("4.7.1-1", "4.7.1-2", "3.3.2-3")
@pytest.mark.mqtt311("4.7.1-2", "4.7.1-3", "3.3.2-3")
@given(
    filters=st.lists(st.tuples(st.lists(FILTER_LEVEL, min_size=1, max_size=3), st.booleans()), max_size=6),
    topics=st.lists(st.lists(LEVEL, min_size=1, max_size=4), max_size=6),
)
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_filters_take_what_the_rules_say(
    bench: Bench, filters: list[tuple[list[str], bool]], topics: list[list[str]]
) -> None:
    root = bench.name()
    wanted = {"/".join([root, *levels, *(["#"] if rest else [])]) for levels, rest in filters}
    client = bench.client()
    if wanted:
        client.subscribe(*wanted, qos=0)
    written = ["/".join([root, *levels]) for levels in topics]
    for topic in written:
        client.publish(topic)
    expected = [topic for topic in written for each in wanted if matches(each, topic)]
    assert sorted(message.topic for message in client.messages()) == sorted(expected)
    client.close()


@pytest.mark.mqtt5("4.7.1-1", "4.7.1-2")
@pytest.mark.mqtt311("4.7.1-2", "4.7.1-3")
@pytest.mark.parametrize("wrong", ["a/#/b", "a#", "#a", "##", "a+", "+a/b", "a/b+", "a/++"])
def test_a_wildcard_that_is_no_whole_level_is_refused(bench: Bench, wrong: str) -> None:
    client, old = bench.client(), bench.client(V311)
    assert client.subscribe(wrong, bench.name()) == (143, 1)
    old.send(Subscribe(1, (SubscribeRequest(wrong, 0),)))
    assert old.end() is None


@pytest.mark.mqtt5("3.2.2-10", "3.2.2-11")
@pytest.mark.aws("qos-2")
def test_qos_2_is_not_served(bench: Bench) -> None:
    topic = bench.name()
    client = bench.client()
    assert client.subscribe(topic, qos=2) == (1,)
    client.send(Publish(topic, b"x", 2, packet_id=1))
    assert client.end() == 155
    for packet in (Subscribe(1, (SubscribeRequest(topic, 2),)), Publish(topic, b"x", 2, packet_id=1)):
        old = bench.client(V311)
        old.send(packet)
        assert old.end() is None


@pytest.mark.aws("hash-without-parent")
@EITHER
def test_a_hash_does_not_take_its_parent(bench: Bench, version: Version) -> None:
    topic = bench.name()
    client = bench.client(version)
    client.subscribe(f"{topic}/#")
    client.publish(topic)
    client.publish(f"{topic}/below")
    assert [message.topic for message in client.messages()] == [f"{topic}/below"]
