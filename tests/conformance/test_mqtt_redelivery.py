"""What was not acknowledged comes again on the next connection, and only there."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, Bench

from iot_customauth_client.local.codec import Property, Version


@pytest.mark.mqtt5("4.4.0-1", "4.3.2-3", "2.2.1-4")
@pytest.mark.mqtt311("4.4.0-1", "2.3.1-4", "4.3.2-1")
@pytest.mark.aws("dup")
@EITHER
def test_what_was_not_acknowledged_comes_again_with_its_packet_identifier_and_without_dup(
    bench: Bench, version: Version
) -> None:
    topic = bench.name()
    client, sender = bench.keeper(version), bench.client(version)
    client.subscribe(topic)
    for number in range(5):
        sender.publish(topic, b"%d" % number, qos=1)
    sent = client.messages(acknowledge=False)
    client.vanish()
    sender.publish(topic, b"later", qos=1)
    again = bench.keeper(version, client.client_id)
    resent = again.messages()
    assert resent[:-1] == sent  # packet identifiers, order, and DUP 0
    assert resent[-1].payload == b"later"
    assert resent[-1].packet_id not in {message.packet_id for message in sent}


@pytest.mark.mqtt5("4.4.0-1")
@EITHER
def test_nothing_comes_again_while_the_connection_lasts(bench: Bench, version: Version) -> None:
    topic = bench.name()
    client = bench.keeper(version)
    client.subscribe(topic)
    bench.client().publish(topic, qos=1)
    assert len(client.messages(acknowledge=False)) == 1
    bench.clock.advance(3_599)
    assert client.messages() == []


@pytest.mark.mqtt311("3.1.2-6")
@EITHER
def test_nothing_comes_again_without_a_session(bench: Bench, version: Version) -> None:
    topic = bench.name()
    client = bench.client(version)
    client.subscribe(topic)
    bench.client().publish(topic, qos=1)
    assert len(client.messages(acknowledge=False)) == 1
    client.vanish()
    assert bench.keeper(version, client.client_id).messages() == []


@EITHER
def test_it_comes_again_on_every_connection_until_it_is_acknowledged(bench: Bench, version: Version) -> None:
    topic = bench.name()
    client = bench.keeper(version)
    client.subscribe(topic)
    bench.client().publish(topic, b"x", qos=1)
    (sent,) = client.messages(acknowledge=False)
    for _ in range(3):
        client.vanish()
        client = bench.keeper(version, client.client_id)
        assert client.messages(acknowledge=False) == [sent]
    assert client.messages() == []


@pytest.mark.mqtt5("4.9.0-1", "4.9.0-2", "3.3.4-9")
def test_the_window_of_the_new_connection_holds_for_what_comes_again(bench: Bench) -> None:
    topic = bench.name()
    client, sender = bench.keeper(V5), bench.client()
    client.subscribe(topic)
    for number in range(10):
        sender.publish(topic, b"%d" % number, qos=1)
    assert len(client.messages(acknowledge=False)) == 10
    client.vanish()
    again = bench.client(
        V5,
        client.client_id,
        clean_start=False,
        properties={Property.SESSION_EXPIRY_INTERVAL: 60, Property.RECEIVE_MAXIMUM: 3},
    )
    first = again.messages(acknowledge=False)
    assert [message.payload for message in first] == [b"0", b"1", b"2"]
