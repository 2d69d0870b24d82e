"""HTTPS publish over real sockets: what `http.client` and `curl` get, and what the subscriber and the log see."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import pytest
from authorizer_functions import HeldBack, allow_all, allowing
from http_clients import NAME, SIGNATURE, HttpClient, tls_socket
from mqtt_wire import WireClient, serves_a_good_client

from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events, time_limits
from iot_customauth_client.local.codec import Property, Publish, Subscribe, SubscribeRequest

MakeEndpoint = Callable[..., LocalEndpoint]
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
BEARER = {NAME.replace("-", "_"): "bearer", "token": "s3cr3t-t0ken"}


class Counting:
    """An authorizer function that counts its calls and remembers its events."""

    def __init__(self, result: dict[str, object] | None = None) -> None:
        self.events: list[dict[str, object]] = []
        self.result = result or allow_all(None, None)

    def __call__(self, event: dict[str, object], context: object) -> dict[str, object]:
        self.events.append(event)
        return self.result


@pytest.fixture
def function() -> Counting:
    return Counting()


@pytest.fixture
def https(make_endpoint: MakeEndpoint, function: Counting) -> LocalEndpoint:
    return make_endpoint({"bearer": LocalAuthorizer(function, signing_disabled=True, token_key_name="token")})


def test_an_accepted_publish_is_answered_as_documented(https: LocalEndpoint) -> None:
    with HttpClient(https) as client:
        reply = client.post("/topics/devices%2Fone?qos=1", b"hello", **BEARER)
    assert reply.status == 200
    assert re.fullmatch(rf'{{"message":"OK","traceId":"{UUID}"}}'.encode(), reply.body)
    assert set(reply.headers) == {"content-type", "content-length", "date", "x-amzn-requestid", "connection"}
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["content-length"] == "65"
    assert reply.headers["connection"] == "keep-alive"
    assert reply.headers["x-amzn-requestid"] == reply.document["traceId"]
    assert parsedate_to_datetime(reply.headers["date"]).tzinfo is not None
    published = https.wait_for(events.Published, timeout=5)
    assert (published.topic, published.payload, published.qos, published.retain) == ("devices/one", b"hello", 1, False)
    assert (published.connection, published.client_id) == (1, "")
    https.wait_for("closed", timeout=5)
    assert not https.events.of_kind("turned_away")  # it has done nothing wrong


def test_the_event_has_http_and_no_mqtt(https: LocalEndpoint, function: Counting) -> None:
    with HttpClient(https) as client:
        reply = client.post("/topics/a?token=s3cr3t&action=x", b"hi", X_Amz_CustomAuthorizer_Name="bearer")
        by_query = client.post(f"/topics/a?{NAME}=bearer&token=s3c%2Br3t%20", b"hi")
    assert (reply.status, by_query.status) == (200, 200)
    event, second = function.events
    assert event["protocols"] == ["tls", "http"]
    assert event["connectionMetadata"] == {"id": reply.document["traceId"]}
    data = event["protocolData"]
    assert isinstance(data, dict)
    assert set(data) == {"tls", "http"}
    assert data["http"]["queryString"] == "?token=s3cr3t&action=x"
    assert data["http"]["headers"][NAME] == "bearer"
    assert data["http"]["headers"]["content-length"] == "2"
    assert "token" not in event  # the names were found in the headers, and the token was not
    assert second["token"] == "s3c+r3t "


def test_the_log_tells_the_request_without_its_secrets(https: LocalEndpoint) -> None:
    with HttpClient(https) as client:
        client.post("/topics/a?qos=1&x=s3cr3t-t0ken", b"hi", **BEARER)
    request = https.wait_for(events.HttpRequested, timeout=5)
    answered = https.wait_for(events.HttpAnswered, status=200, timeout=5)
    assert (request.method, request.path, request.authorizer) == ("POST", "/topics/a", "bearer")
    assert (request.credentials_in, request.body_bytes) == ("headers", 2)
    assert request.query == "qos=1&x=<12 characters>"
    assert request.trace_id == answered.trace_id
    assert "s3cr3t-t0ken" not in "".join(map(repr, https.events))


def test_secrets_are_shown_when_asked_for(make_endpoint: MakeEndpoint) -> None:
    endpoint = make_endpoint({"a": allow_all}, default_authorizer="a", show_secrets=True)
    with HttpClient(endpoint) as client:
        client.post("/topics/a?x=s3cr3t")
    assert endpoint.wait_for(events.HttpRequested, timeout=5).query == "x=s3cr3t"
    assert "s3cr3t" in repr(endpoint.wait_for(events.AuthorizerCalled, timeout=5))


def test_mqtt_5_subscribers_get_every_property(https: LocalEndpoint) -> None:
    properties = base64.b64encode(json.dumps([{"k": "1"}, {"k": "2"}]).encode()).decode()
    with WireClient(https) as subscriber, HttpClient(https) as client:
        subscriber.connected(username=f"u?{NAME}=bearer", client_id="subscriber")
        subscriber.send(Subscribe(1, (SubscribeRequest("a", 1),)))
        subscriber.receive()
        reply = client.post(
            "/topics/a?qos=1&contentType=text%2Fplain&responseTopic=b%2Fc&messageExpiry=60",
            "é".encode(),
            x_amz_mqtt5_user_properties=properties,
            x_amz_mqtt5_payload_format_indicator="UTF8_DATA",
            x_amz_mqtt5_correlation_data=base64.b64encode(b"\0\xff").decode(),
            **BEARER,
        )
        assert reply.status == 200
        message = subscriber.receive()
    assert isinstance(message, Publish)
    assert (message.topic, message.payload, message.qos) == ("a", "é".encode(), 1)
    assert message.properties == {
        Property.CONTENT_TYPE: "text/plain",
        Property.RESPONSE_TOPIC: "b/c",
        Property.MESSAGE_EXPIRY_INTERVAL: 60,
        Property.USER_PROPERTY: (("k", "1"), ("k", "2")),
        Property.PAYLOAD_FORMAT_INDICATOR: 1,
        Property.CORRELATION_DATA: b"\0\xff",
    }


def test_a_retained_publish_is_kept_and_an_empty_one_deletes_it(https: LocalEndpoint) -> None:
    def retained() -> bool:
        with WireClient(https) as subscriber:
            subscriber.connected(username=f"u?{NAME}=bearer")
            subscriber.send(Subscribe(1, (SubscribeRequest("a", 0),)), Publish("end", b""))
            subscriber.receive()
            subscriber.send(Subscribe(2, (SubscribeRequest("b", 0),)))
            return isinstance(subscriber.receive(), Publish)

    with HttpClient(https) as client:
        assert client.post("/topics/a?retain=true", b"kept", **BEARER).status == 200
        assert retained()
        assert client.post("/topics/a?retain=true", b"", **BEARER).status == 200
        assert not retained()


def test_only_publishing_is_asked_of_the_policy(make_endpoint: MakeEndpoint) -> None:
    def may_publish(event: object, context: object) -> dict[str, object]:
        return allowing("iot:Publish", "arn:aws:iot:us-east-1:123456789012:topic/allowed")

    endpoint = make_endpoint({"a": may_publish}, default_authorizer="a")
    with HttpClient(endpoint) as client:
        assert client.post("/topics/allowed", b"x").status == 200
        denied = client.post("/topics/other", b"x")
        not_retained = client.post("/topics/allowed?retain=true", b"x")
    assert (denied.status, denied.document["message"]) == (403, "Forbidden")
    assert denied.headers["x-amzn-errortype"] == "ForbiddenException:"
    refused = endpoint.wait_for(events.Refused, cause="publish_not_allowed", status=403, timeout=5)
    assert refused.explanation.startswith("publish to 'other' is not allowed")
    decided = [(each.action, each.allowed) for each in endpoint.events.of_kind(events.Decided)]
    assert decided == [("iot:Publish", False), ("iot:RetainPublish", False)]
    assert not_retained.status == 403
    assert len(endpoint.events.of_kind("published")) == 1


def test_the_policy_sees_the_address_and_no_client_id(make_endpoint: MakeEndpoint) -> None:
    here = {"IpAddress": {"aws:SourceIp": "127.0.0.1/32"}}
    statements = [
        {"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:*:*:topic/a", "Condition": here},
        {"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:*:*:topic/b${iot:ClientId}"},
    ]

    def only_here(event: object, context: object) -> dict[str, object]:
        policy = {"Version": "2012-10-17", "Statement": statements}
        return {"isAuthenticated": True, "principalId": "p", "policyDocuments": [policy]}

    endpoint = make_endpoint({"a": only_here}, default_authorizer="a")
    with HttpClient(endpoint) as client:
        assert client.post("/topics/a").status == 200
        assert client.post("/topics/b").status == 403
        assert client.post("/topics/b%24%7Biot%3AClientId%7D").status == 403


@pytest.mark.parametrize(
    ("headers", "cause"),
    [
        ({}, "authorizer_not_named"),
        ({NAME: "stranger"}, "authorizer_unknown"),
        ({NAME: "off"}, "authorizer_inactive"),
        ({NAME: "signed"}, "token_missing"),
        ({NAME: "signed", "token": "t"}, "signature_missing"),
        ({NAME: "signed", "token": "t", SIGNATURE: "c2VjcmV0"}, "signature_invalid"),
        ({NAME: "no"}, "not_authenticated"),
        ({NAME: "broken"}, "authorizer_failed"),
    ],
)
def test_who_is_not_let_in_gets_403_and_the_log_the_cause(
    make_endpoint: MakeEndpoint, public_key: bytes, headers: dict[str, str], cause: str
) -> None:
    def no(event: object, context: object) -> dict[str, object]:
        return {"isAuthenticated": False}

    def broken(event: dict[str, object], context: object) -> dict[str, object]:
        raise RuntimeError(str(event))

    endpoint = make_endpoint(
        {
            "off": LocalAuthorizer(no, signing_disabled=True, status="INACTIVE"),
            "signed": LocalAuthorizer(no, token_key_name="token", public_keys=(public_key,)),
            "no": no,
            "broken": broken,
        }
    )
    with HttpClient(endpoint) as client:
        # Also what is wrong with the request itself is told to those only who are let in.
        for target in ("/topics/a", "/topics/a?qos=7"):
            reply = client.post(target, b"x", **{name.replace("-", "_"): value for name, value in headers.items()})
            assert (reply.status, reply.document["message"]) == (403, "Forbidden")
    refused = endpoint.wait_for(events.Refused, timeout=5)
    assert (refused.cause, refused.status, refused.reason_code) == (cause, 403, None)
    called = {"not_authenticated", "authorizer_failed"}
    assert bool(endpoint.events.of_kind("authorizer_called")) == (cause in called)


@pytest.fixture(scope="module")
def public_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65_537, 2048).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("method", "target", "status", "cause"),
    [
        ("POST", "/topics/a?qos=2", 400, "publish_invalid"),
        ("POST", "/topics/a%2B", 400, "topic_invalid"),
        ("POST", "/topics/a?responseTopic=" + "b" * 300, 400, "topic_invalid"),
        ("POST", "/topics/", 400, "topic_invalid"),
        ("POST", "/topics/" + "a/" * 9, 400, "topic_invalid"),
        ("POST", "/topics/%24SYS/a", 400, "topic_invalid"),
        ("PUT", "/topics/a", 405, "method_not_allowed"),
        ("GET", "/topics/a", 405, "method_not_allowed"),
        ("POST", "/elsewhere", 404, "path_unknown"),
        ("GET", "/mqtt", 426, "not_an_upgrade"),
    ],
)
def test_a_wrong_request_is_told_why_and_the_connection_goes_on(
    https: LocalEndpoint, method: str, target: str, status: int, cause: str
) -> None:
    with HttpClient(https) as client:
        reply = client.request(method, target, **BEARER)
        assert reply.status == status
        assert (reply.headers.get("x-amzn-errortype") == "InvalidRequestException:") == (status == 400)
        assert re.fullmatch(UUID, reply.document["traceId"])
        refused = https.wait_for(events.Refused, cause=cause, status=status, timeout=5)
        assert reply.document["message"] == refused.explanation
        assert client.post("/topics/a", b"next", **BEARER).status == 200
    assert len(https.events.of_kind("opened")) == 1


def test_one_retained_message_too_many_is_429(https: LocalEndpoint) -> None:
    for number in range(5_000):
        https.publish(f"kept/{number}", b"x", retain=True)
    with HttpClient(https) as client:
        reply = client.post("/topics/a?retain=true", b"x", **BEARER)
        assert reply.status == 429
        assert reply.headers["x-amzn-errortype"] == "ThrottlingException:"
        assert client.post("/topics/kept/1?retain=true", b"y", **BEARER).status == 200


def test_head_gets_405_without_a_body(https: LocalEndpoint) -> None:
    with HttpClient(https) as client:
        reply = client.request("HEAD", "/topics/a")
        assert (reply.status, reply.body) == (405, b"")
        assert reply.headers["allow"] == "POST"
        assert client.post("/topics/a", **BEARER).status == 200


def test_the_largest_payload_fits_and_one_byte_more_does_not(https: LocalEndpoint) -> None:
    with HttpClient(https) as client:
        assert client.post("/topics/a", bytes(131_072), **BEARER).status == 200
        reply = client.post("/topics/a", bytes(131_073), **BEARER)
        assert reply.status == 413
        assert reply.headers["connection"] == "close"
        assert "131,072" in reply.document["message"]
        assert client.post("/topics/a", **BEARER).status == 200  # http.client connects anew
    https.wait_for("turned_away", cause="payload_too_large", timeout=5)


def test_two_clients_share_a_connection_without_sharing_a_grant(make_endpoint: MakeEndpoint) -> None:
    def by_token(event: dict[str, object], context: object) -> dict[str, object]:
        return (
            {"isAuthenticated": event.get("token") == "good"} | allowing("iot:*", "*")
            if (event.get("token") == "good")
            else {"isAuthenticated": False}
        )

    authorizer = LocalAuthorizer(by_token, signing_disabled=True, token_key_name="token", enable_caching_for_http=True)
    endpoint = make_endpoint({"a": authorizer}, default_authorizer="a")
    with HttpClient(endpoint) as client:
        assert [client.post("/topics/a", token=each).status for each in ("good", "bad", "good")] == [200, 403, 200]
        assert client.post("/topics/a?token=bad").status == 403


@pytest.mark.parametrize(("name", "calls"), [("each", 6), ("kept", 2)])  # 2: once for each TCP connection
def test_the_function_is_called_for_each_request_unless_its_result_may_be_kept(
    make_endpoint: MakeEndpoint, name: str, calls: int
) -> None:
    function = Counting()
    endpoint = make_endpoint(
        {
            "each": LocalAuthorizer(function, signing_disabled=True),
            "kept": LocalAuthorizer(function, signing_disabled=True, enable_caching_for_http=True),
        }
    )
    for _ in range(2):
        with HttpClient(endpoint) as client:
            for qos in (0, 1, 1):
                reply = client.post(f"/topics/a?qos={qos}", b"x", token="t", **{NAME.replace("-", "_"): name})
                assert reply.status == 200
    assert len(function.events) == calls


def test_a_kept_grant_ends_with_its_refresh_time(make_endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    from iot_customauth_client.local.server import Server

    function = Counting(allowing("iot:*", "*", refreshAfterInSeconds=300))
    authorizer = LocalAuthorizer(function, signing_disabled=True, enable_caching_for_http=True)
    endpoint = make_endpoint({"a": authorizer}, default_authorizer="a")
    with HttpClient(endpoint) as client:
        for at in (1000.0, 1299.0, 1300.0):
            monkeypatch.setattr(Server, "at", lambda _, at=at: at)
            assert client.post("/topics/a").status == 200
    assert len(function.events) == 2


def test_credentials_in_two_places_are_warned_about(https: LocalEndpoint) -> None:
    with HttpClient(https) as client:
        assert client.post(f"/topics/a?{NAME}=other", **BEARER).status == 200
    warned = https.wait_for(events.Warned, cause="credentials_in_two_places", timeout=5)
    assert "the HTTP headers and also in the URL's query" in warned.explanation


def test_requests_sent_ahead_are_answered_in_order(https: LocalEndpoint) -> None:
    head = f"POST /topics/%d HTTP/1.1\r\nHost: x\r\n{NAME}: bearer\r\nContent-Length: 1\r\n\r\nx"
    with tls_socket(https) as client:
        client.sendall(b"".join((head % number).encode() for number in range(50)) + b"GET / HTTP/1.0\r\n\r\n")
        data = b""
        while chunk := client.recv(65536):
            data += chunk
    assert re.findall(rb"HTTP/1.1 (\d+)", data) == [b"200"] * 50 + [b"404"]
    topics = [event.topic for event in https.events.of_kind(events.Published)]
    assert topics == [str(number) for number in range(50)]


def test_a_client_that_leaves_while_the_function_runs_is_told_apart(make_endpoint: MakeEndpoint) -> None:
    slow = HeldBack()
    endpoint = make_endpoint({"a": slow}, default_authorizer="a")
    with tls_socket(endpoint) as client:
        client.sendall(b"POST /topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        endpoint.wait_for("authorizer_called", timeout=5)
    endpoint.wait_for("closed", timeout=5)
    slow.release.set()
    endpoint.wait_for("turned_away", cause="client_left", timeout=5)
    assert not endpoint.events.of_kind("published")


def test_what_is_sent_ahead_of_an_answer_is_bounded(make_endpoint: MakeEndpoint) -> None:
    slow = HeldBack()
    authorizer = LocalAuthorizer(slow, signing_disabled=True, enable_caching_for_http=True)
    endpoint = make_endpoint({"a": authorizer}, default_authorizer="a")
    request = b"POST /topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)
    with tls_socket(endpoint) as client:
        client.sendall(request)
        endpoint.wait_for("authorizer_called", timeout=5)
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):  # the socket takes no more: TCP holds the client back
            client.sendall(request * 200)
        slow.release.set()
        client.settimeout(10)
        endpoint.wait_for("published", sequence=lambda number: number > 20, timeout=5)


def test_an_idle_connection_is_closed_without_complaint_and_a_slow_one_with(
    https: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limits, "HTTP_IDLE_SECONDS", 0.1)
    with HttpClient(https) as client:
        assert client.post("/topics/a", **BEARER).status == 200
        assert client.connection.sock is not None
        assert client.connection.sock.recv(1) == b""
    https.wait_for("closed", connection=1, timeout=5)
    assert not https.events.of_kind("turned_away")
    monkeypatch.setattr(time_limits, "CONNECT_SECONDS", 0.1)
    with tls_socket(https) as slow:
        slow.sendall(b"POST /topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe")
        assert slow.recv(100) == b""
    turned = https.wait_for(events.TurnedAway, cause="too_slow", timeout=5)
    assert "HTTP request" in turned.explanation


def test_a_second_request_has_as_little_time_as_the_first(
    https: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_limits, "CONNECT_SECONDS", 0.3)
    with HttpClient(https) as client:
        assert client.post("/topics/a", **BEARER).status == 200
        assert client.connection.sock is not None
        client.connection.sock.sendall(b"POST /topics/a HT")
        assert client.connection.sock.recv(1) == b""
    https.wait_for("turned_away", cause="too_slow", timeout=5)


def test_a_client_that_was_let_in_keeps_its_place_when_strangers_come(
    https: LocalEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = https._needs_running().server.peers
    monkeypatch.setattr(peers, "limits", replace(peers.limits, half_open=2))
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(HttpClient(https))
        assert client.post("/topics/a", **BEARER).status == 200
        stranger = stack.enter_context(HttpClient(https))
        assert stranger.post("/topics/a").status == 403
        for _ in range(2):
            stack.enter_context(tls_socket(https))
        turned = https.wait_for(events.TurnedAway, cause="too_many_half_open", timeout=5)
        assert turned.connection == 2  # the stranger
        assert client.post("/topics/a", **BEARER).status == 200
    assert len(https.events.of_kind("published")) == 2


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_publishes_unchanged(https: LocalEndpoint) -> None:
    def curl(*arguments: str) -> tuple[int, bytes]:
        done = subprocess.run(
            ["curl", "-s", "--cacert", str(https.ca_file), "-w", "%{http_code}", *arguments],
            capture_output=True,
            timeout=20,
            check=True,
        )
        return int(done.stdout[-3:]), done.stdout[:-3]

    url = f"https://localhost:{https.port}/topics/devices%2Fcurl"
    status, body = curl("-X", "POST", "-H", f"{NAME}: bearer", "-H", "token: t", "--data", "hello", f"{url}?qos=1")
    assert status == 200
    assert json.loads(body)["message"] == "OK"
    assert https.wait_for(events.Published, topic="devices/curl", timeout=5).payload == b"hello"
    # curl waits for 100 Continue before a large body.
    status, _ = curl("--data-binary", "x" * 100_000, "-H", "Expect: 100-continue", f"{url}?{NAME}=bearer")
    assert status == 200
    status, _ = curl("--data-binary", "x" * 131_000, "-H", "Transfer-Encoding: chunked", f"{url}?{NAME}=bearer")
    assert status == 200
    status, body = curl("--data", "x", f"{url}?{NAME}={quote('stränge')}")
    assert (status, json.loads(body)["message"]) == (403, "Forbidden")


def junk(chance: random.Random) -> bytes:
    request = bytearray(
        f"POST /topics/a?qos=1 HTTP/1.1\r\nHost: x\r\n{NAME}: bearer\r\nContent-Length: 5\r\n\r\nhello".encode()
    )
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(request))
        request[at : at + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 4))
    return bytes(request) * chance.randint(1, 3)


def test_hostile_requests_hurt_nobody(https: LocalEndpoint) -> None:
    chance = random.Random(2)
    for _ in range(100):
        with tls_socket(https) as peer:
            try:
                for byte in [junk(chance)] if chance.random() < 0.8 else [bytes([each]) for each in junk(chance)]:
                    peer.sendall(byte)
                if chance.random() < 0.5:
                    peer.shutdown(socket.SHUT_WR)
            except OSError:
                continue
    with HttpClient(https) as client:
        assert client.post("/topics/a", **BEARER).status == 200
    with WireClient(https) as good:
        good.connected(username=f"u?{NAME}=bearer")
    for number in range(1, 103):
        https.wait_for("closed", connection=number, timeout=15)


def test_mqtt_and_http_are_served_side_by_side(endpoint: LocalEndpoint) -> None:
    with HttpClient(endpoint) as client:
        assert client.post("/topics/a").status == 403
        serves_a_good_client(endpoint)
