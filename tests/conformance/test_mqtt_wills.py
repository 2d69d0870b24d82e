"""Wills: when one is published, when it is not, and how it looks."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, V311, Bench, Peer

from iot_customauth_client.local.codec import ConnAck, Properties, Property, Version, Will


def watched(bench: Bench, topic: str) -> Peer:
    watcher = bench.client()
    watcher.subscribe(topic)
    return watcher


def with_delay(seconds: int, topic: str) -> Will:
    return Will(topic, b"gone", 1, properties={Property.WILL_DELAY_INTERVAL: seconds})


def expiring(seconds: int) -> Properties:
    return {Property.SESSION_EXPIRY_INTERVAL: seconds}


@pytest.mark.mqtt5("3.1.2-7", "3.1.2-8", "3.1.2-14")
@pytest.mark.mqtt311("3.1.2-8", "3.1.2-16")
@EITHER
@pytest.mark.parametrize("qos", [0, 1])
def test_a_will_is_published_when_the_connection_is_lost(bench: Bench, version: Version, qos: int) -> None:
    topic = bench.name()
    watcher = watched(bench, topic)
    client = bench.client(version, will=Will(topic, b"gone", qos))
    assert watcher.messages() == []
    client.vanish()
    message = watcher.message()
    assert (message.payload, message.qos, message.retain) == (b"gone", qos, False)
    late = watched(bench, topic)
    assert late.messages() == []


@pytest.mark.mqtt5("3.1.2-8")
@pytest.mark.mqtt311("3.1.2-8")
@EITHER
@pytest.mark.parametrize(
    "wrong", [b"\0\0", b"\x30\3\0\1+", b"\x20\2\0\0"], ids=["no-such-type", "wildcard-in-topic", "connack"]
)
def test_a_will_is_published_when_its_client_breaks_the_protocol(bench: Bench, version: Version, wrong: bytes) -> None:
    topic = bench.name()
    watcher = watched(bench, topic)
    client = bench.client(version, will=Will(topic, b"gone"))
    client.send_bytes(wrong)
    client.end()
    assert watcher.message().payload == b"gone"


@pytest.mark.mqtt5("3.1.2-8", "3.1.2-10", "3.14.4-3")
@pytest.mark.mqtt311("3.1.2-10", "3.14.4-3")
@EITHER
def test_a_disconnect_takes_the_will_away(bench: Bench, version: Version) -> None:
    topic = bench.name()
    watcher = watched(bench, topic)
    client = bench.client(version, will=Will(topic, b"gone"))
    client.leave()
    assert watcher.messages() == []


@pytest.mark.mqtt5("3.1.2-8", "3.1.2-10", "3.14.4-3")
@pytest.mark.parametrize("code", [4, 0x80, 0x81, 0x83, 0x97])
def test_a_disconnect_with_another_code_publishes_the_will(bench: Bench, code: int) -> None:
    topic = bench.name()
    watcher = watched(bench, topic)
    client = bench.client(V5, will=Will(topic, b"gone"))
    client.leave(code)
    assert watcher.message().payload == b"gone"


@pytest.mark.mqtt311("3.1.2-12")
@EITHER
def test_without_a_will_nothing_is_published(bench: Bench, version: Version) -> None:
    topic = bench.name()
    watcher = watched(bench, topic)
    first = bench.client(version, will=Will(topic, b"gone"))
    first.leave()
    bench.client(version, first.client_id).vanish()
    assert watcher.messages() == []


@pytest.mark.mqtt5("3.1.2-10")
@pytest.mark.mqtt311("3.1.2-10")
@EITHER
def test_a_will_is_published_once(bench: Bench, version: Version) -> None:
    topic = bench.name()
    watcher = watched(bench, topic)
    expiry = expiring(60) if version is V5 else {}
    client = bench.client(version, clean_start=False, will=Will(topic, b"gone"), properties=expiry)
    client.vanish()
    again = bench.client(version, client.client_id, clean_start=False, properties=expiry)
    again.vanish()
    bench.clock.advance(10_000)
    assert watcher.payloads() == [b"gone"]


@pytest.mark.mqtt5("3.1.2-15")
@pytest.mark.mqtt311("3.1.2-17")
@EITHER
def test_a_will_can_be_retained(bench: Bench, version: Version) -> None:
    topic = bench.name()
    client = bench.client(version, will=Will(topic, b"gone", 1, retain=True))
    client.vanish()
    late = watched(bench, topic)
    message = late.message()
    assert (message.payload, message.qos, message.retain) == (b"gone", 1, True)


@pytest.mark.mqtt5("3.1.3-10", "3.3.2-18")
def test_a_will_keeps_its_properties_and_their_order(bench: Bench) -> None:
    topic = bench.name()
    watcher = watched(bench, topic)
    properties = {
        Property.PAYLOAD_FORMAT_INDICATOR: 1,
        Property.CONTENT_TYPE: "text/plain",
        Property.RESPONSE_TOPIC: "answers",
        Property.CORRELATION_DATA: b"\xff",
        Property.USER_PROPERTY: (("z", "1"), ("a", "2"), ("z", "1"), ("z", "0")),
    }
    client = bench.client(V5, will=Will(topic, b"gone", properties=properties))
    client.vanish()
    assert watcher.message().properties == properties


@pytest.mark.mqtt5("3.1.2-8")
def test_a_will_waits_for_its_delay(bench: Bench) -> None:
    topic = bench.name()
    watcher = watched(bench, topic)
    client = bench.client(V5, will=with_delay(30, topic), properties=expiring(100))
    client.vanish()
    bench.clock.advance(29)
    assert watcher.messages() == []
    bench.clock.advance(1)
    assert watcher.payloads() == [b"gone"]


@pytest.mark.mqtt5("3.1.2-8")
@pytest.mark.parametrize("expiry", [0, 10])
def test_a_will_comes_no_later_than_the_session_ends(bench: Bench, expiry: int) -> None:
    topic = bench.name()
    watcher = watched(bench, topic)
    client = bench.client(V5, will=with_delay(30, topic), properties=expiring(expiry))
    client.vanish()
    if expiry:
        assert watcher.messages() == []
    bench.clock.advance(expiry)
    assert watcher.payloads() == [b"gone"]


@pytest.mark.mqtt5("3.1.3-9")
def test_a_client_that_comes_back_within_the_delay_takes_its_will_back(bench: Bench) -> None:
    topic = bench.name()
    watcher = watched(bench, topic)
    client = bench.client(V5, will=with_delay(30, topic), properties=expiring(100))
    client.vanish()
    bench.clock.advance(29)
    again = bench.client(V5, client.client_id, clean_start=False, properties=expiring(100))
    bench.clock.advance(1_000)
    again.ping()
    assert watcher.messages() == []


@pytest.mark.mqtt5("3.1.2-8")
def test_a_client_that_comes_back_with_a_clean_start_does_not(bench: Bench) -> None:
    topic = bench.name()
    watcher = watched(bench, topic)
    client = bench.client(V5, will=with_delay(30, topic), properties=expiring(100))
    client.vanish()
    bench.client(V5, client.client_id)
    assert watcher.payloads() == [b"gone"]


@pytest.mark.mqtt5("3.14.4-3")
def test_a_disconnect_takes_a_will_away_that_has_a_delay(bench: Bench) -> None:
    topic = bench.name()
    watcher = watched(bench, topic)
    client = bench.client(V5, will=with_delay(5, topic), properties=expiring(100))
    client.leave()
    bench.clock.advance(1_000)
    assert watcher.messages() == []


@pytest.mark.mqtt5("3.2.2-12")
@pytest.mark.aws("qos-2", "no-connack-311")
def test_a_will_of_qos_2_is_refused(bench: Bench) -> None:
    new, old = bench.peer(V5), bench.peer(V311)
    answer = new.connect(will=Will(bench.name(), b"", 2))
    assert isinstance(answer, ConnAck)
    assert answer.reason_code == 155
    assert new.receive() is None
    assert old.connect(will=Will(bench.name(), b"", 2)) is None


@pytest.mark.mqtt5("3.1.4-2")
@EITHER
@pytest.mark.parametrize(
    ("topic", "code"), [("no-publish/x", 135), ("$SYS/x", 144), ("a/" * 8, 144)], ids=["policy", "reserved", "levels"]
)
def test_a_will_that_could_not_be_published_is_refused(bench: Bench, version: Version, topic: str, code: int) -> None:
    peer = bench.peer(version)
    answer = peer.connect(will=Will(topic, b""))
    if version is V5:
        assert isinstance(answer, ConnAck)
        assert answer.reason_code == code
        assert peer.receive() is None
    else:
        assert answer is None


@pytest.mark.mqtt5("3.3.2-6", "3.3.2-5")
def test_the_expiry_of_a_will_counts_from_its_publication(bench: Bench) -> None:
    topic = bench.name()
    receiver = bench.keeper(V5)
    receiver.subscribe(topic)
    receiver.leave()
    properties = {Property.WILL_DELAY_INTERVAL: 30, Property.MESSAGE_EXPIRY_INTERVAL: 20}
    client = bench.client(V5, will=Will(topic, b"gone", 1, properties=properties), properties=expiring(100))
    client.vanish()
    bench.clock.advance(30 + 15)
    assert bench.keeper(V5, receiver.client_id).message().properties[Property.MESSAGE_EXPIRY_INTERVAL] == 5
