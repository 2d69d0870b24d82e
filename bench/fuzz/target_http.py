"""HTTP inside TLS: the door that reads requests, where they lead, the publish in one, the upgrade to WebSocket.

An input is one byte that says how it is cut, and the bytes of a connection. Promises:

- nothing is raised; what comes out does not depend on how the bytes were cut; every answer can be read as HTTP;
- a body is never larger than a payload may be, and what waits never more than was sent;
- a publish that is taken can be sent as MQTT 5; a request that is refused says so in one line without a secret;
- what is presented is read as `carriage` says, and no repr shows a value of it.
"""

from __future__ import annotations

import base64
import random
from typing import Final

import h11

from iot_customauth_client.carriage import NAME_PARAMETER, read_query
from iot_customauth_client.local.codec import Publish, Version, encode
from iot_customauth_client.local.doors import TurnAway
from iot_customauth_client.local.http_door import MAX_BODY_BYTES, Fault, HttpDoor, HttpRequest
from iot_customauth_client.local.http_head import Reply
from iot_customauth_client.local.http_names import PUBLISH_PARAMETERS
from iot_customauth_client.local.http_publish import InvalidPublish, read_publication
from iot_customauth_client.local.http_routes import Target as RequestTarget
from iot_customauth_client.local.http_routes import refuse_route, shown_method
from iot_customauth_client.local.presented import HttpPart, MqttPart, Presented, choose_carrier, conflict
from iot_customauth_client.local.redaction import shown_query
from iot_customauth_client.local.websocket_upgrade import grant_headers, refuse_upgrade

from .cutting import cut_up
from .mutation import mutate
from .target import Outcome, Target, ensure

SECRET: Final = "hunter2hunter2hunter2"
_SHOWN_WITH_VALUE: Final = PUBLISH_PARAMETERS | {NAME_PARAMETER}
_METHODS: Final = ("POST", "POST", "POST", "GET", "GET", "PUT", "HEAD", "OPTIONS", "DELETE", "x" * 40)
_PATHS: Final = (
    *(
        "/topics/a",
        "/topics/a/b%2Fc",
        "/topics/%C3%A9",
        "/topics/%ff",
        "/topics/",
        "/topics/a%00",
        "/topics//",
        "/mqtt",
    ),
    *("/mqtt", "/mqtt/", "/topic/a", "http://localhost/topics/a", "*", f"/{SECRET}", "/topics/" + "a" * 3_000),
)
_QUERIES: Final = (
    *("qos=1", "qos=0&retain=true", "qos=2", "retain=maybe", "qos=1&qos=0", "messageExpiry=9999999999999", "qos="),
    *(
        "contentType=a%2Fb&responseTopic=r",
        "responseTopic=%23",
        "contentType=%00",
        "messageExpiry=-1",
        "contentType=%ff",
    ),
    f"x-amz-customauthorizer-name=n&token={SECRET}&x-amz-customauthorizer-signature={SECRET}",
    f"{SECRET}",
    "&" * 500,
    "a=b&" * 3_000,
    "X-Amz-Algorithm=AWS4-HMAC-SHA256",
)
_HEADERS: Final = (
    ("Host", "localhost"),
    ("Host", "localhost"),
    ("x-amz-customauthorizer-name", "n"),
    ("Token", SECRET),
    ("X-Amz-CustomAuthorizer-Signature", SECRET),
    ("Expect", "100-continue"),
    ("Connection", "close"),
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Key", "short"),
    ("Sec-WebSocket-Protocol", "x, mqtt"),
    ("Transfer-Encoding", "chunked"),
    ("Transfer-Encoding", "gzip"),
    ("Content-Length", "99999999999999999999"),
    ("Content-Length", "131073"),
    ("x-amz-mqtt5-user-properties", base64.b64encode(b'[{"a":"b"},{"c":"\xc3\xa9"}]').decode()),
    ("x-amz-mqtt5-user-properties", base64.b64encode(b'[{"a":"\\ud800"}]').decode()),
    ("x-amz-mqtt5-user-properties", base64.b64encode(b"[" * 5_000).decode()),
    ("x-amz-mqtt5-user-properties", base64.b64encode(b'[{"a":' + b"1" * 5_000 + b"}]").decode()),
    ("x-amz-mqtt5-user-properties", "%%"),
    ("x-amz-mqtt5-payload-format-indicator", "UTF8_DATA"),
    ("x-amz-mqtt5-correlation-data", "AAAA"),
    ("Authorization", f"AWS4-HMAC-SHA256 {SECRET}"),
    ("X-Long", "y" * 5_000),
    ("X-Odd", "\x80\xff"),
)
_UPGRADE: Final = (
    b"GET /mqtt?token=%s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n" % SECRET.encode()
)


def make(seed: random.Random) -> bytes:
    """One to three requests, the last of them perhaps an upgrade; half of the inputs damaged."""
    data = b"".join(_request(seed) for _ in range(1 + seed.randrange(3)))
    if seed.random() < 0.15:
        data += _UPGRADE + b"\x82\x85\0\0\0\0hello"
    if seed.random() < 0.05:
        data = seed.choice((b"\x10\x0e\x00\x04MQTT", b"\x82\x85", b"\x16\x03\x01", b" ")) + data
    if seed.random() < 0.5:
        data = mutate(data, seed)
    return bytes((seed.randrange(256),)) + data


