"""How a connection lives and ends, said once for both faces and both protocols: losses, renewals, refusals, close."""

from __future__ import annotations

import itertools
import queue
import threading
from typing import Any

import pytest
from behaviour_support import DIRECT, Device, TokenService, everywhere
from client_support import GOOD, WAIT, Farewell, check_error, failure

from iot_customauth_client import (
    AuthenticationRefused,
    ClientIdTakenOver,
    CloseReport,
    ConnectionBuilder,
    ConnectionClosed,
    ConnectTimeout,
    CredentialsRejected,
    CredentialsUnavailable,
    ManualClock,
    Message,
    NotConnected,
    OperationTimeout,
    PolicyDenied,
    State,
)
from iot_customauth_client.local import events

pytest_plugins = ("client_support", "behaviour_support")
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")

MQTT5 = [way for way in DIRECT if way[1] == "mqtt5"]
MQTT311 = [way for way in DIRECT if way[1] == "mqtt311"]
HOUR = 3_600
NOT_AUTHORIZED = 135

# -- lost and found ---------------------------------------------------------------------------------------------------


@everywhere()
def test_a_lost_connection_comes_back_with_its_subscriptions_and_loses_nothing(connected: Device) -> None:
    connection, topic = connected.connection, connected.topic
    with connection.subscribe(f"{topic}/down") as messages:
        futures = [connection.publish(f"{topic}/up", b"%d" % number) for number in range(200)]
        lost = connected.lose_connection()
        check_error(lost.error)
        assert lost.retry_in_seconds is not None
        futures += [connection.publish(f"{topic}/up", b"%d" % number) for number in range(200, 300)]
        for future in futures:
            future.result(WAIT)
        connected.service.publish(f"{topic}/down", b"still here", qos=1)
        assert messages.get(WAIT).payload == b"still here"
    states = [change.state for change in connected.watch.since]
    assert states == [State.WAITING, State.CONNECTING, State.CONNECTED]
    assert connected.watch.since[-1].session_present
    assert list(dict.fromkeys(connected.published())) == [b"%d" % number for number in range(300)]


@everywhere(DIRECT)
def test_what_was_published_to_the_device_while_it_was_away_is_delivered(connected: Device) -> None:
    with connected.connection.subscribe(connected.topic) as messages:
        connected.watch.mark()
        with connected.service.faults.unreachable():
            connected.watch.wait_for(State.WAITING)
            for number in range(10):
                connected.service.publish(connected.topic, b"%d" % number, qos=1)
        connected.come_back()
        assert [messages.get(WAIT).payload for _ in range(10)] == [b"%d" % number for number in range(10)]


@everywhere(DIRECT)
def test_a_session_that_the_service_lost_is_subscribed_anew(connected: Device) -> None:
    with (
        connected.connection.subscribe(f"{connected.topic}/1") as first,
        connected.connection.subscribe(f"{connected.topic}/2") as second,
    ):
        connected.lose_connection(lambda: connected.service.disconnect(connected.client_id, clean_session=True))
        assert not connected.watch.wait_for(State.CONNECTED).session_present
        connected.wait_until(events.Subscribed, lambda seen: sum(len(each.topic_filters) for each in seen) >= 4)
        connected.service.publish(f"{connected.topic}/1", b"one", qos=1)
        connected.service.publish(f"{connected.topic}/2", b"two", qos=1)
        assert (first.get(WAIT).payload, second.get(WAIT).payload) == (b"one", b"two")


@everywhere(DIRECT)
def test_while_not_connected_qos_1_waits_and_qos_0_fails(connected: Device) -> None:
    connected.watch.mark()
    with connected.service.faults.unreachable():
        connected.watch.wait_for(State.WAITING)
        waits = connected.connection.publish(connected.topic, b"waits")
        failure(NotConnected, connected.connection.publish(connected.topic, b"fails", qos=0).result, WAIT)
        in_time = connected.connection.publish(connected.topic, b"too late", timeout=0.05)
        assert failure(OperationTimeout, in_time.result, WAIT).stage == "queued"
        failure(OperationTimeout, connected.connection.flush, 0.05)
        assert not waits.done()
    connected.come_back()
    connected.connection.flush(WAIT)
    assert waits.done()
    assert connected.published() == [b"waits"]


