"""The order of messages. AWS promises none (page "MQTT"); the endpoint keeps MQTT's, so that tests repeat."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, Bench

from iot_customauth_client.local.codec import PubAck, Publish, Version


@pytest.mark.mqtt5("4.6.0-5", "4.6.0-6")
@pytest.mark.mqtt311("4.6.0-5", "4.6.0-6")
@pytest.mark.aws("order")
@EITHER
@pytest.mark.parametrize("qos", [0, 1])
def test_messages_of_one_client_arrive_in_the_order_in_which_it_sent_them(
    bench: Bench, version: Version, qos: int
) -> None:
    root = bench.name()
    exact, wild, sender = bench.client(version), bench.client(version), bench.client(version)
    exact.subscribe(f"{root}/a")
    wild.subscribe(f"{root}/#")
    expected = [b"%d" % number for number in range(200)]
    sender.send(
        *(
            Publish(f"{root}/a", payload, qos, packet_id=number + 1 if qos else None)
            for number, payload in enumerate(expected[:100])
        )
    )
    sender.ping()
    assert exact.payloads() + wild.payloads() == expected[:100] * 2
    for payload in expected[100:]:
        sender.publish(f"{root}/a", payload, qos=qos)
    assert exact.payloads() == wild.payloads() == expected[100:]


@pytest.mark.mqtt5("4.6.0-5")
@pytest.mark.mqtt311("4.6.0-6")
@EITHER
def test_messages_stay_in_order_whatever_order_they_are_acknowledged_in(bench: Bench, version: Version) -> None:
    topic = bench.name()
    client, sender = bench.client(version), bench.client(version)
    client.subscribe(topic)
    expected = [b"%d" % number for number in range(120)]
    for payload in expected:
        sender.publish(topic, payload, qos=1)
    first = client.messages(acknowledge=False)
    client.send(*(PubAck(each.packet_id or 0) for each in reversed(first)))
    assert [each.payload for each in first] + client.payloads() == expected


@pytest.mark.mqtt5("4.3.2-4", "4.6.0-5")
@pytest.mark.mqtt311("4.3.2-2")
@EITHER
def test_answers_come_in_the_order_of_what_they_answer(bench: Bench, version: Version) -> None:
    topic = bench.name()
    client = bench.client(version)
    client.send(*(Publish(topic, b"", 1, packet_id=number) for number in (5, 3, 9, 1, 7)))
    assert [client.expect(PubAck).packet_id for _ in range(5)] == [5, 3, 9, 1, 7]
