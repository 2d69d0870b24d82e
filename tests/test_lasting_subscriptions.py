"""Subscriptions outlive their connection: iterators, handlers and requests go on after a reconnect."""

from __future__ import annotations

import queue
import threading

import pytest
from client_support import BOTH, WAIT, Dial, States, failure, seen
from sqlite_support import until

from iot_customauth_client import Message, OperationTimeout, PolicyDenied, State
from iot_customauth_client.local import LocalEndpoint, events

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


@BOTH
@pytest.mark.parametrize("expiry", [0, 3600])
def test_an_iterator_and_a_handler_go_on_after_a_reconnect(
    protocol: str, expiry: int, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    handled: queue.Queue[bytes] = queue.Queue()
    connection = dial(protocol, session_expiry_seconds=expiry)
    connection.subscribe(f"{topic}/b", lambda message: handled.put(message.payload)).wait_granted(WAIT)
    with connection.subscribe(f"{topic}/a") as messages:
        for number in range(2):
            service.publish(f"{topic}/a", b"%d" % number, qos=1)
            service.publish(f"{topic}/b", b"%d" % number, qos=1)
            assert messages.get(WAIT).payload == handled.get(timeout=WAIT) == b"%d" % number
            failure(OperationTimeout, messages.get, 0)  # which acknowledges what it gave before
            connection.publish(topic, b"").result(WAIT)  # the endpoint has seen both acknowledgements before this
            if number == 0:
                first = seen(service, events.ConnectReceived, client_id)[-1]
                service.disconnect(client_id)
                service.wait_for(events.ConnectReceived, client_id=client_id, after=first, timeout=WAIT)
                connection.wait_connected(WAIT)
                connection.publish(topic, b"").result(WAIT)  # the endpoint has seen the SUBSCRIBEs before this
    asked = [name for event in seen(service, events.Subscribed, client_id) for name in event.topic_filters]
    assert len(asked) == (4 if expiry == 0 else 2)


@BOTH
def test_a_request_goes_on_after_a_reconnect(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial(protocol)
    responder = dial(protocol, client_id=f"{client_id}-b")
    lost = threading.Event()

    def answer(message: Message) -> bytes:
        if not lost.is_set():
            lost.set()
            service.disconnect(client_id)
        return message.payload

    with responder.respond(topic, answer):
        assert connection.request(topic, b"x", timeout=WAIT).payload == b"x"


def test_a_refusal_at_a_reconnect_raises_in_the_iterator(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial(session_expiry_seconds=0)
    messages = connection.subscribe(topic)
    messages.wait_granted(WAIT)
    service.faults.answer("SUBSCRIBE", 0x87, client_id=client_id)
    service.disconnect(client_id)
    failure(PolicyDenied, next, messages)
    connection.wait_connected(WAIT)
    assert connection.state is State.CONNECTED


def test_what_was_closed_while_away_is_unsubscribed(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    states = States()
    connection = dial(on_state_change=states)
    messages = connection.subscribe(topic)
    messages.wait_granted(WAIT)
    service.disconnect(client_id)
    states.wait_for(State.WAITING)
    messages.close()
    service.wait_for(events.Unsubscribed, client_id=client_id, timeout=WAIT)


@BOTH
def test_all_that_came_while_the_device_was_away_reaches_the_script_that_connects_and_then_subscribes(
    protocol: str, dial: Dial, service: LocalEndpoint, topic: str
) -> None:
    before = dial(protocol)
    before.subscribe(topic).wait_granted(WAIT)
    before.close()
    for number in range(300):
        service.publish(topic, b"%d" % number, qos=1)
    connection = dial(protocol)
    # More than the service keeps unacknowledged are here before the script has got to its subscription.
    until(lambda: connection.stats().received >= (100 if protocol == "mqtt5" else 300))
    with connection.subscribe(topic) as messages:
        assert [messages.get(WAIT).payload for _ in range(300)] == [b"%d" % number for number in range(300)]
    assert connection.stats().dropped == 0
