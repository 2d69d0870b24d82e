"""Connecting: the reference flow to the last key of the authorizer's event, waiting, retrying, one client id once."""

from __future__ import annotations

import itertools
import re
import runpy
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from awscrt import mqtt, mqtt5
from client_support import (
    AWS_HOSTNAME,
    BOTH,
    GOOD,
    PAYLOAD_MARKER,
    REFERENCE_AUTHORIZER,
    REFERENCE_FILE,
    WAIT,
    Dial,
    States,
    check_error,
    connects,
    failure,
    seen,
)
from stub_servers import MqttStub, Stub

from iot_customauth_client import (
    ConfigurationError,
    ConnectionClosed,
    ConnectionSettings,
    ConnectTimeout,
    Credentials,
    EndpointUnreachable,
    OperationTimeout,
    State,
    close_all,
    connect,
)
from iot_customauth_client.local import LocalEndpoint, events

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")

# As an authorizer function received it from the service (published in a walkthrough of 2021); host name and id are
# each connection's own.
CAPTURED_EVENT = {
    "protocolData": {
        "tls": {"serverName": AWS_HOSTNAME},
        "mqtt": {
            "username": "user01?x-amz-customauthorizer-name=custom_auth_mqtt_2021_08_21",
            "password": "cGFzczAx",
            "clientId": "client_id",
        },
    },
    "protocols": ["tls", "mqtt"],
    "signatureVerified": False,
}


