"""Publishing over HTTPS from threads: what is sent, what the answers mean, and a connection that is kept."""

from __future__ import annotations

import base64
import gc
import json
import socket
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme
from client_support import WAIT
from door_servers import FORBIDDEN, ConnectProxy, HttpDoor, Reply, Seen, all_told_by
from threaded_server import ThreadedServer

from iot_customauth_client import (
    AuthenticationRefused,
    ConfigurationError,
    ConnectError,
    ConnectionClosed,
    ConnectionSettings,
    Credentials,
    CredentialsExpired,
    CustomAuthError,
    EndpointUnreachable,
    HttpsPublisher,
    HttpsResult,
    InvalidTopic,
    NotSupported,
    OperationError,
    OperationTimeout,
    PayloadTooLarge,
    ProxyRefused,
    Throttled,
    TlsFailed,
    close_all,
)

pytest_plugins = ("door_servers",)

TOKEN = "header.payload-with-%41-and-a-+"
SIGNATURE = "ab+/cd=="
SIGNED = Credentials.from_signed_token(
    TOKEN, SIGNATURE, token_key_name="Token-Key", authorizer="gate=,@", parameters={"more": "1 2"}
)
PARAMETERS = [
    ("x-amz-customauthorizer-name", "gate=,@"),
    ("x-amz-customauthorizer-signature", SIGNATURE),
    ("Token-Key", TOKEN),
    ("more", "1 2"),
]
SECRETS = (TOKEN, SIGNATURE)
PLACES = pytest.mark.parametrize("place", ["headers", "query"])
OK_TRACE = "11111111-2222-3333-4444-555555555555"


# -- what is sent -----------------------------------------------------------------------------------------------------


@PLACES
def test_a_message_arrives_with_every_property_in_its_documented_place(place: Any, door: HttpDoor) -> None:
    with HttpsPublisher(door.settings(), SIGNED) as publisher:
        result = publisher.publish(
            "devices/d\u00e9 1/up",
            b"\x00payload",
            credentials_in=place,
            qos=0,
            retain=True,
            expiry_seconds=300,
            content_type="text/plain; charset=utf-8",
            response_topic="answers/1",
            correlation_data=b"\xff\x00",
            user_properties=[("k", "v"), ("k", "\u00fc+&")],
        )
    assert result == HttpsResult(trace_id=OK_TRACE, status=200)
    (seen,) = door.publishes()
    assert (seen.method, seen.body) == ("POST", b"\x00payload")
    assert seen.path.path == "/topics/devices%2Fd%C3%A9%201%2Fup"
    properties = [
        ("qos", "0"),
        ("retain", "true"),
        ("contentType", "text/plain; charset=utf-8"),
        ("responseTopic", "answers/1"),
        ("messageExpiry", "300"),
    ]
    assert list(seen.path.parameters) == properties + (PARAMETERS if place == "query" else [])
    assert json.loads(base64.b64decode(seen.headers.get("x-amz-mqtt5-user-properties") or "")) == [
        {"k": "v"},
        {"k": "\u00fc+&"},
    ]
    assert base64.b64decode(seen.headers.get("x-amz-mqtt5-correlation-data") or "") == b"\xff\x00"
    for name, value in PARAMETERS:
        assert seen.headers.get(name) == (value if place == "headers" else None)
    assert seen.headers.get("host") == f"localhost:{door.port}"
    assert door.alpn == [None]
    assert door.server_names == ["localhost"]


