"""Authorizer functions that are not Python, behind a running endpoint: a Node.js Lambda, and commands."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mqtt_wire import AUTHORIZER, WireClient

from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events
from iot_customauth_client.local.codec import ConnAck

MakeEndpoint = Callable[..., LocalEndpoint]
AWS_HOSTNAME = "xxxxxxxxxxxx-ats.iot.ap-northeast-1.amazonaws.com"
NODE_LAMBDA = Path(__file__).parents[2] / "examples" / "authorizers" / "password.js"
INVOKE_SERVER = Path(__file__).parent / "node" / "invoke_server.js"

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")

FAILS = "exports.handler = async () => { throw new TypeError('no such user'); };"


@contextlib.contextmanager
def node_lambda(file: Path, *arguments: str) -> Iterator[str]:
    """Serve a Node.js Lambda; gives its Invoke URL."""
    command = ["node", str(INVOKE_SERVER), str(file), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield f"http://127.0.0.1:{port}/2015-03-31/functions/authorizer/invocations"
        finally:
            process.terminate()


def code_for(endpoint: LocalEndpoint, password: bytes) -> int:
    with WireClient(endpoint) as client:
        answer = client.connect(password=password)
        assert isinstance(answer, ConnAck)
        return answer.reason_code


def serve(make_endpoint: MakeEndpoint, authorizer: LocalAuthorizer) -> LocalEndpoint:
    return make_endpoint({AUTHORIZER: authorizer}, hostnames=("localhost", AWS_HOSTNAME))


@needs_node
def test_a_nodejs_lambda_behind_an_invoke_url_lets_in_and_refuses(make_endpoint: MakeEndpoint) -> None:
    with node_lambda(NODE_LAMBDA) as url:
        endpoint = serve(make_endpoint, LocalAuthorizer(url, signing_disabled=True))
        assert code_for(endpoint, b"pass01") == 0
        assert code_for(endpoint, b"wrong") == 135
    connected = endpoint.wait_for(events.Connected, timeout=5)
    assert (connected.client_id, connected.principal_id) == ("client_id", "CustomAuthId")
    assert [each.outcome for each in endpoint.events.of_kind(events.AuthorizerAnswered)] == ["allowed", "denied"]


@needs_node
@pytest.mark.parametrize("mode", ["lambda", "emulator"])
def test_a_nodejs_lambda_that_throws_is_a_failure(make_endpoint: MakeEndpoint, tmp_path: Path, mode: str) -> None:
    file = tmp_path / "authorizer.js"
    file.write_text(FAILS)
    with node_lambda(file, mode) as url:
        endpoint = serve(make_endpoint, LocalAuthorizer(url, signing_disabled=True))
        assert code_for(endpoint, b"pass01") == 135
    refused = endpoint.wait_for(events.Refused, timeout=5, cause="authorizer_failed")
    assert "the function raised TypeError: no such user" in refused.explanation


@needs_node
def test_another_function_name_than_the_served_one_is_told(make_endpoint: MakeEndpoint) -> None:
    with node_lambda(NODE_LAMBDA) as url:
        endpoint = serve(make_endpoint, LocalAuthorizer(url.replace("authorizer", "other"), signing_disabled=True))
        assert code_for(endpoint, b"pass01") == 135
    assert "is 'other' the function's name there?" in endpoint.wait_for(events.Refused, timeout=5).explanation


def test_a_lambda_that_is_not_served_refuses_and_the_next_one_is_asked(make_endpoint: MakeEndpoint) -> None:
    url = "http://127.0.0.1:1/2015-03-31/functions/authorizer/invocations"
    endpoint = serve(make_endpoint, LocalAuthorizer(url, signing_disabled=True))
    assert code_for(endpoint, b"pass01") == 135
    assert "nothing listens on 127.0.0.1:1" in endpoint.wait_for(events.Refused, timeout=5).explanation


@needs_node
def test_a_nodejs_lambda_may_be_a_command(make_endpoint: MakeEndpoint, capfd: pytest.CaptureFixture[str]) -> None:
    authorizer = LocalAuthorizer(
        ["node", NODE_LAMBDA.name], working_directory=NODE_LAMBDA.parent, signing_disabled=True
    )
    endpoint = serve(make_endpoint, authorizer)
    assert code_for(endpoint, b"pass01") == 0
    assert code_for(endpoint, b"wrong") == 135
    assert "refused client id client_id" in capfd.readouterr().err


PYTHON_COMMAND = """
import json, sys
event = json.load(sys.stdin)
allowed = event["protocolData"]["mqtt"]["password"] == "cGFzczAx"
statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
policy = {"Version": "2012-10-17", "Statement": statement}
print(json.dumps({"isAuthenticated": allowed, "principalId": "p", "policyDocuments": [policy]}))
"""


def test_a_python_command_lets_in_and_refuses(make_endpoint: MakeEndpoint, tmp_path: Path) -> None:
    (tmp_path / "authorizer.py").write_text(PYTHON_COMMAND)
    command = [sys.executable, "authorizer.py"]
    endpoint = serve(make_endpoint, LocalAuthorizer(command=command, working_directory=tmp_path, signing_disabled=True))
    assert code_for(endpoint, b"pass01") == 0
    assert code_for(endpoint, b"wrong") == 135


def test_a_command_that_prints_something_else_is_told_and_its_secret_is_not(make_endpoint: MakeEndpoint) -> None:
    endpoint = serve(make_endpoint, LocalAuthorizer(["cat"], signing_disabled=True))  # prints the event
    assert code_for(endpoint, b"pass01") == 135
    refused = endpoint.wait_for(events.Refused, timeout=5, cause="authorizer_result_invalid")
    assert "isAuthenticated" in refused.explanation
    shown = "".join(repr(event) for event in endpoint.events)
    assert "cGFzczAx" not in shown
    assert "user01" not in shown


def test_a_command_that_is_not_there_is_told_when_the_endpoint_starts(
    make_endpoint: MakeEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = serve(make_endpoint, LocalAuthorizer(["no-such-program"], signing_disabled=True))
    assert code_for(endpoint, b"pass01") == 135  # the endpoint runs all the same
    endpoint.stop()  # which waits for what loads the functions
    assert "there is no program 'no-such-program' on PATH" in caplog.text
    assert "there is no program" in endpoint.wait_for(events.Refused, timeout=5).explanation