@BOTH
def test_the_reference_flow_works_under_the_name_and_the_port_of_the_service(
    protocol: str, make_endpoint: Callable[..., LocalEndpoint]
) -> None:
    function = runpy.run_path(str(REFERENCE_FILE))["lambda_handler"]
    called_with: list[dict[str, Any]] = []

    def authorizer(event: Mapping[str, Any], context: object) -> Any:
        called_with.append(dict(event))
        return function(event, context)

    endpoint = make_endpoint({REFERENCE_AUTHORIZER: authorizer}, hostnames=(AWS_HOSTNAME,))
    credentials = Credentials.from_password("user01", "pass01", authorizer=REFERENCE_AUTHORIZER)
    with (
        connect(
            AWS_HOSTNAME,
            client_id="client_id",
            credentials=credentials,
            protocol=protocol,  # type: ignore[arg-type]
            ca_file=endpoint.ca_file,
            http_proxy=f"http://127.0.0.1:{endpoint.port}",
            keep_alive_seconds=6,
            session_expiry_seconds=0,
            timeout=WAIT,
        ) as connection,
        connection.subscribe("my-topic", qos=1) as messages,
    ):
        for counter in range(3):
            connection.publish("my-topic", json={"counter": counter}).result(WAIT)
            assert messages.get(WAIT).json() == {"counter": counter}

    (event,) = called_with
    metadata = event.pop("connectionMetadata")
    assert event == CAPTURED_EVENT
    assert list(metadata) == ["id"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", metadata["id"])
    assert endpoint.wait_for(events.Proxied, timeout=0).target == f"{AWS_HOSTNAME}:443"
    shake = endpoint.wait_for(events.Handshake, timeout=0)
    assert (shake.server_name, shake.alpn_offered, shake.alpn) == (AWS_HOSTNAME, ("mqtt",), "mqtt")
    assert [each.payload for each in endpoint.events.of_kind(events.Published)] == [
        b'{"counter":%d}' % counter for counter in range(3)
    ]
    gone = endpoint.wait_for(events.Disconnected, timeout=WAIT)
    assert gone.reason == "CLIENT_INITIATED_DISCONNECT"
    assert len(endpoint.events.of_kind(events.Opened)) == 1  # no probe, no second attempt


@BOTH
def test_connect_returns_a_connection_that_is_connected(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str
) -> None:
    connection = dial(protocol)
    assert (connection.state, connection.connected, connection.last_error) == (State.CONNECTED, True, None)
    assert isinstance(connection.native, mqtt5.Client if protocol == "mqtt5" else mqtt.Connection)
    connected = service.wait_for(events.Connected, client_id=client_id, timeout=WAIT)
    assert (connected.protocol, connected.keep_alive_seconds) == (protocol, 60)
    assert client_id in repr(connection)
    connection.wait_connected(0)


@BOTH
def test_settings_beside_a_settings_object_override_it(protocol: str, service: LocalEndpoint, client_id: str) -> None:
    settings = service.settings("device-other", protocol=protocol, keep_alive_seconds=90)  # type: ignore[arg-type]
    with connect(settings, client_id=client_id, credentials=GOOD, keep_alive_seconds=45, timeout=WAIT):
        received = service.wait_for(events.ConnectReceived, client_id=client_id, timeout=0)
    assert received.keep_alive_seconds == 45
    assert connects(service, "device-other") == 0


@BOTH
@pytest.mark.parametrize(("expiry", "clean"), [(0, True), (3600, False)])
def test_a_session_that_is_not_to_be_kept_is_asked_to_be_clean(
    protocol: str, expiry: int, clean: bool, service: LocalEndpoint, client_id: str
) -> None:
    settings = service.settings(client_id, protocol=protocol, session_expiry_seconds=expiry)  # type: ignore[arg-type]
    with connect(settings, credentials=GOOD, timeout=WAIT):
        received = service.wait_for(events.ConnectReceived, client_id=client_id, timeout=0)
    assert received.clean_start is clean


@BOTH
def test_changes_of_state_are_told_in_order_and_with_what_is_known(protocol: str, dial: Dial) -> None:
    states = States()
    connection = dial(protocol, on_state_change=states)
    later = States()
    remove = connection.on_state_change(later)
    removed = States()
    connection.on_state_change(removed)()
    connection.close()
    states.wait_for(State.CLOSED)
    assert [change.state for change in states.changes] == [State.CONNECTING, State.CONNECTED, State.CLOSED]
    assert [change.previous for change in states.changes[1:]] == [State.CONNECTING, State.CONNECTED]
    assert {change.attempt for change in states.changes} == {1}
    assert states.changes[1].session_present is False
    assert [change.state for change in later.changes] == [State.CLOSED]
    assert not removed.changes
    remove()


@BOTH
def test_timeout_zero_returns_at_once_and_goes_on_in_the_background(protocol: str, dial: Dial, topic: str) -> None:
    connection = dial(protocol, timeout=0)
    future = connection.publish(topic, b"early")
    connection.wait_connected(WAIT)
    assert connection.connected
    assert future.result(WAIT).attempts == 1


@BOTH
def test_wait_connected_tells_when_it_takes_too_long(protocol: str, client_id: str) -> None:
    with Stub(lambda _: None, listening=False) as nobody:
        settings = ConnectionSettings(endpoint="localhost", port=nobody.port, client_id=client_id, protocol=protocol)  # type: ignore[arg-type]
        connection = connect(settings, credentials=GOOD, timeout=0)
        failure(OperationTimeout, connection.wait_connected, 0.05)
        connection.close()
        failure(ConnectionClosed, connection.wait_connected, WAIT)


@BOTH
def test_without_a_time_limit_connect_waits_until_another_thread_closes_it(protocol: str, client_id: str) -> None:
    def close(change: Any) -> None:
        if change.state is State.WAITING:
            threading.Thread(target=close_all).start()

    with Stub(lambda _: None, listening=False) as nobody:
        settings = ConnectionSettings(endpoint="localhost", port=nobody.port, client_id=client_id, protocol=protocol)  # type: ignore[arg-type]
        failure(ConnectionClosed, connect, settings, credentials=GOOD, timeout=None, on_state_change=close)


@BOTH
def test_a_server_that_comes_up_later_is_found(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    states = States()
    with MqttStub(authority, listening=False) as late:

        def on_state_change(change: Any) -> None:
            states(change)
            if change.state is State.WAITING and change.attempt == 1:
                late.listen()

        settings = late.settings(client_id, authority_file, protocol=protocol)
        with connect(settings, credentials=GOOD, timeout=20, on_state_change=on_state_change) as connection:
            assert connection.connected
            assert connection.last_error is None
            waiting = states.wait_for(State.WAITING)
            check_error(waiting.error, code="tcp_failed", phase="tcp")
            assert waiting.retry_in_seconds is not None
            assert 0 <= waiting.retry_in_seconds <= 1
            assert states.wait_for(State.CONNECTED).attempt == 2


@BOTH
def test_what_was_not_there_in_time_can_be_connected_to_at_once_when_it_is(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    with MqttStub(authority, listening=False) as late:
        settings = late.settings(client_id, authority_file, protocol=protocol)
        error = failure(ConnectTimeout, connect, settings, credentials=GOOD, timeout=0.3)
        assert isinstance(error.__cause__, EndpointUnreachable)
        late.listen()
        with connect(settings, credentials=GOOD, timeout=WAIT) as connection:
            assert connection.connected
        assert late.accepted == 1  # what was given up does not come back


@BOTH
def test_one_client_id_is_open_once_in_a_process(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str
) -> None:
    first = dial(protocol)
    error = failure(ConfigurationError, dial, protocol, code="client_id_in_use")
    assert "evict" in error.message
    assert connects(service, client_id) == 1
    assert first.connected
    dial(protocol, client_id=f"{client_id}-b")  # another one may
    first.close()
    dial(protocol)


@BOTH
def test_one_client_id_sends_one_connect_a_second_at_most(
    protocol: str, dial: Dial, service: LocalEndpoint, client_id: str
) -> None:
    for _ in range(3):
        dial(protocol).close()
    times = [event.at for event in seen(service, events.ConnectReceived, client_id)]
    assert len(times) == 3
    for earlier, later in itertools.pairwise(times):
        assert earlier is not None
        assert later is not None
        assert (later - earlier).total_seconds() > 0.9  # measured at the other end: a little less is no fault


@BOTH
def test_what_cannot_work_is_refused_before_anything_is_dialled(
    protocol: str, dial: Dial, service: LocalEndpoint, tmp_path: Path
) -> None:
    before = service.events.last_sequence
    missing = service.settings("device-a", protocol=protocol, ca_file=tmp_path / "none.pem")  # type: ignore[arg-type]
    failure(ConfigurationError, connect, missing, credentials=GOOD, timeout=WAIT, code="ca_file_unreadable")
    (tmp_path / "junk.pem").write_text("junk")
    junk = missing.replace(client_id="device-b", ca_file=tmp_path / "junk.pem")
    failure(ConfigurationError, connect, junk, credentials=GOOD, timeout=WAIT, code="ca_file_invalid")
    nobody = ConnectionSettings(endpoint="localhost", port=service.port, protocol=protocol)  # type: ignore[arg-type]
    failure(ConfigurationError, connect, nobody, credentials=GOOD, timeout=WAIT, code="client_id_missing")
    assert "keep_alive_seconds" in failure(ConfigurationError, dial, protocol, keep_alive_second=3).message
    assert not [event for event in service.events.since(before) if isinstance(event, events.Opened)]


def test_expired_credentials_are_not_sent(dial: Dial, service: LocalEndpoint, client_id: str) -> None:
    from iot_customauth_client import CredentialsExpired, ManualClock

    clock = ManualClock()
    soon = Credentials.from_password("u", "p", authorizer="gate", expires_at=clock.now() + timedelta(seconds=5))
    clock.advance(60)
    failure(CredentialsExpired, dial, credentials=soon, clock=clock, code="credentials_expired")
    assert connects(service, client_id) == 0


@BOTH
def test_the_log_has_one_line_per_change_and_no_payload(
    protocol: str, dial: Dial, topic: str, client_id: str, no_secret_in_logs: list[str]
) -> None:
    connection = dial(protocol)
    connection.publish(topic, PAYLOAD_MARKER).result(WAIT)
    connection.close()
    lines = [line for line in no_secret_in_logs if line.startswith("iot_customauth_client.session ")]
    assert [line.split()[1:3] for line in lines] == [
        ["DEBUG", "connecting:"],
        ["INFO", "connected:"],
        ["INFO", "closed:"],
    ]
    assert all(f"client_id={client_id} attempt=1" in line for line in lines)