def test_nothing_is_sent_that_was_not_given(door: HttpDoor) -> None:
    with HttpsPublisher(door.settings(), Credentials()) as publisher:
        publisher.publish("t", json={"a": None})
        publisher.publish("t")
    first, second = door.publishes()
    assert (first.target, first.body) == ("/topics/t?qos=1", b'{"a":null}')
    assert [name.lower() for name, _ in first.raw_headers] == ["host", "content-length"]
    assert (second.body, second.headers.get("content-length")) == (b"", "0")


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (InvalidTopic, {"topic": "a/+"}),
        (InvalidTopic, {"topic": "t", "response_topic": "#"}),
        (PayloadTooLarge, {"topic": "t", "payload": b"x" * 131_073}),
        (NotSupported, {"topic": "t", "qos": 2}),
        (ConfigurationError, {"topic": "t", "payload": b"x", "json": 1}),
        (ConfigurationError, {"topic": "t", "credentials_in": "connect"}),
        (ConfigurationError, {"topic": "t", "timeout": 0}),
        (ConfigurationError, {"topic": "t", "user_properties": [("k", 1)]}),
        (ConfigurationError, {"topic": "t", "content_type": "\ud800"}),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is_dialled(
    kind: type[CustomAuthError], arguments: dict[str, Any], door: HttpDoor
) -> None:
    with HttpsPublisher(door.settings(), SIGNED) as publisher, pytest.raises(kind):
        publisher.publish(**arguments)
    assert door.accepted == 0


@PLACES
def test_a_user_name_or_password_is_refused_since_https_has_no_place_for_it(place: Any, door: HttpDoor) -> None:
    credentials = Credentials.from_password("marker-user", "marker-password")
    with HttpsPublisher(door.settings(), credentials) as publisher, pytest.raises(ConfigurationError) as caught:
        publisher.publish("t", credentials_in=place)
    assert caught.value.code == "credentials_not_for_https"
    assert "parameters" in str(caught.value)
    assert "marker" not in all_told_by(caught.value)


def test_a_parameter_named_like_a_property_travels_in_headers_only(door: HttpDoor) -> None:
    credentials = Credentials.from_bearer_token("x", token_key_name="qos")
    with HttpsPublisher(door.settings(), credentials) as publisher:
        with pytest.raises(ConfigurationError, match="read as a property"):
            publisher.publish("t", credentials_in="query")
        publisher.publish("t", credentials_in="headers")
    assert door.publishes()[0].headers.get("qos") == "x"


def test_expired_credentials_are_not_sent(door: HttpDoor) -> None:
    credentials = Credentials.from_bearer_token("x", token_key_name="k", expires_in_seconds=-1)
    with HttpsPublisher(door.settings(), credentials) as publisher, pytest.raises(CredentialsExpired):
        publisher.publish("t")
    assert door.accepted == 0


def test_alpn_mqtt_is_refused_with_the_reason(door: HttpDoor) -> None:
    with pytest.raises(ConfigurationError, match="selects MQTT"):
        HttpsPublisher(door.settings(alpn="mqtt"), SIGNED)


def test_an_alpn_name_that_was_asked_for_is_offered(door: HttpDoor) -> None:
    with HttpsPublisher(door.settings(alpn="http/1.1"), SIGNED) as publisher:
        publisher.publish("t")
    assert door.alpn == ["http/1.1"]


# -- what the answers mean --------------------------------------------------------------------------------------------


@PLACES
@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (401, FORBIDDEN, AuthenticationRefused, "authentication_refused"),
        (403, FORBIDDEN, AuthenticationRefused, "authentication_refused"),
        (400, b'{"message":"bad topic","traceId":"t"}', InvalidTopic, "invalid_topic"),
        (400, b'{"message":"payload over the limit","traceId":"t"}', PayloadTooLarge, "payload_too_large"),
        (400, b'{"message":"InvalidRequest","traceId":"t"}', OperationError, "request_refused"),
        (404, b"<html>not here</html>", OperationError, "request_refused"),
        (405, b"", OperationError, "request_refused"),
        (413, b"", PayloadTooLarge, "payload_too_large"),
        (431, b"", OperationError, "request_head_too_large"),
        (429, b'{"message":"Throttled","traceId":"t"}', Throttled, "throttled"),
        (302, b"", EndpointUnreachable, "redirected"),
        (500, b"[[[[" * 5000, EndpointUnreachable, "server_unavailable"),
        (503, b"", EndpointUnreachable, "server_unavailable"),
    ],
)
def test_each_answer_is_the_error_that_it_means_and_the_connection_goes_on(
    place: Any, status: int, body: bytes, kind: type[CustomAuthError], code: str, door: HttpDoor
) -> None:
    door.answer = lambda _seen: Reply(status=status, body=body)
    with HttpsPublisher(door.settings(), SIGNED) as publisher:
        with pytest.raises(kind) as caught:
            publisher.publish("devices/1", b"x", credentials_in=place)
        error = caught.value
        assert type(error) is kind
        assert (error.code, error.phase) == (code, "connected")
        assert f"HTTP {status}" in error.message
        assert error.elapsed_seconds is not None
        assert error.trace_id == (json.loads(body)["traceId"] if body.startswith(b"{") else None)
        assert not any(secret in all_told_by(error) for secret in SECRETS)
        door.answer = lambda _seen: Reply()
        publisher.publish("devices/1", b"y", credentials_in=place)
    assert door.accepted == 1


