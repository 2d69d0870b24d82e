"""What HTTP answers and awscrt's names for failed upgrades mean, and what the first connect does with each."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client import (
    AuthenticationRefused,
    ClosedBeforeConnack,
    ConfigurationError,
    ConnectError,
    ConnectionSettings,
    CredentialsUnavailable,
    CustomAuthError,
    EndpointUnreachable,
    OperationError,
    Throttled,
)
from iot_customauth_client.diagnosis import Context, Policy, explain_end, policy_of
from iot_customauth_client.http_answers import HttpAnswer, Sent, explain_publish_answer, explain_upgrade
from iot_customauth_client.links.base import LinkEnd

CONTEXT = Context(ConnectionSettings(endpoint="host.example", client_id="device-1", transport="websocket"), 1.5)
SENT = Sent("t", payload_bytes=1, query_characters=6, longest_header=0)


@pytest.mark.parametrize(
    ("status", "kind", "policy"),
    [
        (101, EndpointUnreachable, Policy.RETRY),
        (200, ConnectError, Policy.RETRY),
        (302, ConnectError, Policy.RETRY),
        (400, ConnectError, Policy.RETRY),
        (401, AuthenticationRefused, Policy.RAISE),
        (403, AuthenticationRefused, Policy.RAISE),
        (404, ConnectError, Policy.RETRY),
        (426, ConnectError, Policy.RETRY),
        (429, Throttled, Policy.RETRY),
        (500, EndpointUnreachable, Policy.RETRY),
        (503, EndpointUnreachable, Policy.RETRY),
        (599, EndpointUnreachable, Policy.RETRY),
    ],
)
def test_an_answer_to_an_upgrade_means_this_and_the_first_connect_does_that(
    status: int, kind: type[ConnectError], policy: Policy
) -> None:
    error = explain_upgrade(HttpAnswer(status), CONTEXT)
    assert type(error) is kind
    assert policy_of(error) is policy
    assert (error.client_id, error.elapsed_seconds, error.phase) == ("device-1", 1.5, "connect")


def test_the_services_own_words_and_error_type_are_passed_on() -> None:
    headers = (("X-Amzn-ErrorType", "ForbiddenException:http://x"), ("x-amzn-RequestId", "from-header"))
    answer = HttpAnswer(403, headers, b'{"message":"Forbidden","traceId":"from-body"}')
    error = explain_upgrade(answer, CONTEXT)
    assert "HTTP 403, ForbiddenException, saying 'Forbidden', trace id from-body" in error.message
    assert error.trace_id == "from-body"
    assert HttpAnswer(403, headers).trace_id == "from-header"


@given(
    st.integers(100, 599), st.binary(max_size=200) | st.recursive(st.none(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_answer_is_explained(status: int, body: bytes) -> None:
    answer = HttpAnswer(status, (("content-type", "application/json"),), body)
    assert isinstance(explain_upgrade(answer, CONTEXT), ConnectError)
    error = explain_publish_answer(answer, SENT, CONTEXT.common("connected"))
    assert (error is None) == (200 <= status < 300)
    assert error is None or f"HTTP {status}" in error.message


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"message": 5}', b'{"message":"%b"}' % (b"x" * 10_000), b"\xff"])
def test_a_strange_body_is_harmless(body: bytes) -> None:
    error = explain_publish_answer(HttpAnswer(500, (), body), SENT, CONTEXT.common("connected"))
    assert error is not None
    assert len(error.message) < 400


def test_a_long_head_is_the_likely_limit_behind_a_400() -> None:
    sent = Sent("t", payload_bytes=1, query_characters=5_000, longest_header=0)
    error = explain_publish_answer(HttpAnswer(400), sent, CONTEXT.common("connected"))
    assert isinstance(error, OperationError)
    assert error.code == "request_head_too_large"
    assert "5000" in error.message


# -- what awscrt reports ----------------------------------------------------------------------------------------------


def end(name: str | None = None, error: BaseException | None = None, **fields: Any) -> LinkEnd:
    return LinkEnd(was_connected=False, error=error, error_name=name, **fields)


def test_a_failed_upgrade_without_its_answer_is_tried_again() -> None:
    error = explain_end(end("AWS_ERROR_HTTP_WEBSOCKET_UPGRADE_FAILURE"), CONTEXT)
    assert (type(error), error.code) == (EndpointUnreachable, "upgrade_failed")
    assert policy_of(error) is Policy.RETRY


def test_something_that_is_not_http_is_named() -> None:
    error = explain_end(end("AWS_ERROR_HTTP_PROTOCOL_ERROR"), CONTEXT)
    assert (type(error), error.code) == (EndpointUnreachable, "not_http")


def test_a_hang_up_after_the_upgrade_does_not_blame_the_missing_alpn() -> None:
    error = explain_end(end("AWS_IO_SOCKET_CLOSED"), CONTEXT)
    assert type(error) is ClosedBeforeConnack
    assert "ALPN" not in str(error)
    assert "client id" in error.likely_causes[0]


@pytest.mark.parametrize(
    ("mistake", "policy"),
    [
        (CredentialsUnavailable("the vault is closed"), Policy.RETRY),
        (ConfigurationError("headers cannot carry it"), Policy.RAISE),
    ],
)
def test_our_own_error_is_the_end_as_it_is_and_is_not_changed_for_others(
    mistake: ConnectError | ConfigurationError, policy: Policy
) -> None:
    error: CustomAuthError = explain_end(end(None, mistake), CONTEXT)
    assert (type(error), error.message, error.client_id) == (type(mistake), mistake.message, "device-1")
    assert mistake.client_id is None
    assert policy_of(error) is policy  # type: ignore[arg-type]
