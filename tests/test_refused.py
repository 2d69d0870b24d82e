"""Refusals: once more with fresh credentials, then slowly or not at all; and sources that have none for now."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from client_support import BOTH, GOOD, USER, WAIT, WRONG, Dial, States, allowing, check_error, connects, failure
from stub_servers import Stub

from iot_customauth_client import (
    AuthenticationRefused,
    ClosedBeforeConnack,
    ConnectionClosed,
    ConnectTimeout,
    Credentials,
    CredentialsExpired,
    CredentialsRejected,
    CredentialsUnavailable,
    ManualClock,
    State,
    connect,
)
from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.shared_credentials import SharedCredentials

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


class Door:
    """An authorizer whose password can be changed while it runs."""

    def __init__(self) -> None:
        self.password = b"first"

    def __call__(self, event: Mapping[str, Any], context: object) -> dict[str, object]:
        given = base64.b64decode(event["protocolData"]["mqtt"].get("password", ""))
        return allowing() if given == self.password else {"isAuthenticated": False}


class Keys:
    """A source of credentials that counts how often it is asked."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self) -> Credentials:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Credentials)
        return answer


def key(password: str) -> Credentials:
    return Credentials.from_password(USER, password, authorizer="gate")


@BOTH
def test_a_first_refusal_is_met_with_fresh_credentials(
    protocol: str, service: LocalEndpoint, client_id: str, dial: Dial
) -> None:
    keys, states = Keys(WRONG, GOOD), States()
    dial(protocol, credentials=SharedCredentials(keys), on_state_change=states)
    assert keys.asked == 2
    assert connects(service, client_id) == 2
    kind = AuthenticationRefused if protocol == "mqtt5" else ClosedBeforeConnack
    assert isinstance(states.wait_for(State.WAITING).error, kind)


@BOTH
def test_two_refusals_are_raised_though_the_source_could_be_asked_again(
    protocol: str, service: LocalEndpoint, client_id: str, dial: Dial
) -> None:
    keys = Keys(WRONG)
    kind = AuthenticationRefused if protocol == "mqtt5" else ClosedBeforeConnack
    failure(kind, dial, protocol, credentials=SharedCredentials(keys))
    assert connects(service, client_id) == 2


def test_after_a_success_a_refusal_waits_a_long_time_and_then_tries_again(client_id: str) -> None:
    door, clock, states = Door(), ManualClock(), States()
    with LocalEndpoint({"gate": door}) as endpoint:
        settings = endpoint.settings(client_id)
        with connect(
            settings, credentials=key("first"), timeout=WAIT, clock=clock, on_state_change=states
        ) as connection:
            door.password = b"second"
            endpoint.disconnect(client_id)
            states.wait_for(State.WAITING)
            connection.retry_now()
            refused = states.wait_for(State.REFUSED)
            assert isinstance(refused.error, AuthenticationRefused)
            assert refused.retry_in_seconds is not None
            assert 60 <= refused.retry_in_seconds <= 240
            future = connection.publish("open/x", b"kept")
            door.password = b"first"
            clock.advance(240)
            states.wait_for(State.CONNECTED, after=refused)
            future.result(WAIT)
            assert connection.stats().refusals == 1


def test_changed_credentials_end_the_long_pause_after_a_refusal(client_id: str) -> None:
    door, keys, states = Door(), Keys(key("first")), States()
    shared = SharedCredentials(keys)
    with LocalEndpoint({"gate": door}) as endpoint:
        settings = endpoint.settings(client_id)
        with connect(settings, credentials=shared, timeout=WAIT, on_state_change=states) as connection:
            door.password = b"second"
            endpoint.disconnect(client_id)
            states.wait_for(State.WAITING)
            connection.retry_now()
            refused = states.wait_for(State.REFUSED)
            keys.answers = [key("second")]
            shared.renew()
            states.wait_for(State.CONNECTED, after=refused)


def test_credentials_that_change_while_they_are_being_refused_are_tried_at_once(client_id: str) -> None:
    door, keys, states = Door(), Keys(key("first")), States()
    shared = SharedCredentials(keys)
    refusals: list[object] = []

    def gate(event: Mapping[str, Any], context: object) -> dict[str, object]:
        answer = door(event, context)
        if answer == {"isAuthenticated": False}:
            refusals.append(answer)
            if len(refusals) == 2:  # the second one in a row is the last before the long pause
                keys.answers = [key("second")]
                shared.renew()
        return answer

    with LocalEndpoint({"gate": gate}) as endpoint:
        settings = endpoint.settings(client_id)
        with connect(settings, credentials=shared, timeout=WAIT, on_state_change=states) as connection:
            door.password = b"second"
            endpoint.disconnect(client_id)
            states.wait_for(State.WAITING)
            connection.retry_now()
            refused = states.wait_for(State.REFUSED)
            assert refused.retry_in_seconds == 0
            states.wait_for(State.CONNECTED, after=refused)


