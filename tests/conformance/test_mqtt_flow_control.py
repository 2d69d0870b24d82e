"""Receive Maximum in both directions: how many messages of QoS 1 may be without a PUBACK."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, V311, Bench
from depth import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iot_customauth_client.local.codec import Disconnect, Property, PubAck, Publish, Version


@pytest.mark.mqtt5("3.3.4-9", "4.9.0-1", "4.9.0-2")
@pytest.mark.parametrize(("asked", "window"), [(1, 1), (7, 7), (100, 100), (101, 100), (65_535, 100), (None, 100)])
def test_no_more_are_unacknowledged_than_the_client_takes(bench: Bench, asked: int | None, window: int) -> None:
    topic = bench.name()
    client = bench.client(V5, properties={} if asked is None else {Property.RECEIVE_MAXIMUM: asked})
    client.subscribe(topic)
    sender = bench.client(V5)
    for number in range(120):
        sender.publish(topic, b"%d" % number, qos=1)
    first = client.messages(acknowledge=False)
    assert len(first) == window
    client.send(*(PubAck(each.packet_id or 0) for each in first[: window // 2 + 1]))
    assert len(client.messages(acknowledge=False)) == min(window // 2 + 1, 120 - window)


@pytest.mark.mqtt5("3.3.4-10", "4.9.0-3")
@EITHER
def test_everything_else_goes_on_while_the_window_is_full(bench: Bench, version: Version) -> None:
    topic, other = bench.name(), bench.name()
    client, sender = bench.client(version), bench.client(version)
    client.subscribe(topic)
    for _ in range(101):
        sender.publish(topic, qos=1)
    assert len(client.messages(acknowledge=False)) == 100
    client.ping()
    client.subscribe(other, qos=0)
    sender.publish(other, b"qos 0")
    assert [message.payload for message in client.messages(acknowledge=False)] == [b"qos 0"]
    client.unsubscribe(other)
    answer = client.publish(other, qos=1)
    assert answer is not None
    client.leave()


@pytest.mark.mqtt5("4.9.0-2", "4.6.0-5")
@given(
    window=st.integers(1, 5),
    steps=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6),
)
@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_acknowledged_when_all_arrive_in_order(
    bench: Bench, window: int, steps: list[tuple[int, int]]
) -> None:
    topic = bench.name()
    client = bench.client(V5, properties={Property.RECEIVE_MAXIMUM: window})
    client.subscribe(topic)
    sender, sent = bench.client(V5), 0
    got: list[Publish] = []
    held: list[Publish] = []
    for published, acknowledged in steps:
        for _ in range(published):
            sender.publish(topic, b"%d" % sent, qos=1)
            sent += 1
        new = client.messages(acknowledge=False)
        got, held = got + new, held + new
        assert len(held) <= window
        client.send(*(PubAck(each.packet_id or 0) for each in held[:acknowledged]))
        held = held[acknowledged:]
    got += client.messages(acknowledge=False)[: sent - len(got)]
    client.send(*(PubAck(each.packet_id or 0) for each in got))
    got += client.messages()
    assert [each.payload for each in got] == [b"%d" % number for number in range(sent)]
    client.close()
    sender.close()


@pytest.mark.mqtt5("3.3.4-7")
@pytest.mark.aws("in-flight-311")
def test_more_than_the_endpoints_receive_maximum_ends_a_connection_of_5(bench: Bench) -> None:
    # The endpoint answers at once: only a fault brings a client over the 100.
    bench.endpoint.faults.swallow("PUBACK", times=None)
    try:
        for version in (V5, V311):
            topic = bench.name()
            watcher = bench.client(version)
            watcher.subscribe(topic, qos=0)
            client = bench.client(version)
            client.send(*(Publish(topic, b"", 1, packet_id=number) for number in range(1, 101)))
            client.ping()
            client.send(Publish(topic, b"", 1, packet_id=101))
            if version is V5:
                assert client.expect(Disconnect).reason_code == 147
                assert client.receive() is None
            else:
                client.ping()
            assert len(watcher.messages()) == 100
    finally:
        bench.endpoint.faults.clear()
