"""Nothing that a user leaves undone stalls the connection: at most 100 messages may be unacknowledged (MQTT 5)."""

from __future__ import annotations

import contextlib
import signal
import threading

import pytest
from client_support import BOTH, GOOD, WAIT, Dial, connects, failure
from outbox_support import FakeLink

from iot_customauth_client import (
    ConfigurationError,
    ConnectionClosed,
    ConnectionSettings,
    Credentials,
    ManualClock,
    MessageExpired,
    OperationTimeout,
    State,
    StateChange,
    connect,
)
from iot_customauth_client.local import LocalEndpoint

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")

ROUNDS = 120  # more than may be unacknowledged


def test_subscriptions_that_are_closed_with_a_message_in_hand_do_not_add_up(
    dial: Dial, service: LocalEndpoint, topic: str
) -> None:
    connection = dial("mqtt5")
    for _ in range(ROUNDS):
        subscription = connection.subscribe(topic)
        subscription.wait_granted(WAIT)
        service.publish(topic, b"x", qos=1)
        assert subscription.get(WAIT).payload == b"x"
        subscription.close()


def test_unread_messages_of_a_block_left_by_an_exception_do_not_add_up(
    dial: Dial, service: LocalEndpoint, topic: str
) -> None:
    connection = dial("mqtt5")
    for _ in range(4):
        with contextlib.suppress(RuntimeError), connection.subscribe(topic) as messages:
            for _ in range(40):
                service.publish(topic, b"x", qos=1)
            messages.get(WAIT)
            raise RuntimeError("on purpose")
    with connection.subscribe(topic) as messages:
        service.publish(topic, b"last", qos=1)
        # What was still on its way may come before it: the filter is the same.
        while messages.get(WAIT).payload != b"last":
            pass


def test_a_block_that_could_not_be_entered_leaves_no_subscription_behind(dial: Dial, topic: str) -> None:
    connection = dial("mqtt5")
    subscription = connection.subscribe(topic)

    def no_answer(timeout: float | None = None) -> int:
        raise OperationTimeout("no answer", stage="sent")

    subscription.wait_granted = no_answer  # type: ignore[method-assign]
    with pytest.raises(OperationTimeout), subscription:
        pass
    assert connection._session.inbox.interests() == []


@BOTH
def test_an_interrupted_connect_leaves_nothing_that_connects(
    protocol: str, service: LocalEndpoint, client_id: str
) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    slow = Credentials.from_password(GOOD.reveal().username, GOOD.reveal().password or b"", authorizer="slow")
    settings = service.settings(client_id, protocol=protocol)  # type: ignore[arg-type]
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        with pytest.raises(Interrupted):
            connect(settings, credentials=slow, timeout=WAIT)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with connect(settings, credentials=GOOD, timeout=WAIT) as connection:
        assert connection.state is State.CONNECTED
    assert connects(service, client_id) == 2


@BOTH
def test_who_hears_of_the_connection_can_publish_with_qos_0_at_once(
    protocol: str, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    published = threading.Event()
    problems: list[BaseException | None] = []
    opened = threading.Event()

    def publish(change: StateChange) -> None:
        if change.state is State.CONNECTED:
            opened.wait(WAIT)
            problems.append(connection.publish(topic, b"now", qos=0).exception(WAIT))
            published.set()

    settings = service.settings(client_id, protocol=protocol)  # type: ignore[arg-type]
    connection = connect(settings, credentials=GOOD, timeout=0, on_state_change=publish)
    opened.set()
    with connection:
        assert published.wait(WAIT)
    assert problems == [None]


def test_time_in_the_outbox_counts_against_the_expiry(service: LocalEndpoint, client_id: str, topic: str) -> None:
    clock = ManualClock()
    nowhere = ConnectionSettings(endpoint="localhost", port=1, client_id=client_id)
    connection = connect(nowhere, credentials=GOOD, timeout=0, clock=clock)
    try:
        outbox = connection._session.outbox
        late = connection.publish(topic, b"late", expiry_seconds=5)
        still = connection.publish(topic, b"still", expiry_seconds=60)
        clock.advance(10)
        link = FakeLink()
        outbox.attach(link, 100)  # type: ignore[arg-type]
    finally:
        connection.close(timeout=0.1, drain=False)
    assert failure(MessageExpired, late.result, WAIT).code == "message_expired"
    assert [(entry.payload, entry.expiry_seconds) for entry in link.sent] == [(b"still", 50)]
    failure(ConnectionClosed, still.result, WAIT)


def test_bad_arguments_are_refused_at_once_and_harm_no_other_message(dial: Dial, topic: str) -> None:
    connection = dial("mqtt5")
    futures = []
    for number in range(400):
        futures.append(connection.publish(topic, str(number)))
        for bad in ({"qos": 1.0}, {"content_type": 5}, {"expiry_seconds": 1.5}, {"user_properties": {"ab": "x"}}):
            with pytest.raises(ConfigurationError):
                connection.publish(topic, b"", **bad)  # type: ignore[arg-type]
    for future in futures:
        assert future.result(WAIT).reason_code == 0
