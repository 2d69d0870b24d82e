"""The settings about credentials: what a refused client gets, how they are read, what the function is told of them.

Each test sets one choice and looks at the other answer too; all on real sockets.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from authorizer_functions import HeldBack, allow_all, allowing
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from http_clients import NAME, HttpClient, HttpReply, Rejected, WebSocketClient
from mqtt_wire import WireClient

from iot_customauth_client.clock import ManualClock
from iot_customauth_client.local import Choices, LocalAuthorizer, LocalEndpoint
from iot_customauth_client.local.codec import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PingResp,
    Property,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    Version,
)

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


@pytest.mark.parametrize("choice", [403, 401])
@pytest.mark.parametrize("query", ["", f"?{NAME}=nobody"])
def test_the_status_of_a_publish_that_leads_to_no_authorizer(
    make_endpoint: MakeEndpoint, choice: Any, query: str
) -> None:
    inactive = LocalAuthorizer(allow_all, signing_disabled=True, status="INACTIVE")
    endpoint = make_endpoint({"a": refusing, "i": inactive}, choices=Choices(unknown_authorizer_status_https=choice))
    with HttpClient(endpoint) as client:
        assert client.post(f"/topics/t{query}").status == choice
        for name in ("a", "i"):  # another question
            assert client.post(f"/topics/t?{NAME}={name}").status == 403


@pytest.mark.parametrize("server_name", [None, "unknown.example"])
@pytest.mark.parametrize("choice", ["alert", "reset", "close"])
def test_how_a_handshake_without_a_served_name_ends_can_be_chosen(
    make_endpoint: MakeEndpoint, choice: Any, server_name: str | None
) -> None:
    endpoint = make_endpoint({"a": allow_all}, choices=Choices(unknown_server_name=choice))
    with pytest.raises(OSError) as failed:  # noqa: PT011  # the type is what is looked at
        WireClient(endpoint, server_name=server_name)
    seen = {"alert": "UNRECOGNIZED_NAME", "reset": "ConnectionResetError", "close": "EOF"}
    assert [word for word in seen.values() if word in repr(failed.value).upper() or word in repr(failed.value)] == [
        seen[choice]
    ]
    cause = "sni_missing" if server_name is None else "sni_unknown"
    turned_away = endpoint.wait_for("turned_away", timeout=5, cause=cause)
    endpoint.wait_for("closed", timeout=5, after=turned_away)


def test_another_reason_to_turn_a_hello_away_is_always_told_by_its_alert(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint({"a": allow_all}, choices=Choices(unknown_server_name="close"))
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        WireClient(endpoint, alpn=("h2",))


CONNECT = Connect(Version.MQTT5, "client_id", keep_alive_seconds=60, username=NAMED, password=b"x")


@pytest.mark.parametrize("at_once", [True, False], ids=["in one piece", "while the authorizer runs"])
def test_packets_before_connack_wait_for_it_or_end_the_connection(make_endpoint: MakeEndpoint, at_once: bool) -> None:
    for choice in ("wait", "hang_up"):
        slow = HeldBack()
        endpoint = make_endpoint({"a": slow}, choices=Choices(packets_before_connack=choice))
        with WireClient(endpoint) as client:
            if at_once:
                client.send(CONNECT, PingReq())
            else:
                client.send(CONNECT)
                endpoint.wait_for("authorizer_called", timeout=5)
                client.send(PingReq())
            if choice == "wait":
                slow.release.set()
                assert isinstance(client.receive(), ConnAck)
                assert isinstance(client.receive(), PingResp)
                continue
            assert client.receive() is None
            refused = endpoint.wait_for("refused", timeout=5, cause="sent_before_connack", reason_code=None)
            slow.release.set()
            endpoint.wait_for("authorizer_answered", timeout=5)
        endpoint.wait_for("closed", timeout=5)
        assert endpoint.events.of_kind("refused") == [refused]


def test_a_client_that_waits_for_its_connack_is_served_when_others_are_hung_up_on(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint({"a": allow_all}, choices=Choices(packets_before_connack="hang_up"))
    with WireClient(endpoint).connected(username=NAMED) as client:
        client.send(PingReq())
        assert isinstance(client.receive(), PingResp)


# -- how credentials are read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("choice", "accepted"), [("refused", False), ("last_counts", True)])
def test_two_question_marks_in_a_user_name(make_endpoint: MakeEndpoint, choice: Any, accepted: bool) -> None:
    endpoint = make_endpoint({"a": allow_all}, choices=Choices(two_question_marks=choice))
    with WireClient(endpoint) as client:
        answer = client.connect(username=f"user?x=1?{NAMED}")
        assert isinstance(answer, ConnAck)
        assert (answer.reason_code == 0) is accepted
    if not accepted:
        endpoint.wait_for("refused", timeout=5, cause="username_unreadable")


@pytest.mark.parametrize("choice", ["first_counts", "refused"])
def test_credentials_in_the_upgrade_and_in_connect(make_endpoint: MakeEndpoint, choice: Any) -> None:
    endpoint = make_endpoint({"a": allow_all}, choices=Choices(credentials_in_two_places=choice))
    with WebSocketClient(endpoint, headers={NAME: "a"}) as client:
        answer = client.connect(username=NAMED)
        assert isinstance(answer, ConnAck)
        assert answer.reason_code == (0 if choice == "first_counts" else 135)
    if choice == "refused":
        endpoint.wait_for("refused", timeout=5, cause="credentials_in_two_places")
        assert endpoint.events.of_kind("warned") == []
    else:
        endpoint.wait_for("warned", timeout=5, cause="credentials_in_two_places")


@pytest.mark.parametrize(("choice", "status"), [("first_counts", 200), ("refused", 403)])
def test_credentials_in_headers_and_query(make_endpoint: MakeEndpoint, choice: Any, status: int) -> None:
    endpoint = make_endpoint({"a": allow_all}, choices=Choices(credentials_in_two_places=choice))
    with HttpClient(endpoint) as client:
        reply = client.post(f"/topics/t?{NAME}=a", x_amz_customauthorizer_name="a")
        assert reply.status == status
        assert client.post(f"/topics/t?{NAME}=a").status == 200
    if choice == "refused":
        with pytest.raises(Rejected):
            WebSocketClient(endpoint, target=f"/mqtt?{NAME}=a", headers={NAME: "a"})


TOKEN = "to+ken"
_KEY = rsa.generate_private_key(65_537, 2048)
PUBLIC_KEY = _KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SIGNATURE_VALUE = base64.b64encode(_KEY.sign(TOKEN.encode(), PKCS1v15(), SHA256())).decode()


def post_with_headers(client: HttpClient) -> HttpReply:
    signature = SIGNATURE_VALUE
    return client.post(
        "/topics/t", x_amz_customauthorizer_name="a", x_amz_customauthorizer_signature=signature, token=TOKEN
    )


def parameters(*, encoded: bool) -> str:
    token, signature = (quote(each, safe="" if encoded else "+/=") for each in (TOKEN, SIGNATURE_VALUE))
    return f"x-amz-customauthorizer-name=a&token={token}&x-amz-customauthorizer-signature={signature}"


@pytest.fixture
def function() -> Recording:
    return Recording()


def signed(make_endpoint: MakeEndpoint, function: Recording, choices: Choices) -> LocalEndpoint:
    return make_endpoint(
        {"a": LocalAuthorizer(function, token_key_name="token", public_keys=(PUBLIC_KEY,))}, choices=choices
    )


@pytest.mark.parametrize(
    ("choice", "encoded", "accepted"),
    [("kept", True, True), ("kept", False, True), ("space", True, True), ("space", False, False)],
)
def test_a_plus_that_was_not_encoded_is_kept_or_becomes_a_space(
    make_endpoint: MakeEndpoint, function: Recording, choice: Any, encoded: bool, accepted: bool
) -> None:
    endpoint = signed(make_endpoint, function, Choices(plus_in_query=choice))
    sent = parameters(encoded=encoded)
    with WireClient(endpoint) as client:
        answer = client.connect(username=f"user?{sent}")
        assert isinstance(answer, ConnAck)
        assert (answer.reason_code == 0) is accepted
    with HttpClient(endpoint) as client:
        assert client.post(f"/topics/t?{sent}").status == (200 if accepted else 403)
    assert len(function.events) == (2 if accepted else 0)
    if not accepted:
        assert "%2B" in str(endpoint.wait_for("refused", timeout=5, cause="signature_invalid"))


@pytest.mark.parametrize(("choice", "told"), [("kept", "application/senml+json"), ("space", "application/senml json")])
def test_a_plus_in_the_query_of_a_publish_is_kept_or_becomes_a_space(
    make_endpoint: MakeEndpoint, choice: Any, told: str
) -> None:
    endpoint = make_endpoint({"a": allow_all}, choices=Choices(plus_in_query=choice))
    with WireClient(endpoint).connected(username=NAMED) as subscriber, HttpClient(endpoint) as client:
        subscriber.send(Subscribe(1, (SubscribeRequest("t", 0),)))
        assert isinstance(subscriber.receive(), SubAck)
        assert client.post(f"/topics/t?{NAME}=a&contentType=application/senml+json").status == 200
        message = subscriber.receive()
        assert isinstance(message, Publish)
        assert message.properties == {Property.CONTENT_TYPE: told}


def test_a_plus_in_a_header_is_always_kept(make_endpoint: MakeEndpoint, function: Recording) -> None:
    endpoint = signed(make_endpoint, function, Choices(plus_in_query="space"))
    with HttpClient(endpoint) as client:
        assert (
            client.post(
                "/topics/t",
                x_amz_customauthorizer_name="a",
                x_amz_customauthorizer_signature=SIGNATURE_VALUE,
                token=TOKEN,
            ).status
            == 200
        )


@pytest.mark.parametrize(("choice", "accepted"), [("raw", False), ("decoded", True)])
def test_a_percent_encoded_signature_in_a_header_is_refused_or_decoded(
    make_endpoint: MakeEndpoint, function: Recording, choice: Any, accepted: bool
) -> None:
    endpoint = signed(make_endpoint, function, Choices(signature_in_header=choice))
    encoded = {NAME: "a", "token": TOKEN, "x-amz-customauthorizer-signature": quote(SIGNATURE_VALUE, safe="")}
    with HttpClient(endpoint) as client:
        assert client.post("/topics/t", b"", **encoded).status == (200 if accepted else 403)
        assert post_with_headers(client).status == 200
    if accepted:
        with WebSocketClient(endpoint, headers=encoded) as client:
            answer = client.connect()
            assert isinstance(answer, ConnAck)
            assert answer.reason_code == 0
        assert [event["token"] for event in function.events] == [TOKEN] * 3
        assert function.events[0]["protocolData"]["http"]["headers"]["x-amz-customauthorizer-signature"] != (
            SIGNATURE_VALUE
        )
    else:
        assert "signature_in_header" in str(endpoint.wait_for("refused", timeout=5, cause="signature_invalid"))


def test_a_signature_in_a_header_that_was_encoded_twice_is_not_told_that_headers_are_not_decoded(
    make_endpoint: MakeEndpoint, function: Recording
) -> None:
    endpoint = signed(make_endpoint, function, Choices(signature_in_header="decoded"))
    twice = quote(quote(SIGNATURE_VALUE, safe=""), safe="")
    with HttpClient(endpoint) as client:
        headers = {NAME: "a", "token": TOKEN, "x-amz-customauthorizer-signature": twice}
        assert client.post("/topics/t", b"", **headers).status == 403
    explanation = str(endpoint.wait_for("refused", timeout=5, cause="signature_invalid"))
    assert "encoded twice" in explanation
    assert "not decoded" not in explanation


# -- what the function is told ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["raw", "decoded"])
def test_the_user_name_in_the_event(make_endpoint: MakeEndpoint, function: Recording, choice: Any) -> None:
    endpoint = make_endpoint({"a": function}, choices=Choices(username_in_event=choice))
    with WireClient(endpoint).connected(username=f"us%20er{NAMED[4:]}&x=%2B"):
        pass
    (event,) = function.events
    assert event["protocolData"]["mqtt"]["username"] == (
        f"us%20er{NAMED[4:]}&x=%2B" if choice == "raw" else f"us er{NAMED[4:]}&x=+"
    )


@pytest.mark.parametrize(("choice", "told"), [("decoded", TOKEN), ("raw", quote(TOKEN, safe=""))])
def test_the_token_in_the_event(make_endpoint: MakeEndpoint, function: Recording, choice: Any, told: str) -> None:
    endpoint = signed(make_endpoint, function, Choices(token_in_event=choice))
    sent = parameters(encoded=True)
    with WireClient(endpoint).connected(username=f"user?{sent}"):
        pass
    with HttpClient(endpoint) as client:
        assert client.post(f"/topics/t?{sent}").status == 200
        assert (
            client.post(
                "/topics/t",
                x_amz_customauthorizer_name="a",
                x_amz_customauthorizer_signature=SIGNATURE_VALUE,
                token=TOKEN,
            ).status
            == 200
        )
    assert [event["token"] for event in function.events] == [told, told, TOKEN]


@pytest.mark.parametrize("choice", ["present", "absent"])
def test_mqtt_in_the_event_of_credentials_in_the_upgrade(
    make_endpoint: MakeEndpoint, function: Recording, choice: Any
) -> None:
    endpoint = make_endpoint({"a": function}, choices=Choices(mqtt_in_upgrade_event=choice))
    with WebSocketClient(endpoint, headers={NAME: "a"}) as client:
        assert isinstance(client.connect(username="user", password=b"x"), ConnAck)
    with WebSocketClient(endpoint) as client:  # in CONNECT they are present, or there was nothing to read
        assert isinstance(client.connect(username=NAMED), ConnAck)
    told = [("mqtt" in event["protocolData"], "mqtt" in event["protocols"]) for event in function.events]
    assert told == [(choice == "present",) * 2, (True, True)]


# -- what the function returns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("choice", "code"), [("accepted", 0), ("refused", 135)])
def test_policy_documents_as_text(make_endpoint: MakeEndpoint, choice: Any, code: int) -> None:
    def function(event: object, context: object) -> dict[str, object]:
        result: Any = allow_all(event, context)
        return {**result, "policyDocuments": [json.dumps(result["policyDocuments"][0])]}

    endpoint = make_endpoint({"a": function}, choices=Choices(policy_as_text=choice))
    with WireClient(endpoint) as client:
        answer = client.connect(username=NAMED)
        assert isinstance(answer, ConnAck)
        assert answer.reason_code == code
    if code:
        refused = endpoint.wait_for("refused", timeout=5, cause="authorizer_result_invalid")
        assert "policyDocuments[0] is text" in str(refused)


@pytest.mark.parametrize(("seconds", "taken"), [(299, 300), (0, 300), (-5, 300), (86_401, 86_400), (10**30, 86_400)])
def test_seconds_out_of_range_are_refused_or_clamped(make_endpoint: MakeEndpoint, seconds: int, taken: int) -> None:
    def function(event: object, context: object) -> dict[str, object]:
        return {**allow_all(event, context), "disconnectAfterInSeconds": seconds}

    with WireClient(make_endpoint({"a": function})) as client:
        answer = client.connect(username=NAMED)
        assert isinstance(answer, ConnAck)
        assert answer.reason_code == 135
    clock = ManualClock()
    endpoint = make_endpoint({"a": function}, clock=clock, choices=Choices(seconds_out_of_range="clamped"))
    with WireClient(endpoint).connected(username=NAMED) as client:
        answered = endpoint.wait_for("authorizer_answered", timeout=5, outcome="allowed")
        assert "disconnectAfterInSeconds must be from 300 to 86400" in str(answered)
        clock.advance(taken - 1)
        client.send(PingReq())
        assert isinstance(client.receive(), PingResp)
        clock.advance(1)
        assert isinstance(client.receive(), Disconnect)


@pytest.mark.parametrize(
    ("choice", "actions", "status"),
    [
        ("not_asked", ["iot:Publish"], 200),
        ("not_asked", ["iot:*"], 200),
        ("asked", ["iot:Publish"], 403),
        ("asked", ["iot:*"], 200),
    ],
)
def test_whether_https_is_asked_iot_connect(
    make_endpoint: MakeEndpoint, choice: Any, actions: list[str], status: int
) -> None:
    def function(event: object, context: object) -> dict[str, object]:
        return allowing(actions, "*")

    endpoint = make_endpoint({"a": function}, choices=Choices(connect_over_https=choice))
    with HttpClient(endpoint) as client:
        assert client.post(f"/topics/t?{NAME}=a").status == status
    if status == 403:
        decided = endpoint.wait_for("decided", timeout=5, action="iot:Connect", allowed=False)
        assert "client/" in str(decided)
        assert "connect is not allowed" in str(endpoint.wait_for("refused", timeout=5, status=403))
