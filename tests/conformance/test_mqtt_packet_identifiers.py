"""Packet identifiers: never 0, never one that is in use, and each side has its own."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, Bench, raw, raw_publish, text

from iot_customauth_client.local.codec import (
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    UnsubAck,
    Unsubscribe,
    Version,
)


@pytest.mark.mqtt5("2.2.1-3")
@pytest.mark.mqtt311("2.3.1-1")
@EITHER
@pytest.mark.parametrize("packet", ["publish", "subscribe", "unsubscribe", "puback"])
def test_identifier_0_ends_the_connection(bench: Bench, version: Version, packet: str) -> None:
    none = b"\0" if version is V5 else b""
    packets = {
        "publish": raw_publish(version, "a", flags=2, after=b"\0\0" + none),
        "subscribe": raw(0x82, b"\0\0" + none + text("a") + b"\0"),
        "unsubscribe": raw(0xA2, b"\0\0" + none + text("a")),
        "puback": raw(0x40, b"\0\0"),
    }
    client = bench.client(version)
    client.send_bytes(packets[packet])
    assert client.end() == (130 if version is V5 else None)


@pytest.mark.mqtt5("2.2.1-4", "4.3.2-1")
@pytest.mark.mqtt311("2.3.1-4", "4.3.2-1")
@EITHER
def test_what_is_under_way_has_different_identifiers_and_none_is_0(bench: Bench, version: Version) -> None:
    topic = bench.name()
    client, sender = bench.client(version), bench.client(version)
    client.subscribe(topic)
    for _ in range(100):
        sender.publish(topic, qos=1)
    ids = [message.packet_id for message in client.messages(acknowledge=False)]
    assert None not in ids
    assert 0 not in ids
    assert len(set(ids)) == 100


@pytest.mark.mqtt5("2.2.1-5", "2.2.1-6")
@pytest.mark.mqtt311("2.3.1-6", "2.3.1-7")
@EITHER
def test_both_sides_may_use_the_same_identifier_at_once(bench: Bench, version: Version) -> None:
    topic = bench.name()
    client = bench.client(version)
    client.subscribe(topic)
    bench.client(version).publish(topic, b"theirs", qos=1)
    (theirs,) = client.messages(acknowledge=False)
    assert theirs.packet_id is not None
    same = theirs.packet_id
    client.send(Subscribe(same, (SubscribeRequest("x", 0),)), Publish("x", b"", 1, packet_id=same))
    client.send(Unsubscribe(same, ("x",)), PubAck(same))
    assert client.expect(SubAck).packet_id == same
    assert client.expect(PubAck).packet_id == same
    assert client.expect(UnsubAck).packet_id == same
    assert [message.payload for message in client.messages()] == [b""]


@pytest.mark.mqtt5("2.2.1-4")
@EITHER
def test_a_puback_that_nothing_waits_for_does_no_harm(bench: Bench, version: Version) -> None:
    topic = bench.name()
    client = bench.client(version)
    client.subscribe(topic)
    client.send(PubAck(1), PubAck(65_535))
    client.publish(topic, b"x", qos=1)
    assert client.payloads() == [b"x"]


@pytest.mark.mqtt5("2.2.1-2")
@pytest.mark.mqtt311("2.3.1-5")
@EITHER
def test_qos_0_has_no_identifier(bench: Bench, version: Version) -> None:
    topic = bench.name()
    client = bench.client(version)
    client.subscribe(topic)
    payload = b"\0\1 is payload"
    client.send_bytes(raw_publish(version, topic, after=(b"\0" if version is V5 else b"") + payload))
    message = client.message()
    assert (message.packet_id, message.payload) == (None, payload)
