"""Maximum Packet Size: what a client cannot take is left out, and what the endpoint does not take ends a connection."""

from __future__ import annotations

import pytest
from conformance_bench import V5, V311, Bench, size

from iot_customauth_client.local.codec import (
    ConnAck,
    Property,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    Unsubscribe,
)

MAXIMUM = Property.MAXIMUM_PACKET_SIZE


@pytest.mark.mqtt5("3.1.2-24", "3.1.2-25")
@pytest.mark.parametrize("qos", [0, 1])
def test_a_message_that_is_too_large_for_a_client_is_left_out_and_counts_as_sent(bench: Bench, qos: int) -> None:
    topic = bench.name()
    fitting = Publish(topic, b"x" * 50, qos, packet_id=1 if qos else None)
    client = bench.client(V5, properties={MAXIMUM: size(fitting, V5), Property.RECEIVE_MAXIMUM: 1})
    other, sender = bench.client(V5), bench.client(V5)
    for receiver in (client, other):
        receiver.subscribe(topic)
    for length in (51, 50, 1_000, 3):
        sender.publish(topic, b"x" * length, qos=qos)
    assert [len(payload) for payload in client.payloads()] == [50, 3]
    assert [len(payload) for payload in other.payloads()] == [51, 50, 1_000, 3]


@pytest.mark.mqtt5("3.1.2-25", "4.4.0-1")
def test_it_does_not_come_again_either(bench: Bench) -> None:
    topic = bench.name()
    client = bench.client(V5, properties={MAXIMUM: 60, Property.SESSION_EXPIRY_INTERVAL: 100})
    client.subscribe(topic)
    bench.client(V5).publish(topic, b"x" * 100, qos=1)
    assert client.messages() == []
    client.vanish()
    assert bench.keeper(V5, client.client_id).messages() == []


@pytest.mark.mqtt5("3.2.2-19", "3.4.2-2", "3.9.2-1", "3.14.2-3", "3.1.2-24")
def test_a_reason_string_is_left_out_where_the_packet_would_be_too_large_with_it(bench: Bench) -> None:
    client = bench.client(V5, properties={MAXIMUM: 44})  # a CONNACK without an assigned client id has 38 bytes or so
    answer = client.publish("no-publish/x", qos=1)
    assert answer is not None
    assert (answer.reason_code, dict(answer.properties)) == (135, {})
    client.send(Subscribe(9, (SubscribeRequest("no-subscribe/x", 0),)))
    assert client.expect(SubAck) == SubAck(9, (135,))
    client.send(Publish("no-publish/x", b""))
    assert client.end() == 135
    refused = bench.peer(V5)
    connack = refused.connect(bench.name("no-connect"), properties={MAXIMUM: 20})
    assert connack == ConnAck(session_present=False, reason_code=135)
    assert refused.receive() is None


@pytest.mark.mqtt5("3.1.2-24")
def test_a_client_that_cannot_take_a_connack_gets_none(bench: Bench) -> None:
    peer = bench.peer(V5)
    assert peer.connect(properties={MAXIMUM: 4}) is None


@pytest.mark.mqtt5("3.1.2-24")
def test_an_answer_that_is_too_large_for_the_client_ends_the_connection(bench: Bench) -> None:
    client = bench.client(V5, properties={MAXIMUM: 44})
    client.send(Unsubscribe(1, tuple(bench.name() for _ in range(50))))  # an UNSUBACK with 50 codes
    assert client.end() == 151


@pytest.mark.mqtt5("3.2.2-15")
@pytest.mark.aws("maximum-packet")
def test_a_packet_over_the_endpoints_maximum_ends_the_connection(bench: Bench) -> None:
    for version, code in ((V5, 151), (V311, None)):
        client = bench.client(version)
        client.send_bytes(b"\x30\x81\x90\x09")  # the fixed header alone decides: 149,505 bytes follow
        assert client.end() == code


@pytest.mark.aws("payload-128-kib")
def test_a_payload_has_128_kib_and_no_more(bench: Bench) -> None:
    topic = bench.name()
    for version, code in ((V5, 151), (V311, None)):
        client = bench.client(version)
        client.subscribe(topic)
        client.publish(topic, b"x" * 131_072, qos=1)
        assert len(client.message().payload) == 131_072
        client.send(Publish(topic, b"x" * 131_073))
        assert client.end() == code
