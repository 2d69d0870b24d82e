"""What is stored for a client that is away, and what it gets when it comes back."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, V311, Bench, Peer

from iot_customauth_client.local.codec import PubAck, Version


def come_back(bench: Bench, away: Peer) -> Peer:
    return bench.keeper(away.version, away.client_id)


@pytest.mark.mqtt5("4.5.0-1", "3.1.2-5", "3.1.2-23", "3.2.2-3")
@pytest.mark.mqtt311("3.1.2-5", "4.5.0-1", "3.1.2-4", "3.2.2-2")
@EITHER
@pytest.mark.parametrize("how", ["leave", "vanish"])
def test_messages_of_qos_1_wait_in_order_and_those_of_qos_0_do_not(bench: Bench, version: Version, how: str) -> None:
    topic = bench.name()
    away, sender = bench.keeper(version), bench.client(version)
    away.subscribe(topic)
    getattr(away, how)()
    for number in range(5):
        sender.publish(topic, b"kept %d" % number, qos=1)
        sender.publish(topic, b"lost %d" % number, qos=0)
    again = come_back(bench, away)
    assert again.connack is not None
    assert again.connack.session_present
    assert again.payloads() == [b"kept %d" % number for number in range(5)]


@pytest.mark.mqtt311("3.8.4-6")
@pytest.mark.mqtt5("3.8.4-8")
@EITHER
def test_nothing_waits_for_a_subscription_of_qos_0(bench: Bench, version: Version) -> None:
    topic = bench.name()
    away = bench.keeper(version)
    away.subscribe(topic, qos=0)
    away.leave()
    bench.client().publish(topic, qos=1)
    assert come_back(bench, away).messages() == []


@pytest.mark.mqtt5("3.1.2-4", "3.2.2-2")
@pytest.mark.mqtt311("3.1.2-6", "3.2.2-1")
@EITHER
def test_a_clean_start_forgets_subscriptions_and_what_waited(bench: Bench, version: Version) -> None:
    topic = bench.name()
    away, sender = bench.keeper(version), bench.client(version)
    away.subscribe(topic)
    away.leave()
    sender.publish(topic, b"lost", qos=1)
    fresh = bench.keeper(version, away.client_id, clean_start=True)
    assert fresh.connack is not None
    assert not fresh.connack.session_present
    sender.publish(topic, b"lost too", qos=1)
    assert fresh.messages() == []


@pytest.mark.mqtt5("3.1.2-6", "3.2.2-3", "3.1.4-4")
@pytest.mark.mqtt311("3.1.2-4", "3.2.2-3", "3.1.4-3")
@EITHER
def test_a_client_without_a_session_gets_a_new_one(bench: Bench, version: Version) -> None:
    client = bench.keeper(version)
    assert client.connack is not None
    assert not client.connack.session_present
    client.leave()
    again = come_back(bench, client)
    assert again.connack is not None
    assert again.connack.session_present


@pytest.mark.mqtt5("3.1.3-2")
@pytest.mark.mqtt311("3.1.3-2")
@EITHER
def test_a_session_belongs_to_its_client_id(bench: Bench, version: Version) -> None:
    topic = bench.name()
    away = bench.keeper(version, bench.name("Device"))
    away.subscribe(topic)
    away.leave()
    bench.client().publish(topic, qos=1)
    other = bench.keeper(version, away.client_id.lower())
    assert other.connack is not None
    assert not other.connack.session_present
    assert other.messages() == []
    assert len(come_back(bench, away).messages()) == 1


@EITHER
def test_live_messages_come_behind_those_that_waited(bench: Bench, version: Version) -> None:
    topic = bench.name()
    away, sender = bench.keeper(version), bench.client(version)
    away.subscribe(topic)
    away.leave()
    expected = [b"%d" % number for number in range(150)]  # more than the window of 100
    for payload in expected[:-1]:
        sender.publish(topic, payload, qos=1)
    again = come_back(bench, away)
    again.ping()
    sender.publish(topic, expected[-1], qos=1)
    assert again.payloads() == expected


@pytest.mark.mqtt5("4.1.0-1", "4.1.0-2")
@pytest.mark.mqtt311("4.1.0-1", "4.1.0-2")
@EITHER
def test_a_session_lasts_as_long_as_its_connection_and_its_expiry_begins_with_the_end(
    bench: Bench, version: Version
) -> None:
    topic = bench.name()
    client, sender = bench.keeper(version), bench.client(version)
    client.subscribe(topic)
    bench.clock.advance(10_000)  # more than the expiry: it counts without a connection only
    sender.publish(topic, b"live", qos=1)
    assert client.payloads() == [b"live"]
    client.leave()
    bench.clock.advance(3_599)
    sender.publish(topic, b"kept", qos=1)
    again = come_back(bench, client)
    assert again.payloads() == [b"kept"]
    again.leave()
    bench.clock.advance(3_600)
    fresh = come_back(bench, client)
    assert fresh.connack is not None
    assert not fresh.connack.session_present


@pytest.mark.aws("sessions-by-version")
@pytest.mark.parametrize(("before", "after"), [(V5, V311), (V311, V5)])
def test_the_session_of_one_version_is_not_resumed_by_the_other(bench: Bench, before: Version, after: Version) -> None:
    away = bench.keeper(before)
    away.leave()
    other = bench.keeper(after, away.client_id)
    assert other.connack is not None
    assert not other.connack.session_present


@pytest.mark.mqtt5("4.3.2-3", "4.4.0-1")
@pytest.mark.mqtt311("4.3.2-1", "4.4.0-1", "2.3.1-4")
@EITHER
def test_a_message_is_the_clients_once_it_is_acknowledged(bench: Bench, version: Version) -> None:
    topic = bench.name()
    client, sender = bench.keeper(version), bench.client(version)
    client.subscribe(topic)
    for number in range(3):
        sender.publish(topic, b"%d" % number, qos=1)
    first, second, third = client.messages(acknowledge=False)
    assert second.packet_id is not None
    client.send(PubAck(second.packet_id))
    client.ping()
    client.vanish()
    again = come_back(bench, client)
    resent = again.messages()
    assert [(each.packet_id, each.payload) for each in resent] == [(first.packet_id, b"0"), (third.packet_id, b"2")]
    again.vanish()
    assert come_back(bench, client).messages() == []


@pytest.mark.mqtt5("4.4.0-2")
def test_a_message_that_the_client_refused_is_not_sent_again(bench: Bench) -> None:
    topic = bench.name()
    client = bench.keeper(V5)
    client.subscribe(topic)
    bench.client().publish(topic, qos=1)
    (message,) = client.messages(acknowledge=False)
    assert message.packet_id is not None
    client.send(PubAck(message.packet_id, 0x80))
    client.ping()
    client.vanish()
    assert come_back(bench, client).messages() == []
