"""Where no endpoint answers: servers that are none, names and ports that lead nowhere, and the proxy in between.

Each is tried again until the time of `connect()` is over, and the error is then the last attempt's diagnosis.
"""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme
from client_support import (
    BOTH,
    GOOD,
    PROXY_PASSWORD,
    PROXY_USER,
    WAIT,
    States,
    check_error,
    failure,
    refuses,
)
from stub_servers import MqttStub, Stub

from iot_customauth_client import (
    ClosedBeforeConnack,
    ConnectionSettings,
    ConnectTimeout,
    EndpointUnreachable,
    ProxyRefused,
    State,
    connect,
)
from iot_customauth_client.local.codec import ConnAck, Connect, Packet

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")


def settings_for(stub: Stub, client_id: str, protocol: str, **overrides: Any) -> ConnectionSettings:
    return ConnectionSettings(
        endpoint="localhost",
        port=stub.port,
        client_id=client_id,
        protocol=protocol,
        **overrides,  # type: ignore[arg-type]
    )


def cause_of_timeout(settings: ConnectionSettings, *, timeout: float) -> BaseException | None:
    """`connect()` goes on until its time is over; return the last attempt's diagnosis."""
    error = refuses(ConnectTimeout, settings, timeout=timeout)
    assert error.code == "connect_timeout"
    assert isinstance(error, TimeoutError)
    cause = error.__cause__
    check_error(cause)
    assert getattr(cause, "message", "?") in error.message
    assert error.phase == getattr(cause, "phase", None)
    return cause


@BOTH
def test_a_server_that_answers_plain_text_is_no_tls_server(protocol: str, client_id: str) -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"220 mail.example ESMTP ready\r\n")
        connection.recv(1024)

    with Stub(greet) as stub:
        error = refuses(ClosedBeforeConnack, settings_for(stub, client_id, protocol), timeout=WAIT)
        assert str(stub.port) in error.message
        assert any("TLS port" in cause for cause in error.likely_causes)


@BOTH
def test_a_server_that_hangs_up_is_told_after_the_second_time(protocol: str, client_id: str) -> None:
    with Stub(lambda _: None) as stub:
        error = refuses(ClosedBeforeConnack, settings_for(stub, client_id, protocol), timeout=WAIT)
        check_error(error, code="closed_before_connack")


class Babbler(MqttStub):
    """Speaks TLS, and then something that nobody understands."""

    def _converse(self, secure: ssl.SSLSocket) -> None:
        secure.recv(65_536)
        secure.sendall(bytes(range(256)))
        self.over.wait()


def test_what_answers_and_does_not_speak_mqtt_is_told_so(
    client_id: str, authority: trustme.CA, authority_file: Path
) -> None:
    with Babbler(authority) as babbler:
        cause = cause_of_timeout(babbler.settings(client_id, authority_file), timeout=1)
    check_error(cause, code="not_mqtt", phase="connect")
    assert "does not speak MQTT 5" in str(cause)
    assert isinstance(cause, EndpointUnreachable)
    assert "the port is wrong" in cause.likely_causes


@BOTH
def test_a_server_that_never_answers_is_left_after_the_time_for_one_attempt(protocol: str, client_id: str) -> None:
    with Stub(lambda connection: wait_for_the_end(connection)) as stub:
        settings = settings_for(stub, client_id, protocol, connect_timeout_seconds=0.5)
        cause = cause_of_timeout(settings, timeout=5)
        assert isinstance(cause, EndpointUnreachable)
        assert cause.code in ("attempt_timeout", "tls_no_answer")
        assert stub.accepted >= 2  # tried again


@BOTH
def test_a_connect_whose_time_is_over_before_the_first_attempt_says_where_it_hangs(
    protocol: str, client_id: str
) -> None:
    with Stub(lambda connection: wait_for_the_end(connection)) as stub:
        error = refuses(ConnectTimeout, settings_for(stub, client_id, protocol), timeout=0.3)
        assert f":{stub.port} has had no answer yet" in error.message
        assert error.likely_causes
        assert "connect_timeout_seconds" in str(error.what_to_do)


def wait_for_the_end(connection: socket.socket) -> None:
    while connection.recv(1024):
        pass


