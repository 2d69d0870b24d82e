"""Subscription options of MQTT 5: No Local, Retain As Published, Retain Handling; and subscription identifiers."""

from __future__ import annotations

import pytest
from conformance_bench import V5, Bench, raw, text

from iot_customauth_client.local.codec import Property, Subscribe, SubscribeRequest


@pytest.mark.mqtt5("3.8.3-3")
def test_no_local_keeps_a_clients_own_messages_from_it(bench: Bench) -> None:
    topic = bench.name()
    client, other = bench.client(V5), bench.client(V5)
    client.subscribe(SubscribeRequest(topic, 1, no_local=True))
    client.publish(topic, b"own", qos=1)
    other.publish(topic, b"other", qos=1)
    assert client.payloads() == [b"other"]


@pytest.mark.mqtt5("3.8.3-3")
def test_no_local_goes_by_the_client_id_over_connections(bench: Bench) -> None:
    topic = bench.name()
    client = bench.keeper(V5)
    client.subscribe(SubscribeRequest(topic, 1, no_local=True))
    client.leave()
    again = bench.keeper(V5, client.client_id)
    again.publish(topic, b"own", qos=1)
    assert again.messages() == []


def test_without_no_local_a_client_hears_itself(bench: Bench) -> None:
    topic = bench.name()
    client = bench.client(V5)
    client.subscribe(topic)
    client.publish(topic, b"own")
    assert client.payloads() == [b"own"]


@pytest.mark.mqtt5("3.3.1-12", "3.3.1-13")
@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("retain", [False, True])
def test_retain_as_published_keeps_the_flag_of_a_live_message(bench: Bench, as_published: bool, retain: bool) -> None:
    topic = bench.name()
    client = bench.client(V5)
    client.subscribe(SubscribeRequest(topic, 0, retain_as_published=as_published))
    client.publish(topic, b"x", retain=retain)
    assert client.message().retain is (retain and as_published)


@pytest.mark.mqtt5("3.3.1-9", "3.3.1-10", "3.3.1-11")
@pytest.mark.parametrize(("handling", "first", "second"), [(0, True, True), (1, True, False), (2, False, False)])
def test_retain_handling_says_when_retained_messages_are_sent(
    bench: Bench, handling: int, first: bool, second: bool
) -> None:
    topic = bench.name()
    client = bench.client(V5)
    client.publish(topic, b"kept", retain=True)
    for expected in (first, second):
        client.subscribe(SubscribeRequest(topic, 0, retain_handling=handling))
        assert client.payloads() == ([b"kept"] if expected else [])
    client.unsubscribe(topic)
    client.subscribe(SubscribeRequest(topic, 0, retain_handling=handling))
    assert bool(client.payloads()) is first


@pytest.mark.mqtt5("3.3.1-10")
def test_a_subscription_of_a_resumed_session_is_not_new(bench: Bench) -> None:
    topic = bench.name()
    client = bench.keeper(V5)
    client.publish(topic, b"kept", retain=True)
    client.subscribe(SubscribeRequest(topic, 0, retain_handling=1))
    assert client.payloads() == [b"kept"]
    client.leave()
    again = bench.keeper(V5, client.client_id)
    again.subscribe(SubscribeRequest(topic, 0, retain_handling=1))
    assert again.messages() == []


@pytest.mark.mqtt5("3.8.4-3")
def test_subscribing_again_replaces_all_options(bench: Bench) -> None:
    topic = bench.name()
    client = bench.client(V5)
    client.subscribe(SubscribeRequest(topic, 1, no_local=True))
    client.subscribe(SubscribeRequest(topic, 0, retain_as_published=True))
    client.publish(topic, b"own", qos=1, retain=True)
    message = client.message()
    assert (message.qos, message.retain) == (0, True)


@pytest.mark.aws("subscription-identifiers")
@pytest.mark.parametrize("number", [1, 268_435_455])
def test_a_subscription_identifier_ends_the_connection(bench: Bench, number: int) -> None:
    client = bench.client(V5)
    properties = {Property.SUBSCRIPTION_IDENTIFIER: number}
    client.send(Subscribe(1, (SubscribeRequest(bench.name(), 0),), properties))
    assert client.end() == 161


@pytest.mark.mqtt5("4.13.1-1")
def test_subscription_identifier_0_is_a_protocol_error(bench: Bench) -> None:
    client = bench.client(V5)
    client.send_bytes(raw(0x82, b"\0\1" + b"\2\x0b\0" + text("a") + b"\0"))
    assert client.end() == 130  # section 3.8.2.1.2