def test_after_a_success_a_refusal_stops_if_that_is_wanted(client_id: str) -> None:
    door, states = Door(), States()
    with LocalEndpoint({"gate": door}) as endpoint:
        settings = endpoint.settings(client_id, when_refused="stop")
        connection = connect(settings, credentials=key("first"), timeout=WAIT, on_state_change=states)
        iterator = connection.subscribe("open/x")
        door.password = b"second"
        future = connection.publish("open/x", b"1")
        future.result(WAIT)
        endpoint.disconnect(client_id)
        closed = states.wait_for(State.CLOSED)
        check_error(closed.error, code="authentication_refused")
        error = failure(ConnectionClosed, connection.wait_closed, WAIT)
        assert isinstance(error.__cause__, AuthenticationRefused)
        failure(ConnectionClosed, connection.publish, "open/x", b"2")
        failure(ConnectionClosed, next, iterator)


def test_a_hang_up_over_mqtt311_is_never_called_a_refusal(client_id: str) -> None:
    door, clock, states = Door(), ManualClock(), States()
    with LocalEndpoint({"gate": door}) as endpoint:
        settings = endpoint.settings(client_id, protocol="mqtt311", when_refused="stop")
        with connect(
            settings, credentials=key("first"), timeout=WAIT, clock=clock, on_state_change=states
        ) as connection:
            door.password = b"second"
            endpoint.disconnect(client_id)
            waiting = states.wait_for(State.WAITING)
            for _ in range(3):
                connection.retry_now()
                waiting = states.wait_for(State.WAITING, after=waiting)
                assert isinstance(waiting.error, ClosedBeforeConnack)
            door.password = b"first"
            connection.retry_now()
            states.wait_for(State.CONNECTED, after=waiting)


# -- sources --------------------------------------------------------------------------------------------------------


@BOTH
def test_a_source_that_has_none_for_now_is_asked_again_when_it_wants(
    protocol: str, client_id: str, service: LocalEndpoint, dial: Dial
) -> None:
    clock, states = ManualClock(), States()
    keys = Keys(CredentialsUnavailable("the token service is away", retry_after_seconds=40), GOOD)
    dial(protocol, credentials=SharedCredentials(keys), timeout=0, clock=clock, on_state_change=states)
    waiting = states.wait_for(State.WAITING)
    check_error(waiting.error, code="credentials_unavailable", phase="credentials")
    assert waiting.retry_in_seconds is not None
    assert 40 <= waiting.retry_in_seconds <= 41
    assert connects(service, client_id) == 0
    clock.advance(41)
    states.wait_for(State.CONNECTED)
    assert keys.asked == 2


def test_a_source_that_has_none_is_what_a_connect_that_timed_out_tells(client_id: str, service: LocalEndpoint) -> None:
    error = failure(
        ConnectTimeout,
        connect,
        service.settings(client_id),
        credentials=Keys(OSError("no route")),
        timeout=0.3,
        phase="credentials",
    )
    assert isinstance(error.__cause__, CredentialsUnavailable)
    assert isinstance(error.__cause__.__cause__, OSError)


def test_a_connect_whose_time_is_over_while_its_source_hangs_says_so(client_id: str, service: LocalEndpoint) -> None:
    hanging = threading.Event()

    def fetch() -> Credentials:
        hanging.wait(WAIT)
        return GOOD

    error = failure(ConnectTimeout, connect, service.settings(client_id), credentials=fetch, timeout=0.2)
    hanging.set()
    assert (error.code, error.phase) == ("connect_timeout", "credentials")
    assert "source of the credentials has not answered" in error.message
    assert error.likely_causes
    assert "timeout_seconds" in str(error.what_to_do)


def test_a_source_that_says_never_again_stops_at_once(client_id: str, service: LocalEndpoint) -> None:
    failure(
        CredentialsRejected,
        connect,
        service.settings(client_id),
        credentials=Keys(CredentialsRejected("the account is gone")),
        timeout=WAIT,
    )


def test_plain_credentials_that_expire_end_the_connection_only_when_they_are_needed_again(
    client_id: str, service: LocalEndpoint, dial: Dial
) -> None:
    from datetime import timedelta

    clock, states = ManualClock(), States()
    soon = GOOD.model_copy(update={"expires_at": clock.now() + timedelta(seconds=60)})
    soon._count_lifetime()
    connection = dial(credentials=soon, clock=clock, on_state_change=states)
    clock.advance(600)
    connection.publish(f"open/{client_id}", b"still connected").result(WAIT)
    service.disconnect(client_id)
    states.wait_for(State.WAITING)
    connection.retry_now()
    assert isinstance(states.wait_for(State.CLOSED).error, CredentialsExpired)


def test_a_source_that_hangs_is_left_behind_by_close(client_id: str, service: LocalEndpoint) -> None:
    with Stub(lambda _: None, listening=False) as over:

        def fetch() -> Credentials:
            over.over.wait(WAIT)
            return GOOD

        connection = connect(service.settings(client_id), credentials=fetch, timeout=0)
        connection.close(timeout=1)
        assert connection.state is State.CLOSED
    assert not service.events.of_kind(events.Connected) or connects(service, client_id) == 0