@BOTH
def test_a_server_that_takes_connect_and_says_nothing_is_unreachable(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    with MqttStub(authority, silent=(Connect,)) as stub:
        settings = stub.settings(client_id, authority_file, protocol=protocol, connect_timeout_seconds=0.7)
        cause = cause_of_timeout(settings, timeout=1.5)
        assert isinstance(cause, EndpointUnreachable)
        assert (cause.code, cause.phase) == ("connack_timeout", "connect")


@BOTH
def test_a_late_connack_after_connect_gave_up_is_closed_unseen(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    late = threading.Event()

    def answer(packet: Packet) -> list[Packet]:
        if isinstance(packet, Connect):
            late.wait(WAIT)
            return [ConnAck(session_present=False, reason_code=0)]
        return []

    hung_up = threading.Event()
    states = States()
    with MqttStub(authority, answer=answer, on_hang_up=hung_up.set) as stub:
        settings = stub.settings(client_id, authority_file, protocol=protocol)
        failure(ConnectTimeout, connect, settings, credentials=GOOD, timeout=1.0, on_state_change=states)
        late.set()
        assert hung_up.wait(WAIT)
        assert stub.accepted == 1
    assert [change.state for change in states.changes] == [State.CONNECTING, State.CLOSED]


@BOTH
def test_a_port_that_nobody_listens_on_is_named(protocol: str, client_id: str) -> None:
    with Stub(lambda _: None, listening=False) as stub:
        cause = cause_of_timeout(settings_for(stub, client_id, protocol), timeout=0.5)
        assert isinstance(cause, EndpointUnreachable)
        assert (cause.code, cause.phase) == ("tcp_failed", "tcp")
        assert str(stub.port) in cause.message
        assert any("nothing listens" in reason for reason in cause.likely_causes)


@BOTH
def test_a_name_that_does_not_resolve_is_named(protocol: str, client_id: str) -> None:
    settings = ConnectionSettings(endpoint="no-such-host.invalid", client_id=client_id, protocol=protocol)  # type: ignore[arg-type]
    cause = cause_of_timeout(settings, timeout=1.5)
    assert isinstance(cause, EndpointUnreachable)
    assert (cause.code, cause.phase) == ("dns_failed", "dns")
    assert "no-such-host.invalid" in cause.message


# -- the proxy ------------------------------------------------------------------------------------------------------


class Proxy(Stub):
    """An HTTP proxy that answers every CONNECT with one status."""

    def __init__(self, status: str) -> None:
        self.requests: list[bytes] = []
        self._status = status
        super().__init__(self._answer)

    @property
    def url(self) -> str:
        return f"http://{PROXY_USER}:{PROXY_PASSWORD}@127.0.0.1:{self.port}"

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(4096) or b"\r\n\r\n"
        self.requests.append(request)
        connection.sendall(f"HTTP/1.1 {self._status}\r\nContent-Length: 0\r\n\r\n".encode())


@BOTH
def test_a_proxy_that_wants_another_password_is_told_at_once(protocol: str, client_id: str) -> None:
    with Proxy("407 Proxy Authentication Required") as proxy:
        settings = ConnectionSettings(
            endpoint="localhost",
            client_id=client_id,
            protocol=protocol,
            http_proxy=proxy.url,  # type: ignore[arg-type]
        )
        error = refuses(ProxyRefused, settings, timeout=WAIT)
        check_error(error, code="proxy_refused", phase="proxy")
        assert error.status == 407
        assert any("password" in cause for cause in error.likely_causes)
        assert all(request.startswith(b"CONNECT localhost:443 HTTP/1.1\r\n") for request in proxy.requests)


@BOTH
def test_a_proxy_that_forbids_the_host_is_asked_again_until_the_time_is_over(protocol: str, client_id: str) -> None:
    with Proxy("403 Forbidden") as proxy:
        settings = ConnectionSettings(
            endpoint="localhost",
            client_id=client_id,
            protocol=protocol,
            http_proxy=proxy.url,  # type: ignore[arg-type]
        )
        cause = cause_of_timeout(settings, timeout=1.0)
        assert isinstance(cause, ProxyRefused)
        assert cause.status == 403
        assert any("does not allow" in reason for reason in cause.likely_causes)


@BOTH
def test_an_endpoint_behind_a_proxy_that_is_not_there_is_unreachable(protocol: str, client_id: str) -> None:
    with Stub(lambda _: None, listening=False) as nobody:
        settings = ConnectionSettings(
            endpoint="localhost",
            client_id=client_id,
            protocol=protocol,  # type: ignore[arg-type]
            http_proxy=f"http://127.0.0.1:{nobody.port}",  # type: ignore[arg-type]
        )
        cause = cause_of_timeout(settings, timeout=0.5)
        assert isinstance(cause, EndpointUnreachable)
        assert (cause.code, cause.phase) == ("tcp_failed", "tcp")