def _request(seed: random.Random) -> bytes:
    target = seed.choice(_PATHS)
    if seed.random() < 0.6:
        target += "?" + "&".join(seed.choice(_QUERIES) for _ in range(1 + seed.randrange(3)))
    body = seed.choice((b"", b"{}", bytes(300)))
    if seed.random() < 0.01:
        body = bytes(seed.choice((MAX_BODY_BYTES, MAX_BODY_BYTES + 1)))
    headers = [seed.choice(_HEADERS) for _ in range(seed.randrange(7))]
    if not any(name == "Host" for name, _ in headers):
        headers.append(("Host", "localhost"))
    chunked = seed.random() < 0.2
    if chunked:
        headers = [*(each for each in headers if each[0] != "Content-Length"), ("Transfer-Encoding", "chunked")]
        body = b"".join(b"%x\r\n%s\r\n" % (len(body), body) for _ in range(2) if body) + b"0\r\n\r\n"
    elif body:
        headers.append(("Content-Length", str(len(body))))
    version = seed.choice(("1.1", "1.1", "1.1", "1.0", "2.0"))
    lines = [
        f"{seed.choice(_METHODS)} {target} HTTP/{version}",
        *(f"{name}: {value}" for name, value in headers),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1") + body


def run(data: bytes) -> Outcome:
    """Read the connection whole and in pieces; answer each request, as the endpoint would."""
    if len(data) < 2:
        return Outcome("too short")
    stream, cut = data[1:], data[0]
    labels, outputs = _talk([stream])
    _, again = _talk(cut_up(stream, cut, byte_by_byte=16, most=12))
    ensure(again == outputs, "what comes out does not depend on how the bytes were cut")
    return Outcome(", ".join(labels[-2:]) or "waits", max(1, len(labels)))


def _talk(pieces: list[bytes]) -> tuple[list[str], list[object]]:
    door = HttpDoor()
    labels: list[str] = []
    outputs: list[object] = []
    fed = 0
    for piece in pieces:
        fed += len(piece)
        if door.over:
            break
        door.feed(piece)
        ensure(door.waiting_bytes <= fed, "no more waits than was sent")
        while not door.over and (output := door.next()) is not None:
            outputs.append(output)
            match output:
                case Reply(reply):
                    ensure(reply.startswith(b"HTTP/1.1 100"), "before the answer there is only 100 Continue")
                    labels.append("100")
                case TurnAway():
                    _check_text(output.explanation)
                    labels.append(f"away {output.cause}")
                case Fault():
                    _check_text(output.explanation)
                    _check_answer(door.answer(output.status, [("x-a", "b")], b"{}"), output.status)
                    ensure(door.over, "after a fault it is over")
                    labels.append(f"fault {output.status}")
                case HttpRequest():
                    labels.append(_take(door, output))
    return labels, outputs


def _take(door: HttpDoor, request: HttpRequest) -> str:
    ensure(len(request.body) <= MAX_BODY_BYTES, "a body is a payload")
    ensure(SECRET not in repr(request), "the repr of a request shows nothing of it")
    target = RequestTarget.of(request)
    ensure(SECRET not in repr(target), "the repr of a target shows nothing of it")
    _check_line(target.shown)
    shown_method(request.method)
    _check_presented(request, target)
    status, label = 200, "published"
    refusal = refuse_route(request.method, target)
    if refusal is None and target.upgrades:
        refusal = refuse_upgrade(request)
        if refusal is None:
            ensure(door.switch(grant_headers(request, "trace")).startswith(b"HTTP/1.1 101"), "an upgrade is granted")
            ensure(isinstance(door.rest, bytes) and door.over, "what follows an upgrade is another protocol's")
            return "upgraded"
    elif refusal is None:
        try:
            published = read_publication(request, target)
        except InvalidPublish as error:
            _check_text(str(error))
            status, label = 400, "invalid publish"
        else:
            encode(Publish("t", published.payload, properties=published.properties), Version.MQTT5)
            published.topic.encode()
    if refusal is not None:
        _check_text(refusal.explanation)
        status, label = refusal.answer.status, refusal.cause
    _check_answer(door.answer(status, [("content-type", "application/json")], b'{"message":"x"}'), status)
    return label


def _check_presented(request: HttpRequest, target: RequestTarget) -> None:
    presented = Presented("localhost", HttpPart(request.headers, target.query), MqttPart(target.query, b"p", "client"))
    ensure(SECRET not in repr(presented), "the repr of what is presented shows no value")
    chosen = choose_carrier(presented, "token")
    if chosen is not None:
        ensure(
            chosen.holds(("x-amz-customauthorizer-name", "x-amz-customauthorizer-signature", "token")), "it holds one"
        )
        names = chosen.names()
        ensure(SECRET not in names, "names are no values")
    told = conflict(presented, "token")
    if told is not None:
        _check_text(told)
    if target.query is not None:
        shown = [part.partition("=") for part in target.query.split("&")]
        harmless = any(SECRET in value and name in _SHOWN_WITH_VALUE for name, _, value in shown)
        ensure(harmless or SECRET not in shown_query(target.query), "a query is shown without its values")
        read_query(target.query)
    ensure(presented.has_sigv4 in (True, False), "SigV4 is there or not")


def _check_answer(answer: bytes, status: int) -> None:
    """Have the other end's parser read an answer."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("host", "localhost")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(answer)
    head = reader.next_event()
    ensure(isinstance(head, h11.Response) and head.status_code == status, "an answer can be read")


def _check_text(text: str) -> None:
    ensure(SECRET not in text, "an explanation quotes no secret")
    _check_line(text)


def _check_line(text: str) -> None:
    ensure(text.isprintable() and len(text) < 1_000, "what is told is one line")


HTTP: Final = Target(
    "http",
    0.04,
    make,
    run,
    tuple(
        f"local/{name}.py"
        for name in ("http_door", "http_publish", "http_routes", "presented", "websocket_upgrade", "http_answers")
    ),
)