def test_a_refusal_names_the_policy_action_and_keeps_the_trace_id(door: HttpDoor) -> None:
    door.answer = lambda _seen: Reply(status=403, body=FORBIDDEN)
    with HttpsPublisher(door.settings(), SIGNED) as publisher, pytest.raises(AuthenticationRefused) as caught:
        publisher.publish("devices/1", b"x", retain=True)
    error = caught.value
    assert (error.reason_code, error.reason_string) == (403, "Forbidden")
    assert error.trace_id == "99999999-aaaa-bbbb-cccc-dddddddddddd"
    assert error.trace_id in str(error)
    assert any("iot:RetainPublish on topic/devices/1" in cause for cause in error.likely_causes)


def test_a_trace_id_in_the_header_alone_is_found(door: HttpDoor) -> None:
    door.answer = lambda _seen: Reply(body=b"", headers=(("x-amzn-RequestId", "from-header"),))
    with HttpsPublisher(door.settings(), SIGNED) as publisher:
        assert publisher.publish("t").trace_id == "from-header"


# -- a connection that is kept ----------------------------------------------------------------------------------------


def test_all_messages_go_over_one_connection(door: HttpDoor) -> None:
    with HttpsPublisher(door.settings(), SIGNED) as publisher:
        for number in range(20):
            publisher.publish("t", str(number))
    assert [seen.body for seen in door.publishes()] == [str(number).encode() for number in range(20)]
    assert {seen.connection for seen in door.publishes()} == {1}
    door.wait(lambda: door.open == 0)  # and it is closed in the end


def test_a_connection_closed_between_requests_is_dialled_again(door: HttpDoor) -> None:
    with HttpsPublisher(door.settings(), SIGNED) as publisher:
        publisher.publish("t", b"1")
        door.hang_up()
        door.wait(lambda: door.open == 0)
        publisher.publish("t", b"2")
        door.answer = lambda _seen: Reply(close=True)
        publisher.publish("t", b"3")
        publisher.publish("t", b"4")
    assert [(seen.body, seen.connection) for seen in door.publishes()] == [
        *((b"1", 1), (b"2", 2), (b"3", 2), (b"4", 3)),
    ]


def test_a_kept_connection_that_dies_under_a_request_is_dialled_once_more_and_only_once(door: HttpDoor) -> None:
    def dying(seen: Seen) -> Reply:
        if seen.body != b"first":
            raise EOFError  # the server's thread ends, and with it the connection, without an answer
        return Reply()

    door.answer = dying
    with HttpsPublisher(door.settings(), SIGNED) as publisher:
        publisher.publish("t", b"first")
        with pytest.raises(ConnectError) as caught:
            publisher.publish("t", b"second")
        assert (caught.value.code, "may have arrived" in caught.value.message) == ("connection_lost", True)
        assert [seen.connection for seen in door.publishes() if seen.body == b"second"] == [1, 2]
        door.answer = lambda _seen: Reply()
        publisher.publish("t", b"third")


def test_a_first_request_that_is_hung_up_on_is_not_sent_again(door: HttpDoor) -> None:
    def dying(_seen: Seen) -> Reply:
        raise EOFError

    door.answer = dying
    with HttpsPublisher(door.settings(), SIGNED) as publisher, pytest.raises(ConnectError):
        publisher.publish("t", b"once")
    assert len(door.publishes()) == 1


def test_threads_share_the_connection_and_each_gets_its_own_answer(door: HttpDoor) -> None:
    def by_body(seen: Seen) -> Reply:
        return Reply(body=json.dumps({"message": "OK", "traceId": f"trace-{seen.body.decode()}"}).encode())

    door.answer = by_body
    with HttpsPublisher(door.settings(), SIGNED) as publisher, ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: publisher.publish("t", str(number)).trace_id, range(80)))
    assert results == [f"trace-{number}" for number in range(80)]
    assert door.accepted == 1


