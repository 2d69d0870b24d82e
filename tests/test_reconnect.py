"""A lost connection is not an end: it comes back by itself, and messages and subscriptions are there as before."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import trustme
from awscrt import mqtt5
from client_support import BOTH, GOOD, WAIT, Dial, Farewell, States, check_error, connects, seen
from stub_servers import MqttStub

from iot_customauth_client import (
    ClientIdTakenOver,
    ConnectionBuilder,
    ConnectTimeout,
    EndpointUnreachable,
    ManualClock,
    State,
    StateChange,
    connect,
)
from iot_customauth_client.local import LocalEndpoint, events

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


def filters_asked(service: LocalEndpoint, client_id: str) -> list[str]:
    """The filters that a client subscribed to, in order."""
    return [each for event in seen(service, events.Subscribed, client_id) for each in event.topic_filters]


KINDS = pytest.mark.parametrize("how", ["rst", "fin"])


@BOTH
@KINDS
def test_a_dropped_connection_comes_back_with_its_subscriptions_and_messages(
    protocol: str, how: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    states = States()
    connection = dial(protocol, on_state_change=states)
    messages = connection.subscribe(topic)
    messages.wait_granted(WAIT)
    service.faults.drop(client_id, how=how)  # type: ignore[arg-type]
    waiting = states.wait_for(State.WAITING)
    check_error(waiting.error, phase="connected")
    assert waiting.retry_in_seconds is not None
    assert 0 <= waiting.retry_in_seconds <= 1  # the first one is soon
    future = connection.publish(topic, b"published while away")
    again = states.wait_for(State.CONNECTED, after=waiting)
    assert (again.attempt, again.session_present, again.error) == (2, True, None)
    future.result(WAIT)
    assert messages.get(WAIT).payload == b"published while away"
    assert connection.last_error is None
    stats = connection.stats()
    assert (stats.state, stats.attempts, stats.connects, stats.renewals) == (State.CONNECTED, 2, 2, 0)


@BOTH
def test_what_was_not_acknowledged_goes_first_and_in_order(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    states = States()
    connection = dial(protocol, on_state_change=states)
    service.faults.swallow("PUBACK", times=20, client_id=client_id)
    futures = [connection.publish(topic, b"%d" % number) for number in range(250)]
    service.wait_for(events.Published, client_id=client_id, payload=b"19", timeout=WAIT)
    service.faults.drop(client_id)
    connection.retry_now()
    for future in futures:
        future.result(WAIT)
    arrived = [int(event.payload) for event in seen(service, events.Published, client_id)]
    assert list(dict.fromkeys(arrived)) == list(range(250))
    again = service.wait_for(events.Published, client_id=client_id, payload=b"0", timeout=0)
    assert len([number for number in arrived if number < 20]) >= 40, again  # sent again, since nobody had answered


@BOTH
def test_a_session_that_the_service_has_forgotten_gets_its_filters_anew(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    states = States()
    connection = dial(protocol, on_state_change=states)
    messages = [connection.subscribe(f"{topic}/{number}") for number in range(12)]
    for each in messages:
        each.wait_granted(WAIT)
    asked = filters_asked(service, client_id)
    before = service.events.last_sequence
    service.disconnect(client_id, clean_session=True)
    waiting = states.wait_for(State.WAITING)
    assert states.wait_for(State.CONNECTED, after=waiting).session_present is False
    while filters_asked(service, client_id) != 2 * asked:
        before = service.wait_for(events.Subscribed, client_id=client_id, after=before, timeout=WAIT).sequence
    connection.publish(f"{topic}/11", b"x").result(WAIT)
    assert messages[11].get(WAIT).payload == b"x"
    assert filters_asked(service, client_id) == 2 * asked


@BOTH
def test_an_endpoint_that_is_away_is_tried_with_growing_pauses_and_found_at_once_by_retry_now(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str
) -> None:
    clock, states = ManualClock(), States()
    connection = dial(protocol, clock=clock, on_state_change=states)
    with service.faults.unreachable():
        waiting = states.wait_for(State.WAITING)
        for attempt in range(2, 5):
            connection.retry_now()
            waiting = states.wait_for(State.WAITING, after=waiting)
            assert waiting.attempt == attempt
            assert isinstance(waiting.error, EndpointUnreachable)
            assert waiting.retry_in_seconds is not None
            assert waiting.retry_in_seconds <= 2 ** (attempt - 1)
    connection.retry_now()  # the clock stands still: nothing else makes the attempt
    states.wait_for(State.CONNECTED, after=waiting)


@BOTH
def test_the_pause_is_of_the_connections_clock(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str
) -> None:
    clock, states = ManualClock(), States()
    dial(protocol, clock=clock, on_state_change=states)
    service.faults.drop(client_id)
    waiting = states.wait_for(State.WAITING)
    assert connects(service, client_id) == 1
    clock.advance(61)
    states.wait_for(State.CONNECTED, after=waiting)


@BOTH
def test_a_connection_that_is_kicked_after_connack_is_not_a_success(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str
) -> None:
    clock, states = ManualClock(), States()
    connection = dial(protocol, clock=clock, on_state_change=states)
    back_off = connection._session._pauses._back_off
    last = None
    for kicks in range(1, 4):
        connected = states.wait_for(State.CONNECTED, after=last)
        service.disconnect(client_id)
        last = states.wait_for(State.WAITING, after=connected)
        assert back_off._failures == kicks
        connection.retry_now()
    connected = states.wait_for(State.CONNECTED, after=last)
    clock.advance(61)  # it has lasted
    service.disconnect(client_id)
    states.wait_for(State.WAITING, after=connected)
    assert back_off._failures == 1


def test_the_native_object_stays_the_same_across_reconnects(dial: Dial, service: LocalEndpoint, client_id: str) -> None:
    for protocol in ("mqtt5", "mqtt311"):
        states = States()
        connection = dial(protocol, client_id=f"{client_id}-{protocol}", on_state_change=states)
        native = connection.native
        service.faults.drop(f"{client_id}-{protocol}")
        states.wait_for(State.CONNECTED, after=states.wait_for(State.WAITING))
        assert connection.native is native


@BOTH
def test_certificate_trouble_after_the_first_success_is_waited_out(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    # A captive portal, or a certificate that is being replaced.
    stranger, states = trustme.CA(key_type=trustme.KeyType.ECDSA), States()
    with MqttStub(authority) as stub:
        settings = stub.settings(client_id, authority_file, protocol=protocol)
        with connect(settings, credentials=GOOD, timeout=WAIT, on_state_change=states):
            stranger.issue_cert("localhost", key_type=trustme.KeyType.ECDSA).configure_cert(stub._context)
            stub.hang_up()
            lost = states.wait_for(State.WAITING)
            check_error(states.wait_for(State.WAITING, after=lost).error, code="certificate_refused", phase="tls")
            authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA).configure_cert(stub._context)
            states.wait_for(State.CONNECTED, after=lost, timeout=30)


def test_two_who_fight_over_a_client_id_are_noticed_named_and_slowed_down(
    dial: Dial, service: LocalEndpoint, client_id: str
) -> None:
    states = States()
    connection = dial(clock=ManualClock(), on_state_change=states)
    lost = states.wait_for(State.CONNECTED)
    for number in range(2):
        other = ConnectionBuilder(service.settings(client_id), GOOD).mqtt5()
        other.start()
        lost = states.wait_for(State.WAITING, after=lost)
        other.stop(mqtt5.DisconnectPacket())
        service.wait_for(
            events.Disconnected, client_id=client_id, reason="CLIENT_INITIATED_DISCONNECT", after=number, timeout=WAIT
        )
        if not number:
            connection.retry_now()
            lost = states.wait_for(State.CONNECTED, after=lost)
    assert isinstance(lost.error, ClientIdTakenOver)
    check_error(lost.error, code="client_id_contested", phase="connected")
    assert f"another process uses client id {client_id!r}" in lost.error.message
    assert lost.retry_in_seconds is not None
    assert lost.retry_in_seconds >= 5


@BOTH
def test_connections_can_be_closed_in_every_pause(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str
) -> None:
    states = States()
    connection = dial(protocol, clock=ManualClock(), on_state_change=states)
    service.faults.drop(client_id)
    states.wait_for(State.WAITING)
    connection.close()
    assert connection.state is State.CLOSED
    connection.wait_closed(0)
    dial(protocol)  # the client id is free


@BOTH
def test_a_connection_that_is_dropped_while_it_waits_is_collected(
    protocol: str, service: LocalEndpoint, client_id: str
) -> None:
    states = States()
    settings = service.settings(client_id, protocol=protocol)  # type: ignore[arg-type]
    connection = connect(settings, credentials=GOOD, timeout=WAIT, clock=ManualClock(), on_state_change=states)
    service.faults.drop(client_id)
    states.wait_for(State.WAITING)
    farewell = Farewell(connection._session)
    del connection
    farewell.wait()


def test_a_suspended_machine_that_woke_up_makes_its_attempt_at_once(
    dial: Dial, service: LocalEndpoint, client_id: str
) -> None:
    states = States()
    connection = dial(clock=ManualClock(), on_state_change=states)
    service.faults.drop(client_id)
    waiting = states.wait_for(State.WAITING)
    connection._session._serial.post(lambda: connection._session.woke_up(3_600.0))
    connected = states.wait_for(State.CONNECTED, after=waiting)
    # Longer than the service waits for a sign of life: it has ended the connection, whatever the socket says.
    connection._session._serial.post(lambda: connection._session.woke_up(3_600.0))
    waiting = states.wait_for(State.WAITING, after=connected)
    connection.retry_now()
    states.wait_for(State.CONNECTED, after=waiting)


@BOTH
def test_handlers_and_waiting_threads_live_through_an_outage(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    states, received, arrived = States(), [], threading.Event()
    connection = dial(protocol, on_state_change=states)

    def handle(message: object) -> None:
        received.append(message)
        arrived.set()

    connection.subscribe(topic, handle).wait_granted(WAIT)
    with service.faults.unreachable():
        states.wait_for(State.WAITING)
        future = connection.publish(topic, b"x")
        assert not future.done()
    future.result(30)
    assert arrived.wait(WAIT)


# -- beyond the process ---------------------------------------------------------------------------------------------


class Notebook:
    """A journal that keeps what is to be remembered, and no messages; and the outbox that gives it."""

    def __init__(self) -> None:
        from iot_customauth_client.outbox_memory import MemoryOutbox

        self.limits = MemoryOutbox().limits
        self.kept: dict[str, str | None] = {}

    def open(self, client_id: str, *, clock: object) -> Notebook:
        return self

    def load(self) -> tuple[object, ...]:
        return ()

    def start(self, stored: object, not_stored: object) -> None:
        pass

    def recall(self, name: str) -> str | None:
        return self.kept.get(name)

    def remember(self, name: str, value: str | None) -> None:
        self.kept[name] = value

    def flush(self, timeout: float) -> bool:
        return True

    def close(self, timeout: float) -> None:
        pass


def test_a_process_that_is_started_again_waits_what_is_left_of_the_pause(
    service: LocalEndpoint, client_id: str
) -> None:
    notebook, clock, states = Notebook(), ManualClock(), States()
    with service.faults.unreachable():
        connection = connect(
            service.settings(client_id),
            credentials=GOOD,
            timeout=0,
            outbox=notebook,
            clock=clock,  # type: ignore[arg-type]
        )
        connection.on_state_change(states)
        states.wait_for(State.WAITING)
        connection.close()
    later = States()
    settings = service.settings(client_id)
    outbox = {"outbox": notebook, "clock": clock, "on_state_change": later}
    connection = connect(settings, credentials=GOOD, timeout=0, **outbox)  # type: ignore[arg-type]
    waiting = later.wait_for(State.WAITING)
    assert waiting.attempt == 0
    assert waiting.error is not None
    assert "an earlier process" in waiting.error.message
    clock.advance(1)
    later.wait_for(State.CONNECTED)
    clock.advance(31)
    connection.close()
    assert notebook.kept == {"back_off": None}


def test_a_remembered_pause_that_is_too_long_for_connect_tells_what_it_is_for(
    service: LocalEndpoint, client_id: str
) -> None:
    import json
    import time

    notebook = Notebook()
    kept = {"failures": 0, "refusals": 2, "until": time.time() + 900, "pause": 900.0, "refused": True}
    notebook.kept["back_off"] = json.dumps(kept | {"code": "authentication_refused", "message": "it said no"})
    with pytest.raises(ConnectTimeout, match=r"an earlier process could not connect.*it said no"):
        connect(service.settings(client_id), credentials=GOOD, timeout=0.1, outbox=notebook)  # type: ignore[arg-type]
    assert connects(service, client_id) == 0


def test_a_disk_that_hangs_does_not_hold_back_the_news_that_it_is_closed(
    service: LocalEndpoint, client_id: str
) -> None:
    class Stuck(Notebook):
        disk = threading.Event()

        def close(self, timeout: float) -> None:
            self.disk.wait(WAIT)

    notebook, states = Stuck(), States()
    outbox = {"outbox": notebook, "on_state_change": states}
    connection = connect(service.settings(client_id), credentials=GOOD, timeout=WAIT, **outbox)  # type: ignore[arg-type]
    connection.close(timeout=5)
    assert connection.state is State.CLOSED
    assert states.changes[-1].state is State.CLOSED
    assert not notebook.disk.is_set()
    notebook.disk.set()


def test_who_hears_of_a_pause_may_move_the_clock_to_its_end_at_once(client_id: str, service: LocalEndpoint) -> None:
    clock = ManualClock()
    up = threading.Event()

    def changed(change: StateChange) -> None:
        if change.state is State.CONNECTED and change.attempt > 1:
            up.set()

    connection = connect(service.settings(client_id), credentials=GOOD, timeout=WAIT, clock=clock)
    session = connection._session
    tell = session._observer

    def at_once(change: StateChange) -> None:
        tell(change)
        changed(change)
        if change.retry_in_seconds is not None:
            clock.advance(change.retry_in_seconds + 0.1)

    with connection:
        session._observer = at_once
        service.disconnect(client_id)
        assert up.wait(WAIT)
