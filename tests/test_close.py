"""Closing: what it waits for, what it leaves behind, and that nothing can stop it."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme
from awscrt import mqtt5
from client_support import BOTH, GOOD, WAIT, Dial, States, check_error, failure, seen
from stub_servers import MqttStub, Stub, usual_answer

from iot_customauth_client import (
    ClientIdTakenOver,
    CloseReport,
    Connection,
    ConnectionBuilder,
    ConnectionClosed,
    ConnectionSettings,
    Credentials,
    CredentialsRejected,
    CustomAuthError,
    Message,
    OperationTimeout,
    State,
    Will,
    close_all,
    connect,
)
from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.local.codec import Connect, Disconnect, Packet, Publish, Unsubscribe
from iot_customauth_client.shared_credentials import SharedCredentials

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")

ResultT = TypeVar("ResultT")


def within(seconds: float, call: Callable[[], ResultT]) -> ResultT:
    """Call, and insist that it comes back in time."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result(seconds)


@BOTH
def test_close_says_goodbye_and_no_will_is_published(
    protocol: str, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    settings = service.settings(client_id, protocol=protocol, will=Will(topic, payload=b"gone"))  # type: ignore[arg-type]
    connection = connect(settings, credentials=GOOD, timeout=WAIT)
    assert connection.close() == CloseReport(unacknowledged=0, kept=0)
    assert (connection.state, connection.last_error) == (State.CLOSED, None)
    gone = service.wait_for(events.Disconnected, client_id=client_id, timeout=WAIT)
    assert gone.reason == "CLIENT_INITIATED_DISCONNECT"
    service.wait_for(events.Closed, connection=gone.connection, timeout=WAIT)
    assert not seen(service, events.Published, client_id)
    connection.wait_closed(WAIT)  # nothing to raise


@BOTH
def test_close_waits_for_what_was_accepted(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial(protocol)
    futures = [connection.publish(topic, b"%d" % number) for number in range(1_000)]
    assert connection.close(timeout=WAIT).unacknowledged == 0
    assert all(future.done() and future.exception() is None for future in futures)
    assert len(seen(service, events.Published, client_id)) == 1_000


@BOTH
def test_close_without_draining_does_not_wait(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str, topic: str
) -> None:
    with MqttStub(authority, silent=(Publish,)) as stub:
        connection = connect(stub.settings(client_id, authority_file, protocol=protocol), credentials=GOOD)
        futures = [connection.publish(topic, b"x") for _ in range(3)]
        stub.wait_packets(Publish, 3)
        assert connection.close(timeout=WAIT, drain=False).unacknowledged == 3
        assert all(future.done() for future in futures)
        stub.wait_packets(Disconnect)


@BOTH
def test_leaving_with_by_an_exception_does_not_drain(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str, topic: str
) -> None:
    with MqttStub(authority, silent=(Publish,)) as stub:
        connection = connect(stub.settings(client_id, authority_file, protocol=protocol), credentials=GOOD)

        def leave() -> None:
            with connection:
                connection.publish(topic, b"x")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            within(4, leave)  # draining would take 5 s here
        assert connection.state is State.CLOSED


@BOTH
def test_close_is_back_in_time_when_acknowledgements_never_come(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str, topic: str
) -> None:
    with MqttStub(authority, silent=(Publish,)) as stub:
        connection = connect(stub.settings(client_id, authority_file, protocol=protocol), credentials=GOOD)
        future = connection.publish(topic, b"x")
        stub.wait_packets(Publish)
        report = within(3, partial(connection.close, timeout=0.5))
        assert report.unacknowledged == 1
        failure(ConnectionClosed, future.result, 0)


@BOTH
def test_close_is_back_in_time_when_the_server_reads_nothing_any_more(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str, topic: str
) -> None:
    states = States()
    with MqttStub(authority, deaf_after=Connect) as stub:
        settings = stub.settings(client_id, authority_file, protocol=protocol)
        connection = connect(settings, credentials=GOOD, on_state_change=states)
        futures = [connection.publish(topic, bytes(131_072)) for _ in range(90)]  # more than the sockets' buffers take
        report = within(3, partial(connection.close, timeout=0.5))
        assert report.unacknowledged == 90
        assert connection.state is State.CLOSED
        states.wait_for(State.CLOSED)
        failure(ConnectionClosed, futures[0].result, 0)


@BOTH
def test_close_waits_for_the_unsubscribe_that_is_under_way(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial(protocol)
    with connection.subscribe(topic):
        pass
    connection.close()
    assert len(seen(service, events.Unsubscribed, client_id)) == 1


@BOTH
def test_close_keeps_the_filters_of_open_subscriptions(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = dial(protocol)
    with connection.subscribe(topic) as messages:
        connection.close()
        assert list(messages) == []
    service.wait_for(events.Disconnected, client_id=client_id, timeout=WAIT)
    assert not seen(service, events.Unsubscribed, client_id)


@BOTH
def test_a_second_close_does_nothing(protocol: str, dial: Dial, service: LocalEndpoint, client_id: str) -> None:
    connection = dial(protocol)
    assert connection.close() == connection.close() == connection.close(drain=False)
    service.wait_for(events.Disconnected, client_id=client_id, timeout=WAIT)
    assert len(seen(service, events.Disconnected, client_id)) == 1


@BOTH
def test_many_threads_may_close_at_once(protocol: str, dial: Dial, service: LocalEndpoint, client_id: str) -> None:
    connection = dial(protocol)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        reports = [each.result(WAIT) for each in [pool.submit(connection.close) for _ in range(8)]]
    assert reports == [CloseReport(unacknowledged=0, kept=0)] * 8
    assert connection.state is State.CLOSED
    service.wait_for(events.Disconnected, client_id=client_id, timeout=WAIT)
    assert len(seen(service, events.Disconnected, client_id)) == 1


@BOTH
def test_a_handler_may_close_its_connection(protocol: str, dial: Dial, service: LocalEndpoint, topic: str) -> None:
    connection = dial(protocol)
    reports: concurrent.futures.Future[CloseReport] = concurrent.futures.Future()

    def handler(_: Message) -> None:
        reports.set_result(connection.close())

    connection.subscribe(topic, handler).wait_granted(WAIT)
    service.publish(topic, b"stop", qos=1)
    assert reports.result(WAIT).unacknowledged == 0
    connection.wait_closed(WAIT)


@BOTH
def test_a_callback_of_a_change_of_state_may_close(protocol: str, service: LocalEndpoint, client_id: str) -> None:
    made: concurrent.futures.Future[Connection] = concurrent.futures.Future()

    def on_change(change: Any) -> None:
        if change.state is State.CONNECTED:
            made.result(WAIT).close()

    settings = service.settings(client_id, protocol=protocol)  # type: ignore[arg-type]
    connection = connect(settings, credentials=GOOD, timeout=WAIT, on_state_change=on_change)
    made.set_result(connection)
    connection.wait_closed(WAIT)
    assert connection.state is State.CLOSED


@BOTH
def test_closing_while_connecting_ends_the_attempt(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    go_on = threading.Event()
    hung_up = threading.Event()

    def answer(packet: Packet) -> Any:
        if isinstance(packet, Connect):
            go_on.wait(WAIT)
        return usual_answer(packet)

    with MqttStub(authority, answer=answer, on_hang_up=hung_up.set) as stub:
        settings = stub.settings(client_id, authority_file, protocol=protocol)
        connection = connect(settings, credentials=GOOD, timeout=0)
        stub.wait_packets(Connect)
        connection.close(timeout=WAIT)
        assert connection.state is State.CLOSED
        failure(ConnectionClosed, connection.wait_connected, WAIT)
        go_on.set()
        assert hung_up.wait(WAIT)  # the CONNACK that comes all the same is not kept


@BOTH
def test_closing_between_two_attempts_ends_them(protocol: str, client_id: str) -> None:
    states = States()
    with Stub(lambda _: None, listening=False) as nobody:
        settings = ConnectionSettings(endpoint="localhost", port=nobody.port, client_id=client_id, protocol=protocol)  # type: ignore[arg-type]
        connection = connect(settings, credentials=GOOD, timeout=0, on_state_change=states)
        states.wait_for(State.WAITING)
        connection.close()
        assert states.wait_for(State.CLOSED).error is None
        assert connection.state is State.CLOSED


@BOTH
def test_wait_closed_raises_what_ended_the_connection(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str
) -> None:
    # What ends a connection for good: here a source of credentials that says that there will be none any more.
    answers: list[Credentials | CustomAuthError] = [GOOD]

    def fetch() -> Credentials:
        answer = answers.pop(0) if answers else CredentialsRejected("the account is gone")
        if isinstance(answer, CustomAuthError):
            raise answer
        return answer

    shared = SharedCredentials(fetch, min_interval_seconds=0)
    connection = dial(protocol, credentials=shared)
    failure(OperationTimeout, connection.wait_closed, 0.05)
    shared.renew()
    error = failure(ConnectionClosed, connection.wait_closed, WAIT)
    assert isinstance(error.__cause__, CredentialsRejected)
    assert connection.last_error is error.__cause__
    assert error.client_id == client_id
    assert connection.close() == CloseReport(unacknowledged=0, kept=0)
    dial(protocol)  # the client id is free again


def test_a_reason_that_the_endpoint_gives_is_passed_on(dial: Dial, service: LocalEndpoint, client_id: str) -> None:
    states = States()
    dial(on_state_change=states)
    service.disconnect(client_id)
    error = states.wait_for(State.WAITING).error
    assert "152" in str(error)
    assert "administrative action" in str(error)


def test_a_second_client_with_the_same_id_takes_over_and_the_first_one_says_so(
    service: LocalEndpoint, client_id: str, dial: Dial
) -> None:
    states = States()
    first = dial(on_state_change=states)
    other = ConnectionBuilder(service.settings(client_id), GOOD).mqtt5()  # somebody else, as far as we know
    other.start()
    error = states.wait_for(State.WAITING).error
    first.close()  # before it comes back
    assert isinstance(error, ClientIdTakenOver)
    check_error(error, code="client_id_taken_over", phase="connected")
    assert client_id in str(error)
    other.stop(mqtt5.DisconnectPacket())
    service.wait_for(events.Disconnected, client_id=client_id, reason="CLIENT_INITIATED_DISCONNECT", timeout=WAIT)


def test_over_mqtt311_a_takeover_is_a_lost_connection(service: LocalEndpoint, client_id: str, dial: Dial) -> None:
    states = States()
    first = dial("mqtt311", on_state_change=states)
    other = ConnectionBuilder(service.settings(client_id, protocol="mqtt311"), GOOD).mqtt311()
    other.connect().result(WAIT)
    check_error(states.wait_for(State.WAITING).error, code="connection_lost")
    first.close()
    other.disconnect().result(WAIT)
    assert len(seen(service, events.ConnectReceived, client_id)) == 2  # awscrt did not connect again by itself


@BOTH
def test_close_all_closes_what_is_open(protocol: str, dial: Dial, client_id: str) -> None:
    connections = [dial(protocol, client_id=f"{client_id}-{number}") for number in range(5)]
    close_all()
    assert {connection.state for connection in connections} == {State.CLOSED}
    close_all()


@BOTH
def test_a_server_that_never_answers_unsubscribe_holds_nobody_up(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str, topic: str
) -> None:
    with MqttStub(authority, silent=(Unsubscribe,)) as stub:
        connection = connect(stub.settings(client_id, authority_file, protocol=protocol), credentials=GOOD)
        with connection.subscribe(topic):
            pass
        within(3, partial(connection.close, timeout=0.5))
        assert connection.state is State.CLOSED
