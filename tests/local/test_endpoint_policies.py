"""What a policy may speak of, at every door on real sockets: the address and the domain name of the client."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from http_clients import NAME, HttpClient, WebSocketClient
from mqtt_wire import WireClient

from iot_customauth_client.local import LocalEndpoint
from iot_customauth_client.local.codec import ConnAck

MakeEndpoint = Callable[..., LocalEndpoint]
USERNAME = f"user?{NAME}=a"

CONDITIONS: list[tuple[dict[str, dict[str, str]], bool]] = [
    ({"StringEquals": {"iot:DomainName": "localhost"}}, True),
    ({"StringEquals": {"iot:DomainName": "other.example"}}, False),
    ({"StringNotEquals": {"iot:DomainName": "localhost"}}, False),
    ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
    ({"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, False),
    ({"Null": {"iot:DomainName": "false"}}, False),  # not built: never granted
    ({"StringEquals": {"iot:Certificate.Subject.CommonName": "x"}}, False),
]


def serve(make_endpoint: MakeEndpoint, *statements: dict[str, object]) -> LocalEndpoint:
    def function(event: object, context: object) -> dict[str, object]:
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        return {"isAuthenticated": True, "principalId": "p", "policyDocuments": [policy]}

    return make_endpoint({"a": function})


@pytest.mark.parametrize(("condition", "holds"), CONDITIONS)
def test_a_condition_decides_the_same_at_every_door(
    make_endpoint: MakeEndpoint, condition: dict[str, dict[str, str]], holds: bool
) -> None:
    allowed: dict[str, object] = {"Effect": "Allow", "Action": "iot:*", "Resource": "*", "Condition": condition}
    endpoint = serve(make_endpoint, allowed)
    with WireClient(endpoint) as tls, WebSocketClient(endpoint) as websocket, HttpClient(endpoint) as https:
        for answer in (tls.connect(username=USERNAME), websocket.connect(username=USERNAME)):
            assert isinstance(answer, ConnAck)
            assert (answer.reason_code == 0) is holds
        assert https.post(f"/topics/t?{NAME}=a").status == (200 if holds else 403)
    if not holds:
        (operator, block), *_ = condition.items()
        for refused in endpoint.events.of_kind("refused"):
            assert f"{operator} on {next(iter(block))}" in str(refused)


@pytest.mark.parametrize(("topic", "status"), [("of/localhost", 200), ("of/other", 403)])
def test_the_domain_name_is_a_variable_of_resources(make_endpoint: MakeEndpoint, topic: str, status: int) -> None:
    resource = "arn:aws:iot:*:*:topic/of/${iot:DomainName}"
    endpoint = serve(make_endpoint, {"Effect": "Allow", "Action": "iot:Publish", "Resource": resource})
    with HttpClient(endpoint) as client:
        assert client.post(f"/topics/{topic}?{NAME}=a").status == status
