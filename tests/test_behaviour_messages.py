"""What a connection does with messages, said once for both faces, both protocols and both transports."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import pytest
from behaviour_support import DIRECT, Device, everywhere
from client_support import WAIT, check_error, failure

from iot_customauth_client import (
    ConfigurationError,
    ConnectionClosed,
    InvalidTopic,
    Message,
    NotSupported,
    OperationTimeout,
    OutboxFull,
    PayloadTooLarge,
    PolicyDenied,
    PublishResult,
)
from iot_customauth_client.local import events

pytest_plugins = ("client_support", "behaviour_support")
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")

# -- publishing -------------------------------------------------------------------------------------------------------


@everywhere()
@pytest.mark.parametrize("qos", [0, 1])
def test_a_publish_arrives_as_it_was_given_and_its_result_tells_how(connected: Device, qos: int) -> None:
    result = connected.connection.publish(connected.topic, "grüß dich", qos=qos).result(WAIT)
    assert isinstance(result, PublishResult)
    assert result.attempts == 1
    assert result.reason_code in ((0, 16) if qos and connected.way.mqtt5 else (None,))
    assert 0 <= result.queued_seconds <= result.elapsed_seconds
    arrived = connected.wait_for(events.Published)
    assert (arrived.topic, arrived.payload, arrived.qos) == (connected.topic, "grüß dich".encode(), qos)


@everywhere()
def test_messages_arrive_in_the_order_of_the_calls(connected: Device) -> None:
    futures = [connected.connection.publish(connected.topic, b"%d" % number) for number in range(300)]
    for future in futures:
        future.result(WAIT)
    assert connected.published() == [b"%d" % number for number in range(300)]


@everywhere(DIRECT)
def test_a_publish_that_nobody_waits_for_is_sent_all_the_same(connected: Device) -> None:
    connected.connection.publish(connected.topic, json=None)
    assert connected.wait_for(events.Published).payload == b"null"


@everywhere(DIRECT)
def test_what_cannot_be_sent_is_refused_at_once(connected: Device) -> None:
    publish, topic = connected.connection.publish, connected.topic
    failure(InvalidTopic, publish, "open/+/no")
    failure(PayloadTooLarge, publish, topic, bytes(131_073))
    failure(NotSupported, publish, topic, qos=2)
    failure(ConfigurationError, publish, topic, b"both", json=1)
    if not connected.way.mqtt5:
        failure(NotSupported, publish, topic, expiry_seconds=60)
    assert connected.published() == []
    connected.connection.publish(topic, b"fine").result(WAIT)


@everywhere([way for way in DIRECT if way[1] == "mqtt5"])
def test_a_publish_that_the_policy_denies_says_so_and_the_rest_goes_on(connected: Device) -> None:
    denied = connected.connection.publish("forbidden/topic", b"x")
    allowed = connected.connection.publish(connected.topic, b"y")
    error = failure(PolicyDenied, denied.result, WAIT)
    assert (error.action, error.topic) == ("iot:Publish", "forbidden/topic")
    allowed.result(WAIT)


@everywhere(DIRECT)
def test_a_cancelled_publish_that_was_not_sent_never_is(device: Device) -> None:
    device.service.faults.delay("CONNACK", 0.2, client_id=device.client_id)
    connection = device.connect(timeout=0)
    withdrawn, kept = connection.publish(device.topic, b"withdrawn"), connection.publish(device.topic, b"kept")
    assert withdrawn.cancel()
    kept.result(WAIT)
    assert withdrawn.cancelled()
    with pytest.raises(CancelledError):
        withdrawn.exception(WAIT)
    assert device.published() == [b"kept"]


@everywhere(DIRECT)
def test_a_publish_that_is_not_acknowledged_in_time_says_that_it_may_still_arrive(connected: Device) -> None:
    connected.service.faults.swallow("PUBACK", client_id=connected.client_id)
    future = connected.connection.publish(connected.topic, b"x", timeout=0.2)
    error = failure(OperationTimeout, future.result, WAIT)
    assert error.stage == "sent"
    assert "may still arrive" in str(error)


@everywhere(DIRECT)
def test_a_full_outbox_refuses_and_takes_again_when_there_is_room(device: Device) -> None:
    from iot_customauth_client import MemoryOutbox

    device.service.faults.delay("CONNACK", 0.2, client_id=device.client_id)
    connection = device.connect(timeout=0, outbox=MemoryOutbox(max_messages=2))
    futures = [connection.publish(device.topic, b"%d" % number) for number in range(2)]
    failure(OutboxFull, connection.publish, device.topic, b"2")
    for future in futures:
        future.result(WAIT)
    connection.publish(device.topic, b"3").result(WAIT)
    assert device.published() == [b"0", b"1", b"3"]


# -- subscribing ------------------------------------------------------------------------------------------------------


@everywhere()
def test_an_iterator_gives_what_arrives_in_order_and_ends_with_the_connection(connected: Device) -> None:
    with connected.connection.subscribe(f"{connected.topic}/+") as messages:
        assert messages.granted_qos == 1
        for number in range(50):
            connected.service.publish(f"{connected.topic}/{number}", b"%d" % number, qos=1)
        taken = [messages.get(WAIT) for _ in range(49)]
        taken.append(next(messages))
        assert [message.payload for message in taken] == [b"%d" % number for number in range(50)]
        assert {(message.qos, message.duplicate) for message in taken} == {(1, False)}
        connected.connection.close()
        assert list(messages) == []


@everywhere([way for way in DIRECT if way[1] == "mqtt5"])
def test_the_properties_of_mqtt5_make_the_way_there_and_back(connected: Device) -> None:
    given: dict[str, Any] = {
        "content_type": "text/plain",
        "response_topic": f"{connected.topic}/answer",
        "correlation_data": b"\x00\x01",
        "user_properties": (("a", "1"), ("a", "2")),
    }
    with connected.connection.subscribe(connected.topic) as messages:
        connected.connection.publish(connected.topic, b"x", expiry_seconds=100, **given)
        message = messages.get(WAIT)
    assert {name: getattr(message, name) for name in given} == given
    assert 0 < message.expiry_seconds <= 100


@everywhere(DIRECT)
def test_get_gives_up_in_time_and_loses_nothing(connected: Device) -> None:
    with connected.connection.subscribe(connected.topic) as messages:
        failure(OperationTimeout, messages.get, 0.05)
        connected.service.publish(connected.topic, b"late", qos=1)
        assert messages.get(WAIT).payload == b"late"


@everywhere()
def test_a_handler_is_called_one_at_a_time_in_order_and_may_publish_and_wait(connected: Device) -> None:
    handled: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    inside = threading.Semaphore()

    def handle(message: Message) -> None:
        assert inside.acquire(blocking=False), "a second call while the first one was inside"
        connected.connection.publish(f"{connected.topic}/echo", message.payload).result(WAIT)
        handled.put(message.payload)
        inside.release()

    connected.connection.subscribe(connected.topic, connected.way.face.handler(handle)).wait_granted(WAIT)
    expected = [b"%d" % number for number in range(20)]
    for payload in expected:
        connected.service.publish(connected.topic, payload, qos=1)
    assert [handled.get(timeout=WAIT) for _ in expected] == expected
    assert connected.published() == expected


@everywhere(DIRECT)
def test_a_handler_that_raises_is_reported_and_the_next_message_is_handled(
    connected: Device, caplog: pytest.LogCaptureFixture
) -> None:
    handled: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def handle(message: Message) -> None:
        if message.payload == b"bad":
            raise ZeroDivisionError
        handled.put(message.payload)

    handler = connected.way.face.handler(handle)
    connected.connection.subscribe(connected.topic, handler).wait_granted(WAIT)
    connected.service.publish(connected.topic, b"bad", qos=1)
    connected.service.publish(connected.topic, b"good", qos=1)
    assert handled.get(timeout=WAIT) == b"good"
    assert connected.connection.stats().handler_errors == 1
    logged = [record.getMessage() for record in caplog.records if record.exc_info]
    assert any(connected.topic in line and handler.__qualname__ in line for line in logged)


@everywhere(DIRECT)
def test_a_slow_handler_delays_only_its_own_subscription(connected: Device) -> None:
    go_on, handled = threading.Event(), threading.Event()
    slow = connected.way.face.handler(lambda _: go_on.wait(WAIT))
    quick = connected.way.face.handler(lambda _: handled.set())
    connected.connection.subscribe(f"{connected.topic}/slow", slow).wait_granted(WAIT)
    connected.connection.subscribe(f"{connected.topic}/quick", quick).wait_granted(WAIT)
    connected.service.publish(f"{connected.topic}/slow", qos=1)
    connected.service.publish(f"{connected.topic}/quick", qos=1)
    assert handled.wait(WAIT)
    go_on.set()


@everywhere(DIRECT)
def test_equal_filters_share_one_subscription_at_the_service(connected: Device) -> None:
    with connected.connection.subscribe(connected.topic) as first:
        with connected.connection.subscribe(connected.topic) as second:
            connected.service.publish(connected.topic, b"x", qos=1)
            assert [each.get(WAIT).payload for each in (first, second)] == [b"x", b"x"]
        assert connected.seen(events.Unsubscribed) == []
    connected.wait_for(events.Unsubscribed)
    assert len(connected.seen(events.Subscribed)) == 1


@everywhere([way for way in DIRECT if way[1] == "mqtt5"])
def test_a_subscription_that_the_policy_denies_says_so(connected: Device) -> None:
    subscription = connected.connection.subscribe("forbidden/#")
    error = failure(PolicyDenied, subscription.wait_granted, WAIT)
    assert (error.action, error.topic) == ("iot:Subscribe", "forbidden/#")
    failure(PolicyDenied, lambda: next(subscription))
    with connected.connection.subscribe(connected.topic) as messages:
        assert messages.granted_qos == 1


@everywhere([way for way in DIRECT if way[1] == "mqtt5"])
def test_with_manual_acknowledgement_nothing_is_acknowledged_before_its_time(connected: Device) -> None:
    with connected.connection.subscribe(connected.topic, ack="manual") as messages:
        connected.service.publish(connected.topic, b"1", qos=1)
        connected.service.publish(connected.topic, b"2", qos=1)
        first, second = messages.get(WAIT), messages.get(WAIT)
        assert connected.seen(events.Acknowledged) == []
        assert connected.connection.stats().unacknowledged_received == 2
        assert second.ack()
        assert first.ack()
        connected.service.events.wait_for(
            events.Acknowledged, client_id=connected.client_id, after=connected.begun, timeout=WAIT
        )


@everywhere(DIRECT)
def test_arguments_that_cannot_be_meant_are_refused(connected: Device) -> None:
    subscribe, topic = connected.connection.subscribe, connected.topic
    failure(InvalidTopic, subscribe, "open/#/more")
    failure(NotSupported, subscribe, topic, qos=2)
    failure(ConfigurationError, subscribe, topic, max_queued=0)
    failure(ConfigurationError, subscribe, topic, ack="never")
    failure(ConfigurationError, subscribe, topic, on_handler_error="ignore")
    with pytest.raises(TypeError):
        subscribe(topic, "not callable")
    assert connected.seen(events.Subscribed) == []


# -- request and response ---------------------------------------------------------------------------------------------


@everywhere()
def test_a_request_gets_its_response(connected: Device) -> None:
    def answer(message: Message) -> bytes:
        return message.payload[::-1]

    asked = f"{connected.topic}/asked"
    connected.connection.respond(asked, connected.way.face.handler(answer)).wait_granted(WAIT)
    answers = [connected.connection.request(asked, payload, timeout=WAIT) for payload in (b"ab", b"cd")]
    assert [each.payload for each in answers] == [b"ba", b"dc"]


@everywhere(DIRECT)
def test_a_handler_may_request_and_wait_for_the_response(connected: Device) -> None:
    done: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    asked = f"{connected.topic}/asked"

    def handle(message: Message) -> None:
        done.put(connected.connection.request(asked, message.payload, timeout=WAIT).payload)

    answer = connected.way.face.handler(lambda message: message.payload + b"!")
    connected.connection.respond(asked, answer).wait_granted(WAIT)
    connected.connection.subscribe(connected.topic, connected.way.face.handler(handle)).wait_granted(WAIT)
    connected.service.publish(connected.topic, b"hello", qos=1)
    assert done.get(timeout=WAIT) == b"hello!"


@everywhere(DIRECT)
def test_a_request_that_nobody_answers_ends_in_time(connected: Device) -> None:
    failure(OperationTimeout, connected.connection.request, f"{connected.topic}/nobody", b"x", timeout=0.3)
    connected.connection.publish(connected.topic, b"the connection goes on").result(WAIT)


# -- after the end ----------------------------------------------------------------------------------------------------


@everywhere(DIRECT)
def test_after_close_everything_says_that_it_is_closed(connected: Device) -> None:
    connection = connected.connection
    subscription = connection.subscribe(connected.topic)
    connection.close()
    check_error(failure(ConnectionClosed, connection.publish, connected.topic, b"x"))
    failure(ConnectionClosed, connection.subscribe, connected.topic)
    failure(ConnectionClosed, connection.request, connected.topic, b"x", timeout=WAIT)
    failure(ConnectionClosed, connection.wait_connected, WAIT)
    assert list(subscription) == []
    with pytest.raises((ConnectionClosed, FutureTimeout)):
        subscription.get(0.1)