@everywhere(MQTT5)
def test_a_message_whose_iterator_was_left_by_an_exception_comes_again(connected: Device) -> None:
    subscription = connected.connection.subscribe(connected.topic)
    subscription.wait_granted(WAIT)
    connected.service.publish(connected.topic, b"precious", qos=1)
    with pytest.raises(ZeroDivisionError), subscription as messages:  # noqa: PT012
        assert messages.get(WAIT).payload == b"precious"
        raise ZeroDivisionError
    again = connected.connection.subscribe(connected.topic)
    connected.lose_connection()
    assert again.get(WAIT).payload == b"precious"


@everywhere(MQTT5)
def test_with_redeliver_the_message_of_a_failed_handler_comes_again(connected: Device) -> None:
    handled: queue.SimpleQueue[int] = queue.SimpleQueue()
    times = itertools.count(1)

    def handle(message: Message) -> None:
        time = next(times)
        handled.put(time)
        if time == 1:
            raise ZeroDivisionError

    handler = connected.way.face.handler(handle)
    connected.connection.subscribe(connected.topic, handler, on_handler_error="redeliver").wait_granted(WAIT)
    connected.service.publish(connected.topic, b"x", qos=1)
    assert handled.get(timeout=WAIT) == 1
    connected.lose_connection()
    assert handled.get(timeout=WAIT) == 2
    connected.wait_for(events.Acknowledged)


@everywhere(DIRECT)
def test_a_takeover_by_another_client_is_named_and_the_device_comes_back(connected: Device) -> None:
    builder = ConnectionBuilder(connected.service.settings(connected.client_id), GOOD)
    other = builder.mqtt5()  # somebody else, as far as the device can know
    connected.watch.mark()
    other.start()
    lost = connected.watch.wait_for(State.WAITING)
    other.stop()
    if connected.way.mqtt5:
        assert isinstance(lost.error, ClientIdTakenOver)
        assert connected.client_id in str(lost.error)
    connected.connection.retry_now()
    connected.watch.wait_for(State.CONNECTED)


@everywhere(MQTT311)
def test_over_mqtt311_a_denied_publish_is_found_out_and_the_rest_goes_on(connected: Device) -> None:
    denied = connected.connection.publish("forbidden/topic", b"x")
    allowed = [connected.connection.publish(connected.topic, b"%d" % number) for number in range(5)]
    for _ in range(4):  # the service hangs up each time; a hang-up alone does not say whose fault it was
        connected.watch.mark()
        if denied.done():
            break
        connected.watch.wait_for(State.WAITING)
        connected.come_back()
    error = failure(PolicyDenied, denied.result, WAIT)
    assert (error.action, error.topic) == ("iot:Publish", "forbidden/topic")
    for future in allowed:
        future.result(WAIT)
    assert list(dict.fromkeys(connected.published())) == [b"%d" % number for number in range(5)]


# -- renewal ----------------------------------------------------------------------------------------------------------


@everywhere()
def test_credentials_are_renewed_before_they_end_and_nothing_is_lost(device: Device) -> None:
    tokens, clock = TokenService(), ManualClock()
    connection = device.connect(credentials=tokens, clock=clock)
    assert tokens.calls == 1
    with connection.subscribe(f"{device.topic}/down") as messages:
        for renewal in (1, 2):
            futures = [connection.publish(f"{device.topic}/up", b"%d %d" % (renewal, n)) for n in range(50)]
            device.settle()
            device.watch.mark()
            clock.advance(HOUR - 60)
            device.watch.wait_for(State.RENEWING)
            device.watch.wait_for(State.CONNECTED)
            for future in futures:
                future.result(WAIT)
            device.service.publish(f"{device.topic}/down", b"%d" % renewal, qos=1)
            message = messages.get(WAIT)
            assert message.payload == b"%d" % renewal
            message.ack()  # else it would come again after the next renewal, as it should
            assert State.WAITING not in [change.state for change in device.watch.since]
            assert tokens.calls == 1 + renewal
    assert connection.stats().renewals == 2
    assert device.published() == [b"%d %d" % (renewal, n) for renewal in (1, 2) for n in range(50)]
    assert [gone.reason for gone in device.seen(events.Disconnected)] == ["CLIENT_INITIATED_DISCONNECT"] * 2


@everywhere(DIRECT)
def test_a_connection_whose_time_is_limited_is_renewed_before_it_is_over(device: Device) -> None:
    clock = ManualClock()
    connection = device.connect(clock=clock, disconnect_after_seconds=HOUR, renew_leeway_seconds=60)
    device.settle()
    device.watch.mark()
    clock.advance(HOUR - 60)
    device.watch.wait_for(State.RENEWING)
    assert device.watch.wait_for(State.CONNECTED).session_present
    connection.publish(device.topic, b"x").result(WAIT)


