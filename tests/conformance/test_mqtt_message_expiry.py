"""Message expiry: it counts down while a message waits, and what has expired is not delivered."""

from __future__ import annotations

import pytest
from conformance_bench import V5, V311, Bench

from iot_customauth_client.local.codec import Property, PubAck, Version

EXPIRY = Property.MESSAGE_EXPIRY_INTERVAL


@pytest.mark.mqtt5("3.3.2-6")
@pytest.mark.parametrize("waited", [0, 1, 30, 99])
def test_what_is_left_is_told(bench: Bench, waited: int) -> None:
    topic = bench.name()
    away = bench.keeper(V5)
    away.subscribe(topic)
    away.leave()
    bench.client(V5).publish(topic, qos=1, properties={EXPIRY: 100})
    bench.clock.advance(waited)
    assert bench.keeper(V5, away.client_id).message().properties == {EXPIRY: 100 - waited}


@pytest.mark.mqtt5("3.3.2-5")
@pytest.mark.parametrize("version", [V5, V311])
@pytest.mark.parametrize("waited", [100, 101, 3_000])
def test_what_has_expired_is_not_delivered(bench: Bench, version: Version, waited: int) -> None:
    topic = bench.name()
    away, sender = bench.keeper(version), bench.client(V5)
    away.subscribe(topic)
    away.leave()
    sender.publish(topic, b"expired", qos=1, properties={EXPIRY: 100})
    sender.publish(topic, b"later", qos=1, properties={EXPIRY: 100_000})
    sender.publish(topic, b"for ever", qos=1)
    bench.clock.advance(waited)
    assert bench.keeper(version, away.client_id).payloads() == [b"later", b"for ever"]


@pytest.mark.mqtt5("3.3.2-5")
def test_what_waits_behind_the_window_expires_too(bench: Bench) -> None:
    topic = bench.name()
    slow = bench.client(V5, properties={Property.RECEIVE_MAXIMUM: 1})
    slow.subscribe(topic)
    sender = bench.client(V5)
    for payload in (b"first", b"second"):
        sender.publish(topic, payload, qos=1, properties={EXPIRY: 100})
    sender.publish(topic, b"third", qos=1)
    (first,) = slow.messages(acknowledge=False)
    bench.clock.advance(100)
    assert first.packet_id is not None
    slow.send(PubAck(first.packet_id))
    assert slow.payloads() == [b"third"]


@pytest.mark.aws("message-expiry-bounds")
@pytest.mark.parametrize(("asked", "told"), [(0, 1), (1, 1), (604_800, 604_800), (0xFFFF_FFFF, 604_800)])
def test_the_expiry_is_clamped(bench: Bench, asked: int, told: int) -> None:
    topic = bench.name()
    client = bench.client(V5)
    client.subscribe(topic)
    client.publish(topic, properties={EXPIRY: asked})
    assert client.message().properties == {EXPIRY: told}


def test_a_message_without_an_expiry_gets_none(bench: Bench) -> None:
    topic = bench.name()
    client = bench.client(V5)
    client.subscribe(topic)
    client.publish(topic)
    assert EXPIRY not in client.message().properties
