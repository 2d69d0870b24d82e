"""Connections that do not come about: each row of the table of outcomes, and an error that names its cause.

The wire tells little: MQTT 5 says *not authorized*, MQTT 3.1.1 hangs up. The endpoint knows the whole reason, and its
events have it; both are looked at here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme
from client_support import (
    BOTH,
    GOOD,
    WAIT,
    WRONG,
    Dial,
    States,
    check_error,
    connects,
    credentials_for,
    refuses,
    seen,
)
from stub_servers import MqttStub

from iot_customauth_client import (
    AuthenticationRefused,
    ClosedBeforeConnack,
    Connection,
    Credentials,
    State,
    TlsFailed,
    Will,
    connect,
)
from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.local.codec import ConnAck, Connect, Packet

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")

# What is wrong, the credentials, and the endpoint's word for it.
REFUSALS = {
    "wrong password": (WRONG, "not_authenticated"),
    "unknown authorizer": (credentials_for("nobody"), "authorizer"),
    "no authorizer": (Credentials.from_password("u", "p"), "authorizer"),
    "raises": (credentials_for("failing"), "failed"),
    "principal with a dash": (credentials_for("dashed"), "invalid"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_over_mqtt5_is_raised_at_once_with_its_reason_code(
    what: str, service: LocalEndpoint, client_id: str
) -> None:
    credentials, word = REFUSALS[what]
    error = refuses(AuthenticationRefused, service.settings(client_id), credentials=credentials, timeout=WAIT)
    check_error(error, code="authentication_refused", phase="connect")
    assert error.reason_code == 135
    assert "not authorized" in error.message
    assert any("password" in cause for cause in error.likely_causes)
    assert error.what_to_do
    assert "CloudWatch" in error.what_to_do
    refused = service.wait_for(events.Refused, client_id=client_id, timeout=WAIT)
    assert word in refused.cause
    assert refused.explanation
    assert connects(service, client_id) == 1


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_over_mqtt311_is_raised_at_the_second_hang_up(
    what: str, service: LocalEndpoint, client_id: str
) -> None:
    credentials, word = REFUSALS[what]
    settings = service.settings(client_id, protocol="mqtt311")
    error = refuses(ClosedBeforeConnack, settings, credentials=credentials, timeout=WAIT)
    check_error(error, code="closed_before_connack", phase="connect")
    assert "3.1.1" in error.likely_causes[0]
    assert any("password" in cause for cause in error.likely_causes)
    assert error.what_to_do
    assert 'protocol="mqtt5"' in error.what_to_do
    assert [word in refused.cause for refused in seen(service, events.Refused, client_id)] == [True, True]
    first, second = (event.at for event in seen(service, events.ConnectReceived, client_id))
    assert first is not None
    assert second is not None
    assert (second - first).total_seconds() > 0.9


@BOTH
def test_after_a_refusal_nothing_connects_any_more_and_the_client_id_is_free(
    protocol: str, service: LocalEndpoint, client_id: str, dial: Dial
) -> None:
    with pytest.raises((AuthenticationRefused, ClosedBeforeConnack)):
        dial(protocol, credentials=WRONG)
    dial(protocol)  # at once: one second after the last CONNECT, and nothing else came in that second
    refused = seen(service, events.Refused, client_id)
    assert len(refused) == (1 if protocol == "mqtt5" else 2)
    assert connects(service, client_id) == len(refused) + 1


@BOTH
def test_a_client_id_that_the_policy_does_not_know_is_refused(
    protocol: str, service: LocalEndpoint, client_id: str
) -> None:
    stranger = client_id.replace("device-", "stranger-")
    settings = service.settings(stranger, protocol=protocol)  # type: ignore[arg-type]
    if protocol == "mqtt5":
        causes = refuses(AuthenticationRefused, settings, timeout=WAIT).likely_causes
    else:
        causes = refuses(ClosedBeforeConnack, settings, timeout=WAIT).likely_causes
    assert any("iot:Connect" in cause for cause in causes)
    decided = service.wait_for(events.Decided, client_id=stranger, timeout=WAIT)
    assert (decided.action, decided.allowed) == ("iot:Connect", False)


@BOTH
def test_a_will_that_the_policy_forbids_is_refused(protocol: str, service: LocalEndpoint, client_id: str) -> None:
    settings = service.settings(client_id, protocol=protocol, will=Will("forbidden/will"))  # type: ignore[arg-type]
    if protocol == "mqtt5":
        refuses(AuthenticationRefused, settings, timeout=WAIT)
    else:
        refuses(ClosedBeforeConnack, settings, timeout=WAIT)


def test_an_authorizer_that_takes_six_seconds_is_a_refusal(service: LocalEndpoint, client_id: str) -> None:
    # Both protocols at once, since each attempt lasts the service's 5 s.
    states = States()
    settings = service.settings(f"{client_id}-311", protocol="mqtt311")
    hung_up = connect(settings, credentials=credentials_for("slow"), timeout=0, on_state_change=states)
    error = refuses(
        AuthenticationRefused, service.settings(client_id), credentials=credentials_for("slow"), timeout=WAIT
    )
    assert error.reason_code == 135
    assert error.elapsed_seconds is not None
    assert error.elapsed_seconds > 4.5
    assert any("5 s" in cause for cause in error.likely_causes)
    waiting = states.wait_for(State.WAITING)
    assert isinstance(waiting.error, ClosedBeforeConnack)
    assert any("5 s" in cause for cause in waiting.error.likely_causes)
    hung_up.close()
    for each in (client_id, f"{client_id}-311"):
        assert "timed_out" in service.wait_for(events.Refused, client_id=each, timeout=WAIT).cause


@pytest.mark.parametrize(("code", "kind", "slug"), [(133, AuthenticationRefused, "client_id_refused")])
def test_other_reason_codes_of_connack_have_names_of_their_own(
    code: int, kind: type[Any], slug: str, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    def answer(_: Packet) -> list[Packet]:
        return [ConnAck(session_present=False, reason_code=code)]

    with MqttStub(authority, answer=answer) as stub:
        error = refuses(kind, stub.settings(client_id, authority_file), timeout=WAIT)
        check_error(error, code=slug, phase="connect")
        assert stub.accepted == 1


def test_a_server_that_is_busy_is_tried_again(authority: trustme.CA, authority_file: Path, client_id: str) -> None:
    codes = iter([137, 151, 0])

    def answer(packet: Packet) -> list[Packet]:
        return [ConnAck(session_present=False, reason_code=next(codes))] if isinstance(packet, Connect) else []

    states = States()
    with MqttStub(authority, answer=answer) as stub:
        settings = stub.settings(client_id, authority_file)
        with connect(settings, credentials=GOOD, timeout=30, on_state_change=states):
            states.wait_for(State.CONNECTED)
    told = [change.error.code for change in states.changes if change.state is State.WAITING and change.error]
    assert told == ["server_unavailable", "throttled"]


def test_a_refusal_by_connack_over_mqtt311_is_a_refusal(
    authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    def answer(_: Packet) -> list[Packet]:
        return [ConnAck(session_present=False, reason_code=5)]

    with MqttStub(authority, answer=answer) as stub:
        settings = stub.settings(client_id, authority_file, protocol="mqtt311")
        error = refuses(AuthenticationRefused, settings, timeout=WAIT)
        assert stub.accepted == 1
    assert error.what_to_do
    assert 'protocol="mqtt5"' in error.what_to_do


# -- TLS ------------------------------------------------------------------------------------------------------------


@BOTH
def test_a_certificate_of_another_authority_is_a_verdict(
    protocol: str, service: LocalEndpoint, authority_file: Path, client_id: str, dial: Dial
) -> None:
    settings = service.settings(client_id, protocol=protocol, ca_file=authority_file)  # type: ignore[arg-type]
    error = refuses(TlsFailed, settings, timeout=WAIT)
    check_error(error, code="certificate_refused", phase="tls")
    assert error.verdict
    assert "not trusted" in error.message
    assert "ca_file" in error.likely_causes[0]
    dial(protocol)
    assert connects(service, client_id) == 1


@BOTH
def test_a_certificate_for_another_host_name_is_a_verdict(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    with MqttStub(authority, hostname="other.example") as stub:
        settings = stub.settings(client_id, authority_file, protocol=protocol)
        error = refuses(TlsFailed, settings, timeout=WAIT)
        check_error(error, code="certificate_refused", phase="tls")
        assert error.verdict
        assert "another host name" in error.message
        assert not stub.packets  # no credentials went there


@BOTH
@pytest.mark.parametrize(
    ("alpn", "code"), [("x-amzn-mqtt-ca", "handshake_refused"), ("http/2", "alpn_refused")], ids=["other", "unknown"]
)
def test_a_wrong_alpn_name_is_a_verdict(
    protocol: str, alpn: str, code: str, service: LocalEndpoint, client_id: str
) -> None:
    settings = service.settings(client_id, protocol=protocol, alpn=alpn)  # type: ignore[arg-type]
    error = refuses(TlsFailed, settings, timeout=WAIT)
    check_error(error, code=code, phase="tls")
    assert error.verdict
    assert alpn in str(error)
    assert "`mqtt`" in str(error)


@BOTH
def test_a_host_name_that_the_endpoint_does_not_serve_is_a_verdict(protocol: str, client_id: str) -> None:
    with LocalEndpoint({"gate": lambda event, context: {}}, hostnames=("other.example",)) as endpoint:
        settings = endpoint.settings(client_id, protocol=protocol).replace(endpoint="localhost")  # type: ignore[arg-type]
        error = refuses(TlsFailed, settings, timeout=WAIT)
        check_error(error, code="sni_refused", phase="tls")
        assert "'localhost'" in error.message
        assert endpoint.events.of_kind(events.TurnedAway)


@BOTH
def test_without_alpn_the_service_hangs_up_and_the_error_says_so(
    protocol: str, service: LocalEndpoint, client_id: str
) -> None:
    before = service.events.last_sequence
    settings = service.settings(client_id, protocol=protocol, alpn=None)  # type: ignore[arg-type]
    error = refuses(ClosedBeforeConnack, settings, timeout=WAIT)
    assert "ALPN" in error.likely_causes[0]
    turned_away = service.wait_for(events.TurnedAway, after=before, timeout=WAIT)
    assert turned_away.cause == "mqtt_without_alpn"


@BOTH
def test_errors_of_connecting_can_be_caught_as_what_python_has_for_it(
    protocol: str, service: LocalEndpoint, client_id: str
) -> None:
    settings = service.settings(client_id, protocol=protocol)  # type: ignore[arg-type]
    with pytest.raises(ConnectionError):
        connect(settings, credentials=WRONG, timeout=WAIT)


def test_a_connection_object_cannot_be_had_from_a_connect_that_raised(service: LocalEndpoint, client_id: str) -> None:
    made: list[Connection] = []
    states = States()
    with pytest.raises(AuthenticationRefused):
        made.append(connect(service.settings(client_id), credentials=WRONG, timeout=WAIT, on_state_change=states))
    assert not made
    closed = states.wait_for(State.CLOSED)
    assert isinstance(closed.error, AuthenticationRefused)
