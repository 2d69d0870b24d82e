"""Nothing that a user leaves undone stalls the connection unseen: 100 messages may be unacknowledged (MQTT 5)."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections import deque
from functools import partial

import pytest
from client_support import BOTH, GOOD, WAIT, Dial, Farewell, connects, failure
from hypothesis import given
from hypothesis import strategies as st
from outbox_support import FakeLink

from iot_customauth_client import (
    ConfigurationError,
    ConnectionClosed,
    ConnectionSettings,
    Credentials,
    ManualClock,
    Message,
    MessageExpired,
    OperationTimeout,
    State,
    StateChange,
    connect,
)
from iot_customauth_client.handler_watch import SLOW_AFTER_SECONDS, HandlerWatch, handler_name
from iot_customauth_client.inbox import Registration
from iot_customauth_client.linger import Linger
from iot_customauth_client.local import LocalEndpoint
from iot_customauth_client.receipts import STALL_AFTER_SECONDS, Receipts
from iot_customauth_client.runtime import runtime

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


# -- what stalls is named -------------------------------------------------------------------------------------------


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What this package warned of: the native clients of other tests may still have something to say."""
    ours = [record for record in caplog.records if record.name.startswith("iot_customauth_client")]
    return [record.getMessage() for record in ours if record.levelno >= logging.WARNING]


def test_a_connection_whose_hundred_messages_stay_unacknowledged_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    ledger = Receipts(clock, client_id="device-1")
    holder, other = registration("slow/#"), registration("other")
    receipts = [ledger.owe(lambda: True, holder) for _ in range(97)]
    ledger.owe_jointly(lambda: True, (holder, other))
    clock.advance(60)
    assert warnings_of(caplog) == []
    ledger.owe(lambda: True, other)
    ledger.owe(lambda: True, None)
    clock.advance(STALL_AFTER_SECONDS + 1)
    clock.advance(60)
    (warning,) = warnings_of(caplog)
    assert "100 received messages" in warning
    assert "'slow/#' holds 98, 'other' holds 2, no subscription yet holds 1" in warning
    for receipt in receipts:
        receipt.settle()
    clock.advance(60)
    for _ in range(97):
        ledger.owe(lambda: True, holder)
    clock.advance(60)
    assert len(warnings_of(caplog)) == 2  # another episode


def test_a_connection_that_is_full_but_goes_on_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    ledger = Receipts(clock)
    receipts = deque(ledger.owe(lambda: True, registration("a")) for _ in range(100))
    for _ in range(500):
        receipts.popleft().settle()
        receipts.append(ledger.owe(lambda: True, registration("a")))
        clock.advance(1)
    assert warnings_of(caplog) == []


def test_a_handler_that_is_busy_for_long_is_named_once_while_it_runs(
    dial: Dial, service: LocalEndpoint, topic: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    monkeypatch.setattr(runtime(), "handlers", HandlerWatch(clock))
    inside, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def dawdling(_: Message) -> None:
        inside.release()
        assert go_on.acquire(timeout=WAIT)

    with dial().subscribe(topic, dawdling):
        for _ in range(2):
            service.publish(topic, b"x", qos=1)
        assert inside.acquire(timeout=WAIT)
        clock.advance(SLOW_AFTER_SECONDS - 1)
        assert warnings_of(caplog) == []
        clock.advance(30)
        (warning,) = warnings_of(caplog)
        assert "dawdling" in warning
        assert repr(topic) in warning
        go_on.release()
        assert inside.acquire(timeout=WAIT)  # the next message: its own time
        clock.advance(SLOW_AFTER_SECONDS - 1)
        assert len(warnings_of(caplog)) == 1
        go_on.release()


def test_a_handler_is_named_as_it_stands_in_the_source() -> None:
    assert handler_name(partial(partial(warnings_of, None), None)).endswith("test_stalls.warnings_of")
    assert handler_name(Farewell(object)).endswith("client_support.Farewell")


def registration(topic_filter: str) -> Registration:
    return Registration(topic_filter, 1, None)  # type: ignore[arg-type]


# -- when to doze ---------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0.000_2, 10), min_size=1, max_size=200))
def test_lone_messages_however_quick_never_make_a_consumer_doze(pauses: list[float]) -> None:
    linger, now = Linger(), 100.0
    for pause in pauses:
        now += pause
        linger.woken(now)
        linger.taken += 1
        assert not linger.worth_it


@given(st.integers(1, 100_000))
def test_dozes_that_bring_nothing_become_rare(wakes: int) -> None:
    linger, now, dozes = Linger(), 100.0, 0
    for _ in range(min(wakes, 20_000)):
        now += 0.000_01
        linger.woken(now)
        linger.taken += 10
        if linger.worth_it:
            dozes += 1
            linger.gained(1)
    assert dozes <= wakes.bit_length()


def test_a_flood_makes_a_consumer_doze_for_as_long_as_it_brings_batches() -> None:
    linger, now = Linger(), 100.0
    while not linger.worth_it:
        now += 0.000_1
        linger.woken(now)
        linger.taken += 5
    for _ in range(100):
        linger.gained(50)
        assert linger.worth_it
    linger.gained(0)
    assert not linger.worth_it
