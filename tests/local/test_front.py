"""The first bytes: what each kind of client gets, however its bytes were cut."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from tls_clients import client_hello

from iot_customauth_client.local.client_hello import read_client_hello
from iot_customauth_client.local.doors import Alert, ServedNames, TurnAway
from iot_customauth_client.local.front import Front, Hello, Output, Proxied
from iot_customauth_client.local.http_door import http_on_mqtt_door
from iot_customauth_client.local.http_head import MAX_HTTP_HEAD_BYTES, Reply

AWS = "a1b2-ats.iot.eu-west-1.amazonaws.com"
SERVED = ServedNames(["localhost", AWS])
HELLO = client_hello(AWS)
CONNECT = f"CONNECT {AWS}:443 HTTP/1.1\r\nHost: {AWS}:443\r\nProxy-Authorization: Basic c2VjcmV0\r\n\r\n".encode()
MQTT_5 = bytes.fromhex("100f 0004 4d515454 05 02 003c 00 0002 6964".replace(" ", ""))
MQTT_3_1 = bytes.fromhex("1010 0006 4d5149736470 03 02 003c 0002 6964".replace(" ", ""))
SSL_2 = bytes.fromhex("802e 01 0301 0015 0000 0010".replace(" ", "")) + bytes(37)
BAD_HELLO = b"\x16\x03\x01\0\x04\x02\0\0\0"


def outputs_of(pieces: Iterable[bytes]) -> list[Output]:
    front = Front(SERVED)
    return [output for piece in pieces for output in front.receive(piece)]


def only_turn_away(*pieces: bytes) -> TurnAway:
    *before, last = outputs_of(pieces)
    assert isinstance(last, TurnAway)
    assert all(isinstance(output, Reply) for output in before)
    return last


def test_a_client_hello_is_handed_on_with_all_its_bytes() -> None:
    hello = read_client_hello(HELLO)
    assert hello is not None
    assert outputs_of([HELLO[:3], HELLO[3:] + b"early"]) == [Hello(hello, HELLO + b"early")]


def test_connect_to_a_served_name_is_granted_and_the_stream_starts_anew() -> None:
    front = Front(SERVED)
    granted, proxied = front.receive(CONNECT)
    assert isinstance(granted, Reply)
    assert granted.data.startswith(b"HTTP/1.1 200 Connection established\r\n")
    assert granted.data.endswith(b"\r\n\r\n")
    assert proxied == Proxied(f"{AWS}:443")
    (hello,) = front.receive(HELLO)
    assert isinstance(hello, Hello)
    assert (hello.client_hello.server_name, hello.received) == (AWS, HELLO)


def test_a_client_hello_right_behind_connect_is_not_lost() -> None:
    _, _, hello = outputs_of([CONNECT + HELLO])
    assert isinstance(hello, Hello)
    assert hello.received == HELLO


def test_connect_to_a_stranger_is_refused_and_names_what_is_served() -> None:
    reply, turned = outputs_of([b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n"])
    assert isinstance(reply, Reply)
    assert reply.data.startswith(b"HTTP/1.1 403 ")
    assert AWS.encode() in reply.data
    assert isinstance(turned, TurnAway)
    assert turned.cause == "proxy_target_unknown"
    assert "`example.com`" in turned.explanation


def test_connect_to_another_port_is_refused_unless_the_caller_serves_it() -> None:
    request = b"CONNECT localhost:8883 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert only_turn_away(request).cause == "proxy_port_unknown"
    assert Front(SERVED, ports=(443, 8883)).receive(request)[1] == Proxied("localhost:8883")


def test_only_one_connect_per_stream() -> None:
    *_, reply, turned = outputs_of([CONNECT, CONNECT])
    assert isinstance(reply, Reply)
    assert reply.data.startswith(b"HTTP/1.1 400 ")
    assert isinstance(turned, TurnAway)
    assert turned.cause == "connect_twice"


@pytest.mark.parametrize(
    ("data", "cause", "alert", "words"),
    [
        (MQTT_5, "plain_mqtt", None, "plain MQTT without TLS on the TLS port"),
        (MQTT_3_1, "plain_mqtt", None, "plain MQTT without TLS"),
        (b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n", "plain_http", None, "plain HTTP GET without TLS"),
        (b"POST /topics/a HTTP/1.1\r\nHost: x\r\n\r\n", "plain_http", None, "plain HTTP POST without TLS"),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", "plain_http", None, "plain HTTP HEAD without TLS"),
        (b"GET /\xff HTTP/1.1\r\nA B\r\n\r\n", "bad_http", None, "breaks the rules"),
        (b"CONNECT localhost HTTP/1.1\r\nHost: x\r\n\r\n", "bad_http", None, "name:443"),
        (b"CONNECT localhost:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n", "bad_http", None, "body"),
        (
            b"CONNECT localhost:443 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "bad_http",
            None,
            "body",
        ),
        (SSL_2, "ssl_2", 70, "SSL 2"),
        (b"\x15\x03\x03\0\x02\x02\x2a", "tls_without_hello", 10, "no ClientHello"),
        (b"\x17\x03\x03\0\x02ab", "tls_without_hello", 10, "no ClientHello"),
        (BAD_HELLO, "bad_client_hello", 50, "cannot be read"),
        (b"\x05\x01\x00", "socks", None, "HTTP proxy"),
        (b"\x04\x01\x01\xbb\x7f\0\0\x01\0", "socks", None, "HTTP proxy"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "garbage", None, "0x53"),
        (b"\x16\x01", "garbage", None, "0x16"),
        (b"\x10\xff\xff\xff\xff", "garbage", None, "0x10"),
        (b"\x10\x05\0\x04MQTX", "garbage", None, "0x10"),
        (b"\x80\x80\x80\x80", "garbage", None, "0x80"),
        (b"\0", "garbage", None, "0x00"),
        (b"CONNECTED ", "garbage", None, "0x43"),
    ],
)
def test_each_mistake_gets_its_own_explanation(data: bytes, cause: str, alert: int | None, words: str) -> None:
    turned = only_turn_away(data)
    assert (turned.cause, turned.alert) == (cause, alert)
    assert words in turned.explanation
    assert only_turn_away(*(bytes([byte]) for byte in data)) == turned


def test_a_plain_http_request_is_answered_in_http() -> None:
    reply = outputs_of([b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])[0]
    assert isinstance(reply, Reply)
    assert reply.data.startswith(b"HTTP/1.1 400 ")
    assert reply.data.endswith(b"ca.pem\n")


@pytest.mark.parametrize("step", [1, 1_000, 100_000])
def test_an_endless_request_head_is_refused_at_its_limit(step: int) -> None:
    data = b"CONNECT localhost:443 HTTP/1.1\r\nX: " + b"y" * MAX_HTTP_HEAD_BYTES + b"\r\n\r\n"
    reply, turned = outputs_of(data[at : at + step] for at in range(0, len(data), step))
    assert isinstance(reply, Reply)
    assert reply.data.startswith(b"HTTP/1.1 431 ")
    assert isinstance(turned, TurnAway)
    assert turned.cause == "bad_http"


@pytest.mark.parametrize(
    "data",
    [
        CONNECT,
        CONNECT.replace(AWS.encode(), b"secret.example"),
        CONNECT.replace(b"Proxy-Authorization: ", b"Proxy-Authorization:\0 "),
        b"CONNECT c2VjcmV0:secret@localhost:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /mqtt?token=c2VjcmV0 HTTP/1.1\r\nHost: x\r\nX-Token: c2VjcmV0\r\n\r\n",
        b"GET /c2VjcmV0\0 HTTP/1.1\r\n\r\n",
    ],
)
def test_credentials_in_a_request_reach_neither_log_nor_answer(data: bytes) -> None:
    assert "c2VjcmV0" not in repr(outputs_of([data]))


SAMPLES = (HELLO, CONNECT + HELLO, CONNECT + CONNECT, CONNECT + MQTT_5, MQTT_5, SSL_2, BAD_HELLO)


@given(data=st.sampled_from(SAMPLES), cuts=st.lists(st.integers(0, 2_000), max_size=10))
def test_the_outputs_do_not_depend_on_how_the_bytes_were_cut(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(data)]
    assert outputs_of(data[a:b] for a, b in pairwise(edges)) == outputs_of([data])


@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.builds(lambda start, rest: start + rest, st.sampled_from((b"\x16\x03", b"GET ", CONNECT)), st.binary()),
        st.builds(
            lambda data, at, byte: data[: at % len(data)] + bytes([byte]) + data[at % len(data) + 1 :],
            st.sampled_from(SAMPLES),
            st.integers(0, 2_000),
            st.integers(0, 255),
        ),
    ),
    cut=st.integers(0, 700),
)
@settings(max_examples=examples(500))
def test_no_bytes_raise_and_a_turn_away_is_the_last_output(data: bytes, cut: int) -> None:
    front = Front(SERVED)
    outputs = front.receive(data[:cut]) + front.receive(data[cut:])
    assert not [output for output in outputs[:-1] if isinstance(output, (TurnAway, Hello))]
    assert front.progress
    over = bool(outputs) and isinstance(outputs[-1], (TurnAway, Hello))
    assert (front.end() is None) is over
    assert front.receive(b"more") == []


@pytest.mark.parametrize(
    ("data", "progress"),
    [
        (b"", "before its first byte"),
        (b"\x10", "within its first bytes"),
        (HELLO[:12], "after 12 bytes of a ClientHello"),
        (b"GET / HT", "after 8 bytes of an HTTP request"),
        (CONNECT, "after CONNECT, before the ClientHello"),
    ],
    ids=["nothing", "a byte", "TLS", "GET", "CONNECT"],
)
def test_a_client_that_gives_up_is_told_by_how_far_it_came(data: bytes, progress: str) -> None:
    front = Front(SERVED)
    front.receive(data)
    assert front.progress == progress
    turned = front.end()
    assert turned is not None
    assert turned.cause == "closed_early"
    assert turned.explanation.endswith(progress)


def test_http_behind_the_mqtt_alpn_is_explained() -> None:
    turned = http_on_mqtt_door(b"GET /mqtt HTTP/1.1\r\n")
    assert turned is not None
    assert "WebSocket and HTTPS need no ALPN" in turned.explanation
    assert http_on_mqtt_door(MQTT_5) is None
    assert http_on_mqtt_door(b"") is None


def test_alerts_have_the_numbers_of_the_rfc() -> None:
    assert {alert.name: int(alert) for alert in Alert} == {
        "UNEXPECTED_MESSAGE": 10,
        "HANDSHAKE_FAILURE": 40,
        "DECODE_ERROR": 50,
        "PROTOCOL_VERSION": 70,
        "UNRECOGNIZED_NAME": 112,
        "NO_APPLICATION_PROTOCOL": 120,
    }
