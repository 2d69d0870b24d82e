"""The settings about credentials: what a refused client gets, how they are read, what the function is told of them.

Each test sets one choice and looks at the other answer too; all on real sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from http_clients import NAME, HttpClient, Rejected, WebSocketClient, allow_all
from mqtt_wire import WireClient

from iot_customauth_client.local import Choices, LocalEndpoint
from iot_customauth_client.local.codec import ConnAck, Version

MakeEndpoint = Callable[..., LocalEndpoint]
NAMED = "user?x-amz-customauthorizer-name=a"


class Recording:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, event: dict[str, Any], context: object) -> dict[str, object]:
        self.events.append(event)
        return allow_all(event, context)


def refusing(event: object, context: object) -> dict[str, object]:
    return {"isAuthenticated": False}


@pytest.mark.parametrize("choice", [135, 134])
@pytest.mark.parametrize("username", [NAMED, "nobody"])
def test_the_code_of_a_connect_refused_before_the_policy_can_be_chosen(
    make_endpoint: MakeEndpoint, choice: Any, username: str
) -> None:
    endpoint = make_endpoint({"a": refusing}, choices=Choices(refused_connect_mqtt5=choice))
    with WireClient(endpoint) as client:
        answer = client.connect(username=username)
        assert isinstance(answer, ConnAck)
        assert answer.reason_code == choice
        assert client.receive() is None
    assert endpoint.wait_for("refused", timeout=5, reason_code=choice)


def test_a_connect_refused_before_the_policy_can_be_hung_up_on(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint({"a": refusing}, choices=Choices(refused_connect_mqtt5="hang_up"))
    with WireClient(endpoint) as client:
        assert client.connect(username=NAMED) is None
    assert endpoint.wait_for("refused", timeout=5, reason_code=None, cause="not_authenticated")


@pytest.mark.parametrize("choice", [134, "hang_up"])
def test_a_denial_by_the_policy_is_135_whatever_is_chosen(make_endpoint: MakeEndpoint, choice: Any) -> None:
    def denying(event: object, context: object) -> dict[str, object]:
        statement = {"Effect": "Deny", "Action": "iot:Connect", "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": statement}
        return {"isAuthenticated": True, "principalId": "p", "policyDocuments": [policy]}

    endpoint = make_endpoint({"a": denying}, choices=Choices(refused_connect_mqtt5=choice))
    with WireClient(endpoint) as client:
        answer = client.connect(username=NAMED)
        assert isinstance(answer, ConnAck)
        assert answer.reason_code == 135


@pytest.mark.parametrize("choice", [135, 134, "hang_up"])
def test_mqtt_311_is_hung_up_on_whatever_is_chosen(make_endpoint: MakeEndpoint, choice: Any) -> None:
    endpoint = make_endpoint({"a": refusing}, choices=Choices(refused_connect_mqtt5=choice))
    with WireClient(endpoint, Version.MQTT311) as client:
        assert client.connect(username=NAMED) is None


@pytest.mark.parametrize(("choice", "message"), [(403, b"Forbidden"), (401, b"Unauthorized")])
def test_the_status_of_a_refused_upgrade_can_be_chosen(
    make_endpoint: MakeEndpoint, choice: Any, message: bytes
) -> None:
    endpoint = make_endpoint({"a": allow_all}, choices=Choices(refused_upgrade_status=choice))
    with pytest.raises(Rejected) as rejected:
        WebSocketClient(endpoint, headers={NAME: "nobody"})
    assert rejected.value.status == choice
    assert message in rejected.value.body
    endpoint.wait_for("refused", timeout=5, status=choice, cause="authorizer_unknown")
    with HttpClient(endpoint) as client:  # documented, so not to be chosen
        assert client.post("/topics/t", x_amz_customauthorizer_name="nobody").status == 403