@everywhere()
def test_the_native_object_is_replaced_only_where_credentials_travel_in_an_mqtt5_connect(device: Device) -> None:
    tokens, clock = TokenService(), ManualClock()
    connection = device.connect(credentials=tokens, clock=clock)
    before = connection.native
    handle = connection.service(lambda native: [native])
    assert handle.current[0] is before
    device.settle()
    device.watch.mark()
    clock.advance(HOUR - 60)
    device.watch.wait_for(State.RENEWING)
    device.watch.wait_for(State.CONNECTED)
    assert (connection.native is before) is not device.way.mqtt5
    assert handle.current[0] is connection.native
    # Held by nobody else, the old one is collected.
    if device.way.mqtt5:
        farewell = Farewell(before)
        del before
        farewell.wait()


@everywhere(DIRECT)
def test_a_source_that_fails_for_a_while_ends_nothing(device: Device) -> None:
    tokens, clock = TokenService(), ManualClock()
    connection = device.connect(credentials=tokens, clock=clock)
    tokens.failures = [OSError("the token service is away")] * 2
    device.settle()
    clock.advance(HOUR - 60)
    tokens.wait_asked(2)
    connection.publish(device.topic, b"connected all the while").result(WAIT)
    device.watch.mark()
    while not any(change.state is State.CONNECTED for change in device.watch.since):
        clock.advance(20)
        threading.Event().wait(0.02)  # time stands still but for us: let the threads come to it
    connection.publish(device.topic, b"renewed").result(WAIT)
    assert connection.state is State.CONNECTED


@everywhere(DIRECT)
def test_a_first_connect_waits_for_a_source_that_is_away_and_says_so_at_the_end(device: Device) -> None:
    tokens = TokenService()
    tokens.failures = [OSError("the token service is away")] * 100
    error = failure(ConnectTimeout, device.connect, credentials=tokens, timeout=0.3)
    assert isinstance(error.__cause__, CredentialsUnavailable)
    assert device.seen(events.ConnectReceived) == []


@everywhere(DIRECT)
def test_a_source_that_rejects_for_good_ends_the_connection(device: Device) -> None:
    tokens, clock = TokenService(), ManualClock()
    tokens.failures = [CredentialsRejected("the account is gone")]
    failure(CredentialsRejected, device.connect, credentials=tokens, clock=clock)


# -- refused ----------------------------------------------------------------------------------------------------------


@everywhere(MQTT5)
def test_a_refusal_is_tried_once_more_with_fresh_credentials_and_then_seldom(device: Device) -> None:
    tokens = TokenService()
    connection = device.connect(credentials=tokens)
    device.service.faults.refuse_connects(2, reason_code=NOT_AUTHORIZED, client_id=device.client_id)
    device.watch.mark()
    device.service.faults.drop(device.client_id)
    device.watch.wait_for(State.WAITING)
    connection.retry_now()
    refused = device.watch.wait_for(State.REFUSED)
    assert isinstance(refused.error, AuthenticationRefused)
    assert refused.retry_in_seconds is not None
    assert refused.retry_in_seconds >= 60
    assert tokens.calls == 2
    assert connection.stats().refusals == 2
    device.watch.mark()
    device.come_back()
    connection.publish(device.topic, b"x").result(WAIT)


@everywhere(MQTT5)
def test_with_stop_a_refusal_ends_the_connection(device: Device) -> None:
    connection = device.connect(when_refused="stop")
    subscription = connection.subscribe(device.topic)
    waiting = connection.publish  # bound before the end
    device.service.faults.refuse_connects(2, reason_code=NOT_AUTHORIZED, client_id=device.client_id)
    device.service.faults.drop(device.client_id)
    device.watch.wait_for(State.WAITING)
    connection.retry_now()
    error = failure(ConnectionClosed, connection.wait_closed, WAIT)
    assert isinstance(error.__cause__, AuthenticationRefused)
    assert connection.state is State.CLOSED
    failure(ConnectionClosed, waiting, device.topic)
    with pytest.raises(ConnectionClosed):
        next(subscription)


@everywhere(MQTT311)
def test_over_mqtt311_a_hang_up_is_never_called_a_refusal(connected: Device) -> None:
    connected.service.faults.refuse_connects(2, reason_code=NOT_AUTHORIZED, client_id=connected.client_id)
    connected.watch.mark()
    connected.service.faults.drop(connected.client_id)
    connected.watch.wait_for(State.WAITING)
    for _ in range(2):
        connected.watch.mark()
        connected.connection.retry_now()
        assert connected.watch.wait_for(State.WAITING).error.code == "closed_before_connack"  # type: ignore[union-attr]
    connected.come_back()
    assert State.REFUSED not in [change.state for change in connected.watch.changes]


