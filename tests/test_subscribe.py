"""Subscribing: iterators and handlers, what is asked of the service for them, and when a message is acknowledged."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

import pytest
import trustme
from client_support import BOTH, GOOD, WAIT, Dial, failure, seen
from stub_servers import MqttStub

from iot_customauth_client import (
    ConfigurationError,
    ConnectionClosed,
    InvalidTopic,
    Message,
    NotConnected,
    NotSupported,
    OperationTimeout,
    PolicyDenied,
    connect,
)
from iot_customauth_client.local import LocalEndpoint, events

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


def payloads(service: LocalEndpoint, client_id: str) -> list[bytes]:
    return [event.payload for event in seen(service, events.Delivered, client_id)]


# -- iterators ------------------------------------------------------------------------------------------------------


@BOTH
def test_an_iterator_gives_messages_in_order_with_all_their_fields(
    protocol: str, dial: Dial, service: LocalEndpoint, topic: str
) -> None:
    with dial(protocol).subscribe(f"{topic}/+") as messages:
        for number in range(3):
            service.publish(f"{topic}/{number}", f'{{"n":{number}}}', qos=1)
        for number, message in zip(range(3), messages, strict=False):
            assert (message.topic, message.json()) == (f"{topic}/{number}", {"n": number})
            assert (message.text(), message.qos, message.retain) == (f'{{"n":{number}}}', 1, False)


@BOTH
def test_get_gives_the_next_message_or_says_that_none_came(
    protocol: str, dial: Dial, service: LocalEndpoint, topic: str
) -> None:
    with dial(protocol).subscribe(topic) as messages:
        assert failure(OperationTimeout, messages.get, 0.05).stage == "queued"
        service.publish(topic, b"a", qos=1)
        assert messages.get(WAIT).payload == b"a"
        failure(OperationTimeout, messages.get, 0)


@BOTH
def test_an_iterator_ends_when_the_subscription_is_closed_by_another_thread(
    protocol: str, dial: Dial, service: LocalEndpoint, topic: str
) -> None:
    messages = dial(protocol).subscribe(topic)
    messages.wait_granted(WAIT)
    service.publish(topic, b"a", qos=1)
    received = []
    for message in messages:
        received.append(message.payload)
        threading.Thread(target=messages.close).start()
    assert received == [b"a"]
    failure(ConnectionClosed, messages.get, WAIT)


@BOTH
def test_an_iterator_ends_quietly_when_the_connection_is_closed(protocol: str, dial: Dial, topic: str) -> None:
    connection = dial(protocol)
    messages = connection.subscribe(topic)
    messages.wait_granted(WAIT)
    threading.Thread(target=connection.close).start()
    assert list(messages) == []


def test_an_iterator_gives_what_came_and_raises_when_an_error_has_ended_the_connection(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial(when_refused="stop")
    messages = connection.subscribe(topic)
    messages.wait_granted(WAIT)
    arrived = threading.Event()
    connection.subscribe(topic, lambda _: arrived.set()).wait_granted(WAIT)
    service.publish(topic, b"last words", qos=0)
    assert arrived.wait(WAIT)
    service.faults.refuse_connects(reason_code=0x87, client_id=client_id)
    service.disconnect(client_id)
    failure(ConnectionClosed, connection.wait_closed, WAIT)
    assert next(messages).payload == b"last words"
    error = failure(ConnectionClosed, next, messages)
    assert error.__cause__ is not None
    assert error.client_id == client_id
    failure(ConnectionClosed, messages.get, WAIT)


# -- handlers -------------------------------------------------------------------------------------------------------


@BOTH
def test_a_handler_may_publish_subscribe_and_wait(
    protocol: str, dial: Dial, service: LocalEndpoint, topic: str
) -> None:
    connection = dial(protocol)
    answers: queue.Queue[bytes] = queue.Queue()

    def handler(message: Message) -> None:
        assert "worker" in threading.current_thread().name
        with connection.subscribe(f"{topic}/inner") as inner:
            connection.publish(f"{topic}/inner", message.payload + b"!").result(WAIT)
            answers.put(inner.get(WAIT).payload)

    with connection.subscribe(topic, handler):
        service.publish(topic, b"one", qos=1)
        assert answers.get(timeout=WAIT) == b"one!"


@BOTH
def test_a_handler_gets_one_message_at_a_time_in_order(protocol: str, dial: Dial, topic: str) -> None:
    inside = threading.Lock()
    received: list[bytes] = []
    complete = threading.Event()

    def handler(message: Message) -> None:
        assert inside.acquire(blocking=False)
        received.append(message.payload)
        inside.release()
        if len(received) == 200:
            complete.set()

    connection = dial(protocol)
    with connection.subscribe(topic, handler):
        for number in range(200):
            connection.publish(topic, b"%d" % number)
        assert complete.wait(WAIT)
    assert received == [b"%d" % number for number in range(200)]


@BOTH
def test_a_handler_that_raises_is_logged_and_gets_the_next_message(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str, no_secret_in_logs: list[str]
) -> None:
    received: queue.Queue[bytes] = queue.Queue()

    def handler(message: Message) -> None:
        received.put(message.payload)
        raise ValueError("the handler's own fault")

    with dial(protocol).subscribe(topic, handler):
        service.publish(topic, b"a", qos=1)
        service.publish(topic, b"b", qos=1)
        assert [received.get(timeout=WAIT), received.get(timeout=WAIT)] == [b"a", b"b"]
        first = service.wait_for(events.Acknowledged, client_id=client_id, timeout=WAIT)
        service.wait_for(events.Acknowledged, client_id=client_id, after=first, timeout=WAIT)
    logged = [line for line in no_secret_in_logs if "the handler's own fault" in line]
    assert logged
    assert topic in logged[0]
    assert f"{handler.__module__}.{handler.__qualname__}" in logged[0]


@BOTH
def test_a_slow_handler_delays_its_own_subscription_only(
    protocol: str, dial: Dial, service: LocalEndpoint, topic: str
) -> None:
    go_on, stuck = threading.Event(), threading.Event()

    def slow(_: Message) -> None:
        stuck.set()
        go_on.wait(WAIT)

    connection = dial(protocol)
    with connection.subscribe(f"{topic}/slow", slow), connection.subscribe(f"{topic}/fast") as fast:
        service.publish(f"{topic}/slow", b"", qos=1)
        assert stuck.wait(WAIT)
        for number in range(5):
            service.publish(f"{topic}/fast", b"%d" % number, qos=1)
            assert fast.get(WAIT).payload == b"%d" % number
        connection.publish(topic, b"x").result(WAIT)
        go_on.set()


@BOTH
def test_what_cannot_be_a_handler_is_refused_at_once(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    async def coroutine(_: Message) -> None: ...

    class Awaited:
        async def __call__(self, _: Message) -> None: ...

    connection = dial(protocol)
    for handler in (coroutine, Awaited(), "handler"):
        with pytest.raises(TypeError):
            connection.subscribe(topic, handler)  # type: ignore[arg-type]
    subscription = connection.subscribe(topic, lambda _: None)
    with pytest.raises(TypeError):
        next(subscription)
    failure(InvalidTopic, connection.subscribe, "a/#/b")
    failure(NotSupported, connection.subscribe, topic, qos=2)
    failure(ConfigurationError, connection.subscribe, topic, max_queued=0)
    failure(ConfigurationError, connection.subscribe, topic, ack="never")
    subscription.wait_granted(WAIT)
    assert len(seen(service, events.Subscribed, client_id)) == 1


# -- what the service is asked for ----------------------------------------------------------------------------------


def test_a_forbidden_filter_over_mqtt5_is_denied_and_the_connection_stands(
    dial: Dial, client_id: str, topic: str
) -> None:
    connection = dial()
    subscription = connection.subscribe("forbidden/#")
    error = failure(PolicyDenied, subscription.wait_granted, WAIT, code="policy_denied", phase="connected")
    assert (error.action, error.topic, error.client_id) == ("iot:Subscribe", "forbidden/#", client_id)
    assert "topicfilter/forbidden/#" in error.likely_causes[0]
    failure(PolicyDenied, subscription.__enter__)
    failure(PolicyDenied, next, subscription)
    with connection.subscribe(topic) as messages:
        assert messages.granted_qos == 1


def test_a_forbidden_filter_over_mqtt311_is_found_out_and_the_connection_goes_on(
    dial: Dial, client_id: str, topic: str
) -> None:
    connection = dial("mqtt311")
    subscription = connection.subscribe("forbidden/#")
    error = failure(PolicyDenied, subscription.wait_granted, WAIT)
    assert (error.action, error.topic) == ("iot:Subscribe", "forbidden/#")
    connection.wait_connected(WAIT)
    assert connection.subscribe(topic).wait_granted(WAIT) == 1


def test_one_refused_filter_of_many_fails_alone(dial: Dial, topic: str) -> None:
    connection = dial(timeout=0)
    subscriptions = {name: connection.subscribe(name) for name in (f"{topic}/a", "forbidden/a", f"{topic}/b")}
    assert subscriptions[f"{topic}/a"].wait_granted(WAIT) == 1
    assert subscriptions[f"{topic}/b"].wait_granted(WAIT) == 1
    failure(PolicyDenied, subscriptions["forbidden/a"].wait_granted, WAIT)


@BOTH
@pytest.mark.parametrize("qos", [0, 1])
def test_the_granted_qos_is_told(protocol: str, qos: int, dial: Dial, topic: str) -> None:
    subscription = dial(protocol).subscribe(topic, qos=qos)
    assert subscription.wait_granted(WAIT) == qos
    assert subscription.granted_qos == qos


@BOTH
def test_equal_filters_share_one_subscribe_and_each_gets_every_message(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial(protocol)
    with connection.subscribe(topic) as first, connection.subscribe(topic) as second:
        service.publish(topic, b"a", qos=1)
        assert first.get(WAIT).payload == second.get(WAIT).payload == b"a"
        assert len(seen(service, events.Subscribed, client_id)) == 1
        assert payloads(service, client_id) == [b"a"]


@BOTH
def test_a_higher_qos_for_an_equal_filter_asks_again(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial(protocol)
    with connection.subscribe(topic, qos=0) as low, connection.subscribe(topic, qos=1) as high:
        assert high.wait_granted(WAIT) == 1
        assert low.granted_qos == 0
        service.publish(topic, b"a", qos=1)
        assert low.get(WAIT).payload == high.get(WAIT).payload == b"a"
    assert [event.reason_codes for event in seen(service, events.Subscribed, client_id)] == [(0,), (1,)]


@BOTH
def test_the_last_one_of_a_filter_unsubscribes(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial(protocol)
    first, second = connection.subscribe(topic), connection.subscribe(topic)
    second.wait_granted(WAIT)
    first.close()
    first.close()
    service.publish(topic, b"a", qos=1)
    assert second.get(WAIT).payload == b"a"
    assert not seen(service, events.Unsubscribed, client_id)
    second.close()
    gone = service.wait_for(events.Unsubscribed, client_id=client_id, timeout=WAIT)
    assert gone.topic_filters == (topic,)


@BOTH
def test_a_filter_can_be_subscribed_to_again_after_it_was_given_up(
    protocol: str, dial: Dial, service: LocalEndpoint, topic: str
) -> None:
    connection = dial(protocol)
    for _ in range(5):
        with connection.subscribe(topic) as messages:
            service.publish(topic, b"a", qos=1)
            assert messages.get(WAIT).payload == b"a"


@BOTH
def test_overlapping_filters_get_every_message(protocol: str, dial: Dial, service: LocalEndpoint, topic: str) -> None:
    connection = dial(protocol)
    with connection.subscribe(f"{topic}/+") as plus, connection.subscribe(f"{topic}/#") as number_sign:
        service.publish(f"{topic}/a", b"x", qos=1)
        assert plus.get(WAIT).payload == b"x"
        assert number_sign.get(WAIT).payload == b"x"
        service.publish(f"{topic}/a/b", b"y", qos=1)
        message = number_sign.get(WAIT)
        while message.payload == b"x":  # the service may deliver once for each of the two filters
            message = number_sign.get(WAIT)
        assert message.payload == b"y"


@BOTH
def test_twenty_filters_before_connect_are_asked_for_eight_at_a_time(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial(protocol, timeout=0)
    subscriptions = [connection.subscribe(f"{topic}/{number}") for number in range(20)]
    assert {subscription.wait_granted(WAIT) for subscription in subscriptions} == {1}
    sizes = [len(event.topic_filters) for event in seen(service, events.Subscribed, client_id)]
    assert sum(sizes) == 20
    assert max(sizes) <= (8 if protocol == "mqtt5" else 1)
    service.publish(f"{topic}/19", b"a", qos=1)
    assert subscriptions[19].get(WAIT).payload == b"a"


@BOTH
def test_an_offline_with_does_not_wait(protocol: str, client_id: str, topic: str, authority: trustme.CA) -> None:
    with MqttStub(authority, listening=False) as stub:
        settings = stub.settings(client_id, Path(__file__), protocol=protocol).replace(ca_file=None)
        with connect(settings, credentials=GOOD, timeout=0) as connection, connection.subscribe(topic) as messages:
            assert messages.granted_qos is None
            failure(OperationTimeout, messages.wait_granted, 0.05)
            messages.close()
            failure(NotConnected, messages.wait_granted, WAIT)


def test_a_handler_goes_on_after_a_moment_in_which_no_thread_was_to_be_had(
    dial: Dial, service: LocalEndpoint, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled: queue.Queue[bytes] = queue.Queue()
    connection = dial()
    subscription = connection.subscribe(topic, lambda message: handled.put(message.payload))
    subscription.wait_granted(WAIT)
    workers = connection._standing.workers

    def exhausted(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(workers, "submit", exhausted)
        with pytest.raises(RuntimeError):
            subscription.deliver(Message(topic, b"1"))
    service.publish(topic, b"2", qos=1)
    assert [handled.get(timeout=WAIT) for _ in range(2)] == [b"1", b"2"]
