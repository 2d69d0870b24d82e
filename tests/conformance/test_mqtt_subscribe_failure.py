"""Operations that are refused: codes in MQTT 5, and what AWS does to MQTT 3.1.1, which has no words for it."""

from __future__ import annotations

import pytest
from conformance_bench import V5, V311, Bench, Peer, authorize

from iot_customauth_client.clock import ManualClock
from iot_customauth_client.local import LocalEndpoint
from iot_customauth_client.local.codec import Publish, Subscribe, SubscribeRequest


@pytest.mark.mqtt5("3.8.4-7", "3.9.3-1", "3.9.3-2")
def test_each_refused_filter_has_its_code_at_its_place(bench: Bench) -> None:
    client = bench.client(V5)
    first, last = bench.name(), bench.name()
    codes = client.subscribe(first, "no-subscribe/x", "a/#/b", "$SYS/broker", f"{last}", "no-subscribe/y")
    assert codes == (1, 135, 143, 143, 1, 135)
    client.publish(first)
    client.publish(last)
    assert [message.topic for message in client.messages()] == [first, last]


@pytest.mark.aws("no-suback-311")
@pytest.mark.parametrize("topic_filter", ["no-subscribe/x", "a/#/b", "$SYS/broker"])
def test_a_refused_filter_of_311_is_hung_up_on_and_none_is_granted(bench: Bench, topic_filter: str) -> None:
    granted = bench.name()
    client = bench.keeper(V311)
    client.send(Subscribe(1, (SubscribeRequest(granted, 1), SubscribeRequest(topic_filter, 1))))
    assert client.end() is None
    again = bench.keeper(V311, client.client_id)
    again.publish(granted, qos=1)
    assert again.messages() == []


@pytest.mark.mqtt311("3.9.3-2", "3.8.4-5", "3.9.3-1")
def test_a_refused_filter_of_311_gets_0x80_where_that_is_chosen() -> None:
    clock = ManualClock()
    with LocalEndpoint(
        {"a": authorize}, default_authorizer="a", clock=clock, refused_subscribe_311="suback"
    ) as endpoint:
        bench = Bench(endpoint, clock)
        client = bench.client(V311)
        assert client.subscribe("a", "no-subscribe/x", "b/#/c", "d", qos=0) == (0, 0x80, 0x80, 0)
        bench.close()


@pytest.mark.aws("subscription-limits")
def test_9_filters_in_a_subscribe_and_51_subscriptions_are_too_many(bench: Bench) -> None:
    client = bench.client(V5)
    assert client.subscribe(*(bench.name() for _ in range(9))) == (151,) * 9
    for _ in range(6):
        assert client.subscribe(*(bench.name() for _ in range(8))) == (1,) * 8
    assert client.subscribe(*(bench.name() for _ in range(3))) == (1, 1, 151)
    old = bench.client(V311)
    old.send(Subscribe(1, tuple(SubscribeRequest(bench.name(), 0) for _ in range(9))))
    assert old.end() is None


@pytest.mark.mqtt5("3.4.2-1")
def test_a_refused_publish_of_qos_1_has_a_code_and_the_connection_stays(bench: Bench) -> None:
    client = bench.client(V5)
    for topic, code in (("no-publish/x", 135), ("$SYS/x", 144), ("a/" * 9, 144)):
        answer = client.publish(topic, qos=1)
        assert answer is not None
        assert answer.reason_code == code


@pytest.mark.aws("refused-publish-qos-0")
def test_a_refused_publish_of_qos_0_ends_the_connection(bench: Bench) -> None:
    client = bench.client(V5)
    client.send(Publish("no-publish/x", b""))
    assert client.end() == 135


@pytest.mark.mqtt311("3.3.5-2")
@pytest.mark.aws("no-puback-311")
@pytest.mark.parametrize("qos", [0, 1])
def test_a_refused_publish_of_311_is_hung_up_on_without_a_puback(bench: Bench, qos: int) -> None:
    client = bench.client(V311)
    client.send(Publish("no-publish/x", b"", qos, packet_id=1 if qos else None))
    assert client.end() is None


@pytest.mark.aws("receive")
def test_a_delivery_that_is_not_allowed_is_left_out_and_the_connection_stays(bench: Bench) -> None:
    clients: list[Peer] = [bench.client(V5), bench.client(V311)]
    for client in clients:
        client.subscribe("no-receive/#")
        client.publish("no-receive/x", qos=1)
        assert client.messages() == []