@everywhere(DIRECT)
def test_a_first_connect_that_is_refused_raises(device: Device) -> None:
    from client_support import WRONG

    if device.way.mqtt5:
        failure(AuthenticationRefused, device.connect, credentials=WRONG)
    else:
        with pytest.raises(ConnectionError) as caught:
            device.connect(credentials=WRONG)
        check_error(caught.value, code="closed_before_connack")


# -- states, numbers, the end -----------------------------------------------------------------------------------------


@everywhere()
def test_states_are_told_in_order_from_the_first_to_the_last(connected: Device) -> None:
    connected.connection.close()
    connected.watch.wait_for(State.CLOSED)
    steps = [(change.previous, change.state) for change in connected.watch.changes]
    assert steps[-2:] == [(State.CONNECTING, State.CONNECTED), (State.CONNECTED, State.CLOSED)]
    assert all(before[1] is after[0] for before, after in itertools.pairwise(steps))
    assert connected.connection.last_error is None


@everywhere(DIRECT)
def test_a_listener_that_raises_hurts_nobody_and_one_that_was_removed_hears_nothing(connected: Device) -> None:
    heard: list[Any] = []

    def broken(change: Any) -> None:
        raise ZeroDivisionError

    connected.connection.on_state_change(broken)
    connected.connection.on_state_change(heard.append)()  # removed at once
    connected.lose_connection()
    connected.connection.publish(connected.topic, b"x").result(WAIT)
    assert heard == []


@everywhere(DIRECT)
def test_the_numbers_add_up(connected: Device) -> None:
    connection = connected.connection
    handled: queue.SimpleQueue[None] = queue.SimpleQueue()
    handler = connected.way.face.handler(lambda _: handled.put(None))
    connection.subscribe(connected.topic, handler).wait_granted(WAIT)
    for _ in range(5):
        connection.publish(connected.topic, b"x").result(WAIT)
    for _ in range(5):
        handled.get(timeout=WAIT)
    connected.wait_count(events.Acknowledged, 5)  # what is not acknowledged would come again
    connected.lose_connection()
    connection.publish(f"{connected.topic}/more", b"x").result(WAIT)
    stats = connection.stats()
    assert (stats.state, stats.attempts, stats.connects, stats.renewals, stats.refusals) == (
        State.CONNECTED,
        2,
        2,
        0,
        0,
    )
    assert (stats.published, stats.acknowledged, stats.failed, stats.received) == (6, 6, 0, 5)
    assert (stats.outbox.messages, stats.outbox.bytes, stats.outbox.in_flight) == (0, 0, 0)
    assert stats.connected_for_seconds >= 0


@everywhere()
def test_close_waits_for_what_was_accepted_and_says_goodbye(connected: Device) -> None:
    futures = [connected.connection.publish(connected.topic, b"%d" % number) for number in range(200)]
    assert connected.connection.close(timeout=WAIT) == CloseReport(unacknowledged=0, kept=0)
    assert all(future.done() and future.exception() is None for future in futures)
    assert connected.connection.close() == CloseReport(unacknowledged=0, kept=0)
    gone = connected.wait_for(events.Disconnected)
    assert gone.reason == "CLIENT_INITIATED_DISCONNECT"
    connected.connection.wait_closed(WAIT)


@everywhere(DIRECT)
def test_close_while_away_tells_what_was_left(connected: Device) -> None:
    connected.watch.mark()
    with connected.service.faults.unreachable():
        connected.watch.wait_for(State.WAITING)
        futures = [connected.connection.publish(connected.topic, b"x") for _ in range(3)]
        report = connected.connection.close(timeout=0.1)
        assert report == CloseReport(unacknowledged=3, kept=0)
        for future in futures:
            failure(ConnectionClosed, future.result, WAIT)
        assert connected.watch.wait_for(State.CLOSED).error is None


@everywhere(DIRECT)
def test_leaving_with_by_an_exception_does_not_wait(connected: Device) -> None:
    connected.service.faults.swallow("PUBACK", times=None, client_id=connected.client_id)
    with pytest.raises(ZeroDivisionError), connected.connection:  # noqa: PT012
        future = connected.connection.publish(connected.topic, b"x")
        connected.wait_for(events.Published)
        raise ZeroDivisionError
    assert connected.connection.state is State.CLOSED
    failure(ConnectionClosed, future.result, WAIT)