def test_an_answer_that_does_not_come_in_time_costs_the_connection_not_the_next_message(door: HttpDoor) -> None:
    never = threading.Event()
    door.answer = lambda _seen: Reply(delay=never, body=b'{"traceId":"late"}')
    with HttpsPublisher(door.settings(), SIGNED) as publisher:
        with pytest.raises(OperationTimeout) as caught:
            publisher.publish("t", b"1", timeout=0.3)
        assert (caught.value.stage, "may still" in caught.value.message) == ("sent", True)
        door.answer = lambda _seen: Reply()
        assert publisher.publish("t", b"2").trace_id == OK_TRACE
        never.set()
    assert [seen.connection for seen in door.publishes()] == [1, 2]


def test_a_message_that_waits_too_long_behind_another_is_never_sent(door: HttpDoor) -> None:
    later = threading.Event()
    door.answer = lambda _seen: Reply(delay=later)
    with HttpsPublisher(door.settings(), SIGNED) as publisher, ThreadPoolExecutor(1) as pool:
        first = pool.submit(publisher.publish, "t", b"1")
        door.wait(lambda: len(door.publishes()) == 1)
        with pytest.raises(OperationTimeout) as caught:
            publisher.publish("t", b"2", timeout=0.2)
        assert caught.value.stage == "queued"
        later.set()
        first.result(WAIT)
        publisher.publish("t", b"3")
    assert [seen.body for seen in door.publishes()] == [b"1", b"3"]
    assert door.accepted == 1


