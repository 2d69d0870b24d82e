"""When a received message is acknowledged, and what bounds those that wait.

The endpoint's `acknowledged` events tell. That something is *not* acknowledged yet is shown by a publish in between:
its PUBACK comes after the endpoint has taken in all that the client had sent before.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme
from client_support import BOTH, GOOD, WAIT, Dial, failure, seen
from stub_servers import MqttStub, usual_answer

from iot_customauth_client import (
    ConfigurationError,
    Connection,
    ConnectionClosed,
    Message,
    NotSupported,
    OperationTimeout,
    connect,
)
from iot_customauth_client.local import Event, LocalEndpoint, events
from iot_customauth_client.local.codec import Connect, Packet, PubAck, Publish, Subscribe

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


def acknowledged(service: LocalEndpoint, client_id: str) -> int:
    return len(seen(service, events.Acknowledged, client_id))


def barrier(connection: Connection, topic: str) -> None:
    """Return when everything that the client had sent before this has been taken in by the endpoint."""
    connection.publish(f"{topic}/barrier", b"").result(WAIT)


def test_a_handlers_message_is_acknowledged_when_the_handler_has_returned(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def handler(_: Message) -> None:
        inside.set()
        go_on.wait(WAIT)

    connection = dial()
    with connection.subscribe(topic, handler):
        service.publish(topic, b"a", qos=1)
        assert inside.wait(WAIT)
        barrier(connection, topic)
        assert acknowledged(service, client_id) == 0
        go_on.set()
        service.wait_for(events.Acknowledged, client_id=client_id, timeout=WAIT)


def test_an_iterators_message_is_acknowledged_when_the_next_one_is_asked_for(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial()
    with connection.subscribe(topic) as messages:
        service.publish(topic, b"a", qos=1)
        messages.get(WAIT)
        barrier(connection, topic)
        assert acknowledged(service, client_id) == 0
        failure(OperationTimeout, messages.get, 0)
        barrier(connection, topic)
        assert acknowledged(service, client_id) == 1


def test_threads_that_share_an_iterator_leave_nothing_unacknowledged(
    dial: Dial, service: LocalEndpoint, topic: str
) -> None:
    connection = dial()
    messages = connection.subscribe(topic)
    messages.wait_granted(WAIT)
    waiting = threading.Barrier(4)

    def take() -> None:
        waiting.wait(WAIT)
        with contextlib.suppress(OperationTimeout, ConnectionClosed):
            while messages.get(WAIT).payload:
                pass

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    waiting.wait(WAIT)
    for number in range(300):
        service.publish(topic, b"%d" % number, qos=1)
    for _ in threads:
        service.publish(topic, b"", qos=1)
    for thread in threads:
        thread.join(WAIT)
    messages.close()
    assert connection.stats().unacknowledged_received == 0


def test_leaving_with_acknowledges_the_last_message(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    with dial().subscribe(topic) as messages:
        service.publish(topic, b"a", qos=1)
        messages.get(WAIT)
    service.wait_for(events.Acknowledged, client_id=client_id, timeout=WAIT)


def test_leaving_with_by_an_exception_does_not_acknowledge_the_message_that_caused_it(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial()

    def step() -> None:
        with connection.subscribe(topic) as messages:
            service.publish(topic, b"a", qos=1)
            messages.get(WAIT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        step()
    barrier(connection, topic)
    assert acknowledged(service, client_id) == 0


def test_with_manual_acknowledgement_only_ack_acknowledges(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial()
    with connection.subscribe(topic, ack="manual") as messages:
        for _ in range(2):
            service.publish(topic, b"a", qos=1)
        first, second = messages.get(WAIT), messages.get(WAIT)
        barrier(connection, topic)
        assert acknowledged(service, client_id) == 0
        assert second.ack() is True
        assert second.ack() is True  # harmless
        barrier(connection, topic)
        assert acknowledged(service, client_id) == 1
    connection.close()
    assert first.ack() is False  # too late: the service will send it again


def test_a_message_of_two_subscriptions_is_acknowledged_when_both_are_done_with_it(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial()
    with (
        connection.subscribe(topic, ack="manual") as first,
        connection.subscribe(topic, ack="manual") as second,
    ):
        service.publish(topic, b"a", qos=1)
        assert first.get(WAIT).ack()
        barrier(connection, topic)
        assert acknowledged(service, client_id) == 0
        assert second.get(WAIT).ack()
        barrier(connection, topic)
        assert acknowledged(service, client_id) == 1


def test_over_mqtt311_messages_are_acknowledged_on_arrival(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    with dial("mqtt311").subscribe(topic, ack="manual") as messages:
        service.publish(topic, b"a", qos=1)
        service.wait_for(events.Acknowledged, client_id=client_id, timeout=WAIT)
        assert messages.get(WAIT).ack() is True


def test_a_message_that_nobody_wants_any_more_is_acknowledged(
    authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    def answer(packet: Packet) -> Any:
        stray = Publish("nobody/asked", b"x", qos=1, packet_id=7)
        return [*usual_answer(packet), stray] if isinstance(packet, Connect) else usual_answer(packet)

    with MqttStub(authority, answer=answer) as stub:
        with connect(stub.settings(client_id, authority_file), credentials=GOOD):
            (acknowledgement,) = stub.wait_packets(PubAck)
        assert acknowledgement.packet_id == 7


def test_a_message_whose_handler_raised_can_be_left_to_be_sent_again(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    received: queue.Queue[bytes] = queue.Queue()

    def handler(message: Message) -> None:
        received.put(message.payload)
        if message.payload == b"bad":
            raise ValueError("not today")

    first = dial()
    first.subscribe(topic, handler, on_handler_error="redeliver").wait_granted(WAIT)
    for payload in (b"bad", b"good"):
        service.publish(topic, payload, qos=1)
        assert received.get(timeout=WAIT) == payload
    service.wait_for(events.Acknowledged, client_id=client_id, timeout=WAIT)
    barrier(first, topic)
    assert acknowledged(service, client_id) == 1
    assert (first._session.inbox.handler_errors, first._session.inbox.unacknowledged) == (1, 1)
    first.close()
    with dial().subscribe(topic) as messages:
        assert messages.get(WAIT).payload == b"bad"


@BOTH
def test_what_cannot_be_sent_again_is_refused_at_subscribe(protocol: str, dial: Dial, topic: str) -> None:
    connection = dial(protocol)
    if protocol == "mqtt311":
        failure(NotSupported, connection.subscribe, topic, print, on_handler_error="redeliver")
        return
    failure(NotSupported, connection.subscribe, topic, print, qos=0, on_handler_error="redeliver")
    failure(ConfigurationError, connection.subscribe, topic, on_handler_error="redeliver")
    failure(ConfigurationError, connection.subscribe, topic, print, ack="manual", on_handler_error="redeliver")
    failure(ConfigurationError, connection.subscribe, topic, print, on_handler_error="never")


# -- a session that was resumed -------------------------------------------------------------------------------------


@BOTH
def test_a_command_sent_while_the_device_rebooted_reaches_the_subscription_of_the_next_process(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    first = dial(protocol)
    first.subscribe(f"{topic}/cmd/#").wait_granted(WAIT)
    first.close()
    for number in range(3):
        service.publish(f"{topic}/cmd/a", b"%d" % number, qos=1)
    second = dial(protocol)
    delivered: Event | None = None
    for _ in range(3):
        delivered = service.wait_for(events.Delivered, client_id=client_id, after=delivered, timeout=WAIT)
    barrier(second, topic)
    if protocol == "mqtt5":
        assert acknowledged(service, client_id) == 0
    with second.subscribe(f"{topic}/cmd/+") as messages:
        service.publish(f"{topic}/cmd/a", b"3", qos=1)
        assert [messages.get(WAIT).payload for _ in range(4)] == [b"0", b"1", b"2", b"3"]


# -- bounds ---------------------------------------------------------------------------------------------------------


@BOTH
def test_waiting_qos_0_messages_are_bounded_and_the_oldest_are_dropped_and_counted(
    protocol: str, dial: Dial, service: LocalEndpoint, topic: str
) -> None:
    connection = dial(protocol)
    last = threading.Event()

    def watch(message: Message) -> None:
        if message.payload == b"9":
            last.set()

    with (
        connection.subscribe(topic, qos=0, max_queued=3) as messages,
        connection.subscribe(topic, watch, qos=0),
    ):
        for number in range(10):
            service.publish(topic, b"%d" % number)
        assert last.wait(WAIT)
        assert messages.dropped == 7
        assert [messages.get(WAIT).payload for _ in range(3)] == [b"7", b"8", b"9"]


@BOTH
def test_qos_1_messages_are_never_dropped(protocol: str, dial: Dial, service: LocalEndpoint, topic: str) -> None:
    connection = dial(protocol)
    with connection.subscribe(topic, max_queued=1) as messages:
        for number in range(50):
            service.publish(topic, b"%d" % number, qos=1)
        assert [messages.get(WAIT).payload for _ in range(50)] == [b"%d" % number for number in range(50)]
        assert messages.dropped == 0


def test_a_subscribe_that_is_never_answered_times_out(
    authority: trustme.CA, authority_file: Path, client_id: str, topic: str
) -> None:
    with (
        MqttStub(authority, silent=(Subscribe,)) as stub,
        connect(stub.settings(client_id, authority_file), credentials=GOOD) as connection,
    ):
        subscription = connection.subscribe(topic)
        stub.wait_packets(Subscribe)
        error = failure(OperationTimeout, subscription.wait_granted, 0.1)
        assert error.stage == "sent"
        connection.close(timeout=0.5)
