"""Authorizer functions behind a running endpoint: reloading, several at once, and stuck ones that starve nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mqtt_wire import USERNAME, WireClient, serves_a_good_client
from test_authorizers import write
from waiting import threads

from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events
from iot_customauth_client.local.codec import ConnAck, Connect, Version

MakeEndpoint = Callable[..., LocalEndpoint]

ALLOW = """
def lambda_handler(event, context):
    print("the function says hello")
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": statement}
    return {"isAuthenticated": True, "principalId": "p", "policyDocuments": [policy]}
"""
DENY = "def lambda_handler(event, context): return {'isAuthenticated': False}"


def answer_of(endpoint: LocalEndpoint, name: str = "a") -> int:
    with WireClient(endpoint) as client:
        answer = client.connect(username=f"?x-amz-customauthorizer-name={name}")
        assert isinstance(answer, ConnAck)
        return answer.reason_code


def test_an_edited_authorizer_is_used_for_the_next_connection(
    make_endpoint: MakeEndpoint, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "authorizer.py"
    write(file, DENY)
    endpoint = make_endpoint({"a": LocalAuthorizer(file, signing_disabled=True)})
    assert answer_of(endpoint) == 135
    write(file, ALLOW)
    assert answer_of(endpoint) == 0
    assert "the function says hello" in capfd.readouterr().out
    write(file, "import nothing_of_that_name")
    assert answer_of(endpoint) == 135
    refused = endpoint.events.of_kind(events.Refused)[-1]
    assert "fails to import" in refused.explanation
    assert "nothing_of_that_name" in refused.explanation
    write(file, ALLOW)
    assert answer_of(endpoint) == 0


def test_a_file_that_cannot_be_imported_is_reported_before_the_first_device_comes(
    make_endpoint: MakeEndpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "authorizer.py"
    write(file, "def lambda_handler(")
    endpoint = make_endpoint({"a": LocalAuthorizer(file, signing_disabled=True)})
    assert answer_of(endpoint) == 135  # the endpoint runs all the same
    assert "authorizer.py fails to import: SyntaxError" in caplog.text


def test_two_devices_are_asked_about_at_once(make_endpoint: MakeEndpoint) -> None:
    both = threading.Barrier(2, timeout=5)

    def function(event: object, context: object) -> dict[str, object]:
        both.wait()  # passes only if two calls are inside at one time
        return {"isAuthenticated": False}

    endpoint = make_endpoint({"a": function})
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(answer_of, [endpoint, endpoint])) == [135, 135]
    assert {event.outcome for event in endpoint.events.of_kind(events.AuthorizerAnswered)} == {"denied"}


def test_stuck_functions_starve_nobody(make_endpoint: MakeEndpoint, password_authorizer: LocalAuthorizer) -> None:
    end = threading.Event()

    def stuck(event: object, context: object) -> None:
        end.wait(30)

    def busy(event: object, context: object) -> None:
        while not end.is_set():
            pass

    endpoint = make_endpoint({"stuck": stuck, "busy": busy, "custom_auth_mqtt_2021_08_21": password_authorizer})
    clients = [WireClient(endpoint, Version.MQTT311) for _ in range(52)]
    try:
        for number, client in enumerate(clients):
            name = "busy" if number >= 50 else "stuck"
            client.send(Connect(Version.MQTT311, f"c{number}", username=f"?x-amz-customauthorizer-name={name}"))
        for number in range(len(clients)):
            endpoint.wait_for("authorizer_called", connection=number + 1, timeout=5)
        serves_a_good_client(endpoint, timeout=4)
        assert not endpoint.events.of_kind("refused")
        for client in clients:
            assert client.receive() is None
        endpoint.wait_for("refused", cause="authorizer_timed_out", timeout=5)
        serves_a_good_client(endpoint, timeout=4)
    finally:
        for client in clients:
            client.close()
        end.set()


def test_stop_does_not_wait_for_a_stuck_function(password_authorizer: LocalAuthorizer) -> None:
    end = threading.Event()

    def stuck(event: object, context: object) -> None:
        end.wait(60)

    before = threads()
    with LocalEndpoint({"custom_auth_mqtt_2021_08_21": stuck}) as endpoint, WireClient(endpoint) as client:
        client.send(Connect(Version.MQTT5, "c", username=USERNAME))
        endpoint.wait_for("authorizer_called", timeout=5)
    left = threads() - before
    assert all(thread.daemon and thread.name.startswith("authorizer-") for thread in left)
    end.set()
    for thread in left:
        thread.join(5)