def test_an_answer_before_the_whole_body_was_read_counts(door_authority: trustme.CA, door_ca_file: Path) -> None:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    door_authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA).configure_cert(context)

    def impatient(plain: socket.socket, _number: int) -> None:
        with context.wrap_socket(plain, server_side=True) as secure:
            secure.recv(64)
            secure.sendall(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            while secure.recv(65_536):  # closing now would reset the connection, and the answer with it
                pass

    with ThreadedServer(impatient) as server:
        settings = ConnectionSettings(endpoint="localhost", port=server.port, ca_file=door_ca_file)
        with HttpsPublisher(settings, SIGNED) as publisher, pytest.raises(PayloadTooLarge):
            publisher.publish("t", b"x" * 131_072)


# -- when there is no connection --------------------------------------------------------------------------------------


def test_a_port_where_nothing_listens_is_unreachable_and_later_reached(door_authority: Any, door_ca_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    settings = ConnectionSettings(endpoint="localhost", port=port, ca_file=door_ca_file)
    with HttpsPublisher(settings, SIGNED) as publisher:
        for _ in range(2):
            with pytest.raises(EndpointUnreachable) as caught:
                publisher.publish("t")
            assert (caught.value.code, caught.value.phase) == ("tcp_failed", "tcp")


def test_a_name_that_does_not_resolve_is_named(door_ca_file: Path) -> None:
    settings = ConnectionSettings(endpoint="nowhere.invalid", ca_file=door_ca_file)
    with HttpsPublisher(settings, SIGNED) as publisher, pytest.raises(EndpointUnreachable) as caught:
        publisher.publish("t")
    assert caught.value.code == "dns_failed"


def test_a_certificate_that_is_not_trusted_is_refused_within_seconds(door: HttpDoor, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    with HttpsPublisher(door.settings(ca_file=stranger), SIGNED) as publisher:
        with pytest.raises(TlsFailed) as caught:
            publisher.publish("t", timeout=9)
        assert (caught.value.code, caught.value.verdict) == ("certificate_refused", True)
    assert door.requests == []


def test_a_ca_file_that_is_missing_is_a_configuration_error(door: HttpDoor, tmp_path: Path) -> None:
    with (
        HttpsPublisher(door.settings(ca_file=tmp_path / "none.pem"), SIGNED) as publisher,
        pytest.raises(ConfigurationError) as caught,
    ):
        publisher.publish("t")
    assert caught.value.code == "ca_file_unreadable"


def test_a_port_that_takes_connections_and_says_nothing_ends_in_a_timeout_that_says_so(door_ca_file: Path) -> None:
    over = threading.Event()
    with ThreadedServer(lambda _socket, _number: bool(over.wait(WAIT)) and None) as silent:
        settings = ConnectionSettings(endpoint="localhost", port=silent.port, ca_file=door_ca_file)
        publisher = HttpsPublisher(settings, SIGNED)
        with pytest.raises(OperationTimeout) as caught:
            publisher.publish("t", timeout=0.5)
        assert caught.value.stage == "queued"
        publisher.close(timeout=1)
        over.set()


# -- through a proxy --------------------------------------------------------------------------------------------------


@PLACES
def test_a_proxy_with_basic_authentication_lets_messages_through(
    place: Any, door: HttpDoor, proxy: ConnectProxy
) -> None:
    with HttpsPublisher(door.settings(http_proxy=proxy.url), SIGNED) as publisher:
        publisher.publish("t", b"1", credentials_in=place)
        publisher.publish("t", b"2", credentials_in=place)
    assert proxy.targets == [f"localhost:{door.port}"]
    assert [seen.body for seen in door.publishes()] == [b"1", b"2"]


def test_the_proxy_of_the_environment_is_used_when_asked_for(
    door: HttpDoor, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "")
    with HttpsPublisher(door.settings(http_proxy="env"), SIGNED) as publisher:
        publisher.publish("t", b"1")
    assert proxy.targets == [f"localhost:{door.port}"]


def test_a_proxy_that_wants_other_credentials_is_named(door: HttpDoor, proxy: ConnectProxy) -> None:
    wrong = f"http://proxy-user:marker-wrong-77@127.0.0.1:{proxy.port}"
    with HttpsPublisher(door.settings(http_proxy=wrong), SIGNED) as publisher, pytest.raises(ProxyRefused) as caught:
        publisher.publish("t")
    assert caught.value.status == 407
    assert "marker-wrong-77" not in all_told_by(caught.value)
    assert door.accepted == 0


# -- the end ----------------------------------------------------------------------------------------------------------


def test_close_waits_for_what_is_being_published_and_refuses_what_comes_after(door: HttpDoor) -> None:
    later = threading.Event()
    door.answer = lambda _seen: Reply(delay=later)
    publisher = HttpsPublisher(door.settings(), SIGNED)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(publisher.publish, "t", b"1")
        door.wait(lambda: len(door.publishes()) == 1)
        closing = pool.submit(publisher.close)
        later.set()
        closing.result(WAIT)
        assert first.result(WAIT).status == 200
    publisher.close()
    with pytest.raises(ConnectionClosed):
        publisher.publish("t")
    door.wait(lambda: door.open == 0)


def test_close_does_not_wait_for_ever(door: HttpDoor) -> None:
    never = threading.Event()
    door.answer = lambda _seen: Reply(delay=never)
    publisher = HttpsPublisher(door.settings(), SIGNED)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(publisher.publish, "t", b"1")
        door.wait(lambda: len(door.publishes()) == 1)
        publisher.close(timeout=0.2)
        assert isinstance(first.exception(WAIT), ConnectionClosed)
    never.set()


def test_close_all_closes_publishers_too(door: HttpDoor) -> None:
    publisher = HttpsPublisher(door.settings(), SIGNED)
    publisher.publish("t")
    close_all()
    door.wait(lambda: door.open == 0)
    with pytest.raises(ConnectionClosed):
        publisher.publish("t")


def test_a_publisher_that_is_dropped_is_collected_and_its_connection_closed(door: HttpDoor) -> None:
    publisher = HttpsPublisher(door.settings(), SIGNED)
    publisher.publish("t")
    kept = weakref.ref(publisher._core.connection)
    del publisher
    gc.collect()
    door.wait(lambda: door.open == 0)
    assert kept() is None


def test_nothing_that_is_printed_holds_a_secret(door: HttpDoor) -> None:
    publisher = HttpsPublisher(door.settings(), SIGNED)
    assert repr(publisher) == f"HttpsPublisher(localhost:{door.port})"
    publisher.close()
