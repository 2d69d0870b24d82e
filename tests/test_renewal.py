"""Renewal: the connection is replaced before its credentials or its time end, and nobody notices."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from client_support import BOTH, PASSWORD, USER, WAIT, WRONG, Dial, States, check_error, connects, seen
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client import (
    Connection,
    ConnectionClosed,
    ConnectionSettings,
    Credentials,
    CredentialsUnavailable,
    ManualClock,
    State,
    StateChange,
    connect,
)
from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.renewal import renewal_time
from iot_customauth_client.shared_credentials import SharedCredentials
from iot_customauth_client.standing import Standing

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")

SETTINGS = ConnectionSettings(endpoint="localhost", client_id="c")
EVERY_DOOR = pytest.mark.parametrize(
    ("protocol", "transport", "place"),
    [
        ("mqtt5", "tls", "connect"),
        ("mqtt311", "tls", "connect"),
        ("mqtt5", "websocket", "headers"),
        ("mqtt311", "websocket", "query"),
    ],
)


class Tokens:
    """A token service: each token differs in bytes, and lasts `seconds` of a clock."""

    def __init__(self, clock: ManualClock, *, seconds: float | None = 3_600) -> None:
        self.clock = clock
        self.seconds = seconds
        self.fetched = 0
        self.fails_with: Exception | None = None
        self.same_bytes = False

    def __call__(self) -> Credentials:
        self.fetched += 1
        if self.fails_with is not None:
            raise self.fails_with
        number = 1 if self.same_bytes else self.fetched
        expires = None if self.seconds is None else self.clock.now() + timedelta(seconds=self.seconds)
        return Credentials.from_password(
            USER, PASSWORD, authorizer="gate", parameters={"number": str(number)}, expires_at=expires
        )


Join = Callable[..., Connection]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def renewed(states: States) -> None:
    """Wait for one renewal, and insist that there was nothing but that."""
    renewing = states.wait_for(State.RENEWING)
    connected = states.wait_for(State.CONNECTED, after=renewing)
    assert connected.previous is State.RENEWING
    assert connected.session_present is True
    assert State.WAITING not in [change.state for change in states.changes]


@EVERY_DOOR
def test_a_connection_is_renewed_before_its_credentials_expire(
    protocol: Any, transport: Any, place: Any, service: LocalEndpoint, client_id: str, topic: str, clock: ManualClock
) -> None:
    tokens, states = Tokens(clock), States()
    settings = service.settings(client_id, protocol=protocol, transport=transport, credentials_in=place)
    with connect(settings, credentials=tokens, clock=clock, timeout=WAIT, on_state_change=states) as connection:
        messages = connection.subscribe(topic)
        messages.wait_granted(WAIT)
        native = connection.native
        clock.advance(0.89 * (3_600 - 60))
        assert tokens.fetched == 1
        clock.advance(0.12 * (3_600 - 60))
        renewed(states)
        assert tokens.fetched == 2
        connection.publish(topic, b"after").result(WAIT)
        assert messages.get(WAIT).payload == b"after"
        assert (connection.native is native) is ((protocol, place) != ("mqtt5", "connect"))
        stats = connection.stats()
        assert (stats.connects, stats.renewals, stats.attempts) == (2, 1, 2)
    first = service.wait_for(events.Disconnected, client_id=client_id, timeout=WAIT)
    service.wait_for(events.Disconnected, client_id=client_id, after=first, timeout=WAIT)
    gone = seen(service, events.Disconnected, client_id)
    assert [event.reason for event in gone] == ["CLIENT_INITIATED_DISCONNECT"] * 2


@BOTH
def test_nothing_is_lost_duplicated_or_reordered_while_it_is_renewed_under_load(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str, clock: ManualClock
) -> None:
    states = States()
    shared = SharedCredentials(Tokens(clock))
    connection = dial(protocol, credentials=shared, clock=clock, on_state_change=states)
    received: list[int] = []
    connection.subscribe(f"{topic}/#", lambda message: received.append(int(message.payload))).wait_granted(WAIT)
    stop, futures = threading.Event(), []

    def flood() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            future = connection.publish(topic, b"%d" % number)
            futures.append(future)
            if number % 50 == 49:
                future.result(WAIT)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        shared.renew()
        renewed(states)
    finally:
        stop.set()
        thread.join(WAIT)
    for future in futures:
        assert future.result(WAIT).attempts == 1
    arrived = [int(event.payload) for event in seen(service, events.Published, client_id)]
    assert arrived == list(range(len(futures)))
    connection.publish(topic, b"-1").result(WAIT)
    connection.close()


@BOTH
def test_the_connections_age_is_reason_enough(
    protocol: str, dial: Dial, clock: ManualClock, service: LocalEndpoint, client_id: str
) -> None:
    states = States()
    settings = service.settings(client_id, protocol=protocol, disconnect_after_seconds=600)  # type: ignore[arg-type]
    from client_support import GOOD

    with connect(settings, credentials=GOOD, clock=clock, timeout=WAIT, on_state_change=states) as connection:
        clock.advance(0.89 * (600 - 60))
        assert connection.state is State.CONNECTED
        clock.advance(0.12 * (600 - 60))
        renewed(states)


def test_the_same_bytes_are_no_reason_to_connect_again(
    dial: Dial, clock: ManualClock, service: LocalEndpoint, client_id: str
) -> None:
    tokens, states = Tokens(clock), States()
    tokens.same_bytes = True
    connection = dial(credentials=tokens, clock=clock, on_state_change=states)
    for hours in range(2, 5):
        clock.advance(3_600)
        deadline = threading.Event()
        while tokens.fetched < hours:
            assert not deadline.wait(0.01)
    assert connection.state is State.CONNECTED
    assert connects(service, client_id) == 1
    assert [change.state for change in states.changes] == [State.CONNECTING, State.CONNECTED]


@BOTH
def test_while_the_source_fails_the_connection_stays_and_the_source_is_asked_again(
    protocol: str, dial: Dial, clock: ManualClock, topic: str, no_secret_in_logs: list[str]
) -> None:
    tokens, states = Tokens(clock), States()
    shared = SharedCredentials(tokens, min_interval_seconds=0)
    connection = dial(protocol, credentials=shared, clock=clock, on_state_change=states)
    tokens.fails_with = CredentialsUnavailable("the token service is away")
    clock.advance(3_540)
    waited = threading.Event()
    while not any("renewal:" in line for line in no_secret_in_logs):
        waited.wait(0.01)
    assert connection.state is State.CONNECTED
    connection.publish(topic, b"still here").result(WAIT)
    tokens.fails_with = None
    while State.RENEWING not in [change.state for change in states.changes]:
        clock.advance(5)
        waited.wait(0.02)
    renewed(states)


def test_a_renewal_that_is_refused_becomes_an_ordinary_outage_and_loses_nothing(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str, clock: ManualClock
) -> None:
    tokens, states = Tokens(clock), States()
    answers = iter([tokens(), WRONG, WRONG, tokens()])
    shared = SharedCredentials(lambda: next(answers), min_interval_seconds=0)
    connection = dial(credentials=shared, clock=clock, on_state_change=states)
    shared.renew()
    waiting = states.wait_for(State.WAITING)
    assert waiting.previous is State.RENEWING
    check_error(waiting.error, code="authentication_refused", phase="connect")
    future = connection.publish(topic, b"kept")
    clock.advance(0.1)
    refused = states.wait_for(State.REFUSED)
    shared.renew()
    connection.retry_now()
    states.wait_for(State.CONNECTED, after=refused)
    future.result(WAIT)


def test_who_hears_that_it_is_connected_may_move_the_clock_to_the_renewal_at_once(
    dial: Dial, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, observe = States(), Standing.observe

    def heard(standing: Standing, change: StateChange) -> None:
        if change.state is State.CONNECTED and change.previous is State.CONNECTING:
            clock.advance(3_600 - 60)
        observe(standing, change)

    monkeypatch.setattr(Standing, "observe", heard)  # the earliest moment at which anybody can hear of it
    dial(credentials=Tokens(clock), clock=clock, on_state_change=states)
    renewed(states)


@pytest.mark.parametrize("moment", ["connecting", "renewing"])
def test_what_becomes_outdated_while_it_is_fetched_is_replaced_as_soon_as_it_is_in_use(
    moment: str, dial: Dial, service: LocalEndpoint, client_id: str, clock: ManualClock
) -> None:
    tokens, states = Tokens(clock, seconds=None), States()
    asked, gate = threading.Event(), threading.Event()

    def fetch() -> Credentials:
        credentials = tokens()
        asked.set()
        assert gate.wait(WAIT)
        return credentials

    shared = SharedCredentials(fetch)
    if moment == "renewing":
        gate.set()
    connection = dial(credentials=shared, clock=clock, on_state_change=states, timeout=0)
    if moment == "renewing":
        connection.wait_connected(WAIT)
        gate.clear()
        asked.clear()
        shared.renew()
    assert asked.wait(WAIT)
    shared.renew()
    gate.set()
    last = None
    for _ in range(1 if moment == "connecting" else 2):
        renewing = states.wait_for(State.RENEWING, after=last)
        last = states.wait_for(State.CONNECTED, after=renewing)
    assert tokens.fetched == connects(service, client_id)


def test_a_renewal_that_waited_for_quiet_is_followed_by_no_second_connect_within_a_second(
    dial: Dial, service: LocalEndpoint, client_id: str, topic: str, clock: ManualClock
) -> None:
    states, shared = States(), SharedCredentials(Tokens(clock), min_interval_seconds=0)
    connection = dial(credentials=shared, clock=clock, on_state_change=states, renew_leeway_seconds=2)
    service.faults.swallow("PUBACK", times=1, client_id=client_id)
    connection.publish(topic, b"never quiet")
    service.wait_for(events.Published, client_id=client_id, timeout=WAIT)
    service.faults.refuse_connects(1, client_id=client_id)
    shared.renew()
    waiting = states.wait_for(State.WAITING)
    connection.retry_now()
    states.wait_for(State.CONNECTED, after=waiting)
    times = [event.at for event in seen(service, events.ConnectReceived, client_id)]
    gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)]
    assert len(gaps) == 2
    assert min(gaps) > 0.95


@BOTH
def test_a_connection_can_be_closed_at_any_moment_of_a_renewal(
    protocol: str, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    for number in range(4):
        clock = ManualClock()
        shared = SharedCredentials(Tokens(clock))
        states = States()
        settings = service.settings(f"{client_id}-{number}", protocol=protocol)  # type: ignore[arg-type]
        connection = connect(settings, credentials=shared, clock=clock, timeout=WAIT, on_state_change=states)
        future = connection.publish(topic, b"x")
        shared.renew()
        if number:
            states.wait_for(State.RENEWING)
        connection.close(timeout=3, drain=number % 2 == 0)
        assert connection.state is State.CLOSED
        try:
            future.result(WAIT)
        except ConnectionClosed:
            assert number % 2
        with connect(settings, credentials=shared, clock=clock, timeout=WAIT):
            pass


def test_service_clients_are_made_anew_for_every_native_object(dial: Dial, clock: ManualClock) -> None:
    states, shared = States(), SharedCredentials(Tokens(clock))
    connection = dial(credentials=shared, clock=clock, on_state_change=states)
    handle = connection.service(lambda native: [native])
    assert handle.current is not None
    assert handle.current[0] is connection.native
    before = handle.current
    shared.renew()
    renewed(states)
    assert handle.current is not before
    assert handle.current[0] is connection.native


# -- when -----------------------------------------------------------------------------------------------------------


@given(
    now=st.floats(0, 1e6),
    age=st.floats(0, 1e6),
    left=st.none() | st.floats(-1e5, 1e6),
    lifetime=st.none() | st.floats(300, 86_400),
    leeway=st.floats(0, 3_600),
    jitter=st.floats(0, 0.1),
)
def test_a_renewal_is_never_late_never_in_a_loop_and_at_most_a_tenth_early(
    now: float, age: float, left: float | None, lifetime: float | None, leeway: float, jitter: float
) -> None:
    settings = SETTINGS.replace(disconnect_after_seconds=lifetime, renew_leeway_seconds=leeway)
    connected_at = now - age
    renew_at = None if left is None else now + left
    due = renewal_time(settings, renew_at, connected_at=connected_at, now=now, jitter=lambda _, __: jitter)
    if renew_at is None and lifetime is None:
        assert due is None
        return
    assert due is not None
    assert due.at >= now + 1
    if renew_at is not None:
        assert due.at <= max(renew_at, now + 1)
    if lifetime is not None:
        assert due.at <= max(connected_at + max(lifetime - leeway, lifetime / 2), now + 1)
        if renew_at is None:
            assert due.by_age
            assert due.at >= connected_at + lifetime / 2 * 0.9 - 0.001
