"""Publishing: what a future promises, in which order messages go, and how each refusal is told."""

from __future__ import annotations

import concurrent.futures
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme
from client_support import BOTH, GOOD, PAYLOAD_MARKER, WAIT, Dial, check_error, failure, seen
from stub_servers import MqttStub, usual_answer

from iot_customauth_client import (
    ConfigurationError,
    ConnectionClosed,
    InvalidTopic,
    Message,
    NotConnected,
    NotSupported,
    OperationTimeout,
    OutboxFull,
    PayloadTooLarge,
    PolicyDenied,
    PublishFuture,
    connect,
)
from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.local.codec import Connect, Packet, PubAck, Publish

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


@BOTH
def test_a_result_tells_what_became_of_the_message(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial(protocol)
    result = connection.publish(topic, b"hello").result(WAIT)
    assert result.attempts == 1
    assert result.reason_code == (0 if protocol == "mqtt5" else None)
    assert 0 <= result.queued_seconds <= result.elapsed_seconds < WAIT
    (published,) = seen(service, events.Published, client_id)
    assert (published.topic, published.payload, published.qos, published.retain) == (topic, b"hello", 1, False)


@BOTH
@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"payload": "grün"}, "grün".encode()),
        ({"payload": bytearray(b"ab")}, b"ab"),
        ({"payload": memoryview(b"ab")}, b"ab"),
        ({}, b""),
        ({"json": None}, b"null"),
        ({"json": {"ü": [1, 2]}}, '{"ü":[1,2]}'.encode()),
        ({"json": ""}, b'""'),
    ],
)
def test_payloads_are_sent_as_they_are_meant(
    protocol: str, given: dict[str, Any], sent: bytes, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    dial(protocol).publish(topic, **given).result(WAIT)
    assert [event.payload for event in seen(service, events.Published, client_id)] == [sent]


@BOTH
def test_what_cannot_be_sent_raises_at_once(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    publish = dial(protocol).publish
    failure(InvalidTopic, publish, "open/+", b"")
    failure(InvalidTopic, publish, "", b"")
    failure(NotSupported, publish, topic, b"", qos=2)
    failure(ConfigurationError, publish, topic, b"", qos=3)
    failure(ConfigurationError, publish, topic, b"a", json=1)
    failure(ConfigurationError, publish, topic, {"a": 1})
    assert not seen(service, events.Published, client_id)


@BOTH
def test_five_thousand_messages_arrive_in_the_order_of_the_calls(protocol: str, dial: Dial, topic: str) -> None:
    count = 5_000
    received: list[int] = []
    complete = threading.Event()

    def handler(message: Message) -> None:
        received.append(int(message.payload))
        if len(received) == count:
            complete.set()

    connection = dial(protocol)
    with connection.subscribe(topic, handler):
        futures = [connection.publish(topic, b"%d" % number) for number in range(count)]
        done, left = concurrent.futures.wait(futures, timeout=30)
        assert not left
        assert all(future.exception() is None for future in done)
        assert complete.wait(30)
    assert received == list(range(count))


@BOTH
def test_messages_of_several_threads_keep_the_order_of_each(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial(protocol)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:

        def publish(thread: int) -> list[PublishFuture]:
            return [connection.publish(f"{topic}/{thread}", b"%d" % number) for number in range(300)]

        futures = [future for part in pool.map(publish, range(4)) for future in part]
        assert not concurrent.futures.wait(futures, timeout=WAIT).not_done
    for thread in range(4):
        numbers = [
            int(event.payload) for event in seen(service, events.Published, client_id) if event.topic[-1] == str(thread)
        ]
        assert numbers == list(range(300))


def test_a_forbidden_topic_over_mqtt5_denies_this_message_only(dial: Dial, client_id: str, topic: str) -> None:
    connection = dial()
    future = connection.publish("forbidden/a", PAYLOAD_MARKER)
    error = failure(PolicyDenied, future.result, WAIT, code="policy_denied", phase="connected")
    assert (error.action, error.topic, error.client_id) == ("iot:Publish", "forbidden/a", client_id)
    assert "topic/forbidden/a" in error.likely_causes[0]
    connection.publish(topic, b"still").result(WAIT)


def test_a_forbidden_retained_message_names_the_second_permission(dial: Dial) -> None:
    error = failure(PolicyDenied, dial().publish("forbidden/a", b"x", retain=True).result, WAIT)
    assert "iot:RetainPublish" in error.likely_causes[0]


def test_a_forbidden_topic_over_mqtt311_ends_the_connection_and_the_error_names_the_topic(
    dial: Dial, service: LocalEndpoint, client_id: str
) -> None:
    connection = dial("mqtt311")
    future = connection.publish("forbidden/a", PAYLOAD_MARKER)
    error = failure(ConnectionClosed, future.result, WAIT)
    assert error.client_id == client_id
    assert "iot:Publish on topic/forbidden/a" in error.likely_causes[0]
    check_error(error.__cause__, code="connection_lost", phase="connected")
    failure(ConnectionClosed, connection.wait_closed, WAIT)
    failure(ConnectionClosed, connection.publish, "open/a", b"")
    decided = service.wait_for(events.Decided, client_id=client_id, action="iot:Publish", timeout=WAIT)
    assert not decided.allowed


@BOTH
def test_messages_accepted_before_connect_go_out_in_order_once_it_stands(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial(protocol, timeout=0)
    futures = [connection.publish(topic, b"%d" % number) for number in range(250)]
    assert not concurrent.futures.wait(futures, timeout=WAIT).not_done
    assert [int(event.payload) for event in seen(service, events.Published, client_id)] == list(range(250))


@BOTH
def test_qos_0_is_not_kept_for_later(protocol: str, client_id: str, topic: str, authority: trustme.CA) -> None:
    with MqttStub(authority, listening=False) as stub:
        settings = stub.settings(client_id, Path(__file__), protocol=protocol).replace(ca_file=None)
        with connect(settings, credentials=GOOD, timeout=0) as connection:
            failure(NotConnected, connection.publish(topic, b"x", qos=0).result, WAIT)


@BOTH
def test_qos_0_arrives_and_resolves_when_written(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    result = dial(protocol).publish(topic, b"x", qos=0).result(WAIT)
    assert result.reason_code is None
    assert service.wait_for(events.Published, client_id=client_id, timeout=WAIT).qos == 0


@BOTH
def test_a_retained_message_waits_for_its_subscriber(protocol: str, dial: Dial, topic: str) -> None:
    connection = dial(protocol)
    connection.publish(topic, b"kept", retain=True).result(WAIT)
    with connection.subscribe(topic) as messages:
        message = messages.get(WAIT)
        assert (message.payload, message.retain) == (b"kept", True)
    connection.publish(topic, b"", retain=True).result(WAIT)


def test_properties_of_mqtt5_arrive_at_the_other_side(dial: Dial, topic: str) -> None:
    connection = dial()
    with connection.subscribe(topic) as messages:
        connection.publish(
            topic,
            b"x",
            expiry_seconds=600,
            content_type="text/plain",
            response_topic=f"{topic}/reply",
            correlation_data=b"\x00\xff",
            user_properties=[("a", "1"), ("a", "2"), ("", "")],
        ).result(WAIT)
        message = messages.get(WAIT)
    assert message.content_type == "text/plain"
    assert message.response_topic == f"{topic}/reply"
    assert message.correlation_data == b"\x00\xff"  # not UTF-8
    assert message.user_properties == (("a", "1"), ("a", "2"), ("", ""))
    assert message.expiry_seconds is not None
    assert 590 <= message.expiry_seconds <= 600
    assert (message.qos, message.duplicate, message.retain) == (1, False, False)


@pytest.mark.parametrize(
    "given",
    [
        {"expiry_seconds": 1},
        {"content_type": "a"},
        {"response_topic": "a"},
        {"correlation_data": b"a"},
        {"user_properties": [("a", "b")]},
    ],
    ids=lambda given: next(iter(given)),
)
def test_properties_of_mqtt5_are_refused_over_mqtt311(given: dict[str, Any], dial: Dial, topic: str) -> None:
    error = failure(NotSupported, dial("mqtt311").publish, topic, b"x", **given)
    assert next(iter(given)) in error.message


@BOTH
def test_the_largest_payload_goes_through_and_one_byte_more_is_refused(protocol: str, dial: Dial, topic: str) -> None:
    connection = dial(protocol)
    largest = bytes(range(256)) * 512
    with connection.subscribe(topic) as messages:
        connection.publish(topic, largest).result(WAIT)
        assert messages.get(WAIT).payload == largest
        error = failure(PayloadTooLarge, connection.publish, topic, largest + b"x")
    assert "131073" in error.message


@BOTH
def test_after_close_publishing_raises_connection_closed(protocol: str, dial: Dial, topic: str) -> None:
    connection = dial(protocol)
    connection.close()
    error = failure(ConnectionClosed, connection.publish, topic, b"x")
    assert error.__cause__ is None
    failure(ConnectionClosed, connection.publish, topic, b"x", qos=0)


@BOTH
def test_a_callback_runs_on_a_worker_and_may_publish_and_wait(protocol: str, dial: Dial, topic: str) -> None:
    connection = dial(protocol)
    told: concurrent.futures.Future[tuple[str, int]] = concurrent.futures.Future()

    def then(_: concurrent.futures.Future[Any]) -> None:
        inner = connection.publish(topic, b"second").result(WAIT)
        told.set_result((threading.current_thread().name, inner.attempts))

    connection.publish(topic, b"first").add_done_callback(then)
    name, attempts = told.result(WAIT)
    assert "worker" in name
    assert attempts == 1


@BOTH
def test_futures_work_with_the_standard_librarys_tools(protocol: str, dial: Dial, topic: str) -> None:
    connection = dial(protocol)
    futures = [connection.publish(topic, b"%d" % number) for number in range(20)]
    assert set(concurrent.futures.as_completed(futures, timeout=WAIT)) == set(futures)


# -- a server that never acknowledges --------------------------------------------------------------------------------


@pytest.fixture
def mute(authority: trustme.CA) -> Any:
    """A server that takes messages and never acknowledges one."""
    with MqttStub(authority, silent=(Publish,)) as stub:
        yield stub


@BOTH
def test_a_time_out_after_sending_says_that_it_may_still_arrive(
    protocol: str, mute: MqttStub, authority_file: Path, client_id: str, topic: str
) -> None:
    with connect(mute.settings(client_id, authority_file, protocol=protocol), credentials=GOOD) as connection:
        future = connection.publish(topic, b"x")
        late = connection.publish(topic, b"y", timeout=0.2)
        mute.wait_packets(Publish, 2)
        error = failure(OperationTimeout, late.result, WAIT)
        assert error.stage == "sent"
        assert "may still arrive" in error.message
        assert future.cancel() is False  # it was sent
        assert not future.done()
        connection.close(timeout=0.2)
        failure(ConnectionClosed, future.result, WAIT)


@BOTH
def test_a_time_out_before_sending_withdraws_the_message(
    protocol: str, mute: MqttStub, authority_file: Path, client_id: str, topic: str
) -> None:
    with connect(mute.settings(client_id, authority_file, protocol=protocol), credentials=GOOD) as connection:
        for _ in range(100):  # as many as may be in flight
            connection.publish(topic, b"in flight")
        waiting = connection.publish(topic, b"too late", timeout=0.2)
        error = failure(OperationTimeout, waiting.result, WAIT)
        assert error.stage == "queued"
        cancelled = connection.publish(topic, b"cancelled")
        assert cancelled.cancel() is True
        assert cancelled.cancelled()
        assert cancelled.cancel() is True
        mute.wait_packets(Publish, 100)
        report = connection.close(timeout=0.2)
    assert report.unacknowledged == 100
    assert all(packet.payload == b"in flight" for packet in mute.wait_packets(Publish, 100))


@BOTH
def test_a_withdrawn_message_lets_the_next_ones_pass(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str, topic: str
) -> None:
    go_on = threading.Event()

    def answer(packet: Packet) -> Any:
        if isinstance(packet, Publish):
            go_on.wait(WAIT)
        return usual_answer(packet)

    with (
        MqttStub(authority, answer=answer) as stub,
        connect(stub.settings(client_id, authority_file, protocol=protocol), credentials=GOOD) as connection,
    ):
        first = [connection.publish(topic, b"%d" % number) for number in range(100)]
        withdrawn = connection.publish(topic, b"withdrawn")
        last = connection.publish(topic, b"last")
        assert withdrawn.cancel()
        go_on.set()
        assert not concurrent.futures.wait([*first, last], timeout=WAIT).not_done
        sent = [packet.payload for packet in stub.wait_packets(Publish, 101)]
    assert sent == [*(b"%d" % number for number in range(100)), b"last"]


@BOTH
def test_a_full_outbox_refuses_and_keeps_what_it_has(
    protocol: str, mute: MqttStub, authority_file: Path, client_id: str, topic: str
) -> None:
    with connect(mute.settings(client_id, authority_file, protocol=protocol), credentials=GOOD) as connection:
        futures = [connection.publish(topic, b"x") for _ in range(10_000)]
        error = failure(OutboxFull, connection.publish, topic, b"x", code="outbox_full")
        assert "10000" in error.message
        assert futures[-1].cancel()
        connection.publish(topic, b"x")  # there is room for one again
        report = connection.close(timeout=0.2)
    assert report.unacknowledged == 10_000
    failure(ConnectionClosed, futures[0].result, WAIT)


@BOTH
def test_what_was_sent_and_what_was_not_is_told_apart_when_the_connection_ends(
    protocol: str, mute: MqttStub, authority_file: Path, client_id: str, topic: str
) -> None:
    with connect(mute.settings(client_id, authority_file, protocol=protocol), credentials=GOOD) as connection:
        futures = [connection.publish(topic, b"x") for _ in range(101)]
        mute.wait_packets(Publish, 100)
        connection.close(timeout=0.2)
    assert "may have arrived" in failure(ConnectionClosed, futures[0].result, WAIT).message
    assert "not sent" in failure(ConnectionClosed, futures[100].result, WAIT).message


def test_a_message_refused_for_its_topic_is_told_and_one_for_a_quota_is_sent_again(
    authority: trustme.CA, authority_file: Path, client_id: str, topic: str
) -> None:
    codes = iter([144, 151, 0])

    def answer(packet: Packet) -> Any:
        if isinstance(packet, Publish):
            return [PubAck(packet.packet_id or 0, next(codes))]
        return usual_answer(packet) if isinstance(packet, Connect) else []

    with (
        MqttStub(authority, answer=answer) as stub,
        connect(stub.settings(client_id, authority_file), credentials=GOOD) as connection,
    ):
        failure(InvalidTopic, connection.publish(topic, b"x").result, WAIT)
        result = connection.publish(topic, b"x").result(WAIT)
        assert (result.reason_code, result.attempts) == (0, 2)
