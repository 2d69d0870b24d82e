"""The first bytes of a connection: the ClientHello reader, and the front that looks for it, for HTTP and for mistakes.

An input is one byte that says how it is cut, and the bytes. It begins as a ClientHello of OpenSSL's own with odd
options, one that was put together field by field, an HTTP CONNECT with a ClientHello behind it, or the beginning of
something else. Promises:

- nothing is raised but the reader's own two errors, with one short line;
- what is read does not depend on how the bytes were cut, and no bytes are lost on the way to TLS;
- every name that is read is printable ASCII, and is what OpenSSL was told to send;
- no more is held than the bounds, and an explanation never quotes a header.
"""

from __future__ import annotations

import contextlib
import random
import ssl
from functools import cache
from typing import Final

from iot_customauth_client.local.client_hello import (
    MAX_CLIENT_HELLO_BYTES,
    BadClientHello,
    ClientHello,
    ClientHelloReader,
    NotTls,
)
from iot_customauth_client.local.doors import ServedNames, TurnAway, choose_door
from iot_customauth_client.local.front import Front, Hello, Proxied
from iot_customauth_client.local.http_head import Reply

from .cutting import cut_up
from .mutation import mutate
from .target import Outcome, Target, ensure

SECRET: Final = b"hunter2hunter2"
_SERVED: Final = ServedNames(["localhost", "*.iot.eu-west-1.amazonaws.com", "::1"])
_NAMES: Final = (
    *("localhost", "xxxx-ats.iot.eu-west-1.amazonaws.com", "a" * 63 + ".example", "LOCALHOST", "other.example"),
    *("localhost.", "192.0.2.1", "xn--bcher-kva.example"),
)
_ALPN: Final = ((), ("mqtt",), ("http/1.1",), ("x-amzn-mqtt-ca",), ("h2", "http/1.1"), ("mqtt", "http/1.1"), ("x",) * 9)
_STARTS: Final = (
    b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\nProxy-Authorization: Basic %s\r\n\r\n" % SECRET,
    b"CONNECT localhost:443 HTTP/1.0\r\n\r\n",
    b"CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"CONNECT other:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /%s HTTP/1.1\r\nHost: localhost\r\nX-Token: %s\r\n\r\n" % (SECRET, SECRET),
    b"POST /topics/a?t=%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc" % SECRET,
    b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02ab",
    b"\x10\x12\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x04abcd",
    b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10",
    b"\x05\x01\x00",
    b"\x04\x01\x01\xbb\x7f\x00\x00\x01\x00",
    b"\x15\x03\x01\x00\x02\x02\x28",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x00\x00\x00\x00",
)


@cache
def real_hello(name: str, alpn: tuple[str, ...], versions: int, ciphers: str) -> bytes:
    """The ClientHello that OpenSSL sends with these options."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if versions & 1:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if versions & 2:
        context.options |= ssl.OP_NO_TICKET
    if ciphers:
        context.set_ciphers(ciphers)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    out = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name or None)
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return out.read()


def _vector(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width, "big") + content


def _made_hello(seed: random.Random) -> bytes:
    """A ClientHello put together: extensions that repeat, empty lists, names that are no text, many records."""
    extensions = b""
    for _ in range(seed.randrange(6) if seed.random() < 0.95 else seed.choice((300, 3_000, 12_000))):
        kind = seed.choice((0, 16, 43, 10, 0x0A0A, 65_281, seed.randrange(65_536)))
        match kind:
            case 0:
                names = b"".join(
                    bytes((seed.choice((0, 0, 0, 1)),))
                    + _vector(2, seed.choice((b"localhost", b"", b"a\nb", b"\xff\0")))
                    for _ in range(seed.randrange(3))
                )
                content = _vector(2, names)
            case 16:
                content = _vector(
                    2,
                    b"".join(
                        _vector(1, seed.choice((b"mqtt", b"http/1.1", b"\x0a\x0a", b"", b"\x1b[2J", b"x" * 255)))
                        for _ in range(seed.randrange(4))
                    ),
                )
            case 43:
                content = _vector(
                    1, b"".join(seed.choice((b"\x03\x04", b"\x03\x03", b"\x7a\x7a", b"\x00")) for _ in "abc")
                )
            case _:
                content = seed.randbytes(seed.randrange(8))
        extensions += kind.to_bytes(2, "big") + _vector(2, content)
    body = (
        b"\x03\x03" + bytes(32) + _vector(1, bytes(seed.choice((0, 32)))) + _vector(2, b"\x13\x01") + _vector(1, b"\0")
    )
    if seed.random() < 0.95:
        body += _vector(2, extensions[:65_535])
    message = b"\x01" + _vector(3, body)
    size = seed.choice((16_384, 16_384, 300, 40, 1)) if len(message) < 2_000 else seed.choice((16_384, 2_000))
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03" + bytes((seed.choice((1, 3)),)) + _vector(2, piece) for piece in pieces)


def make(seed: random.Random) -> bytes:
    """Bytes that begin a connection, two in three of them damaged."""
    kind = seed.random()
    if kind < 0.35:
        ciphers = seed.choice(("", "ECDHE-RSA-AES128-GCM-SHA256", "ALL:@SECLEVEL=0"))
        data = real_hello(seed.choice(_NAMES), seed.choice(_ALPN), seed.randrange(4), ciphers)
    elif kind < 0.6:
        data = _made_hello(seed)
    elif kind < 0.85:
        data = seed.choice(_STARTS)
        if seed.random() < 0.5:
            data += real_hello("localhost", ("mqtt",), 0, "")
    else:
        head = seed.choice(_STARTS[:6])
        at = head.index(b"\r\n") + 2
        data = head[:at] + b"X-%d: %s\r\n" % (seed.randrange(9), SECRET * seed.choice((1, 100, 1_200))) + head[at:]
    if seed.random() < 0.66:
        data = mutate(data, seed)
    return bytes((seed.randrange(256),)) + data


def run(data: bytes) -> Outcome:
    """Read the bytes whole and in pieces, with the reader alone and with the front."""
    if len(data) < 2:
        return Outcome("too short")
    stream, cut = data[1:], data[0]
    pieces = cut_up(stream, cut, byte_by_byte=8, most=40)
    _check_reader(stream, pieces)
    label = _check_front(stream, pieces)
    return Outcome(label)


def _check_reader(stream: bytes, pieces: list[bytes]) -> None:
    whole = _read([stream])
    ensure(_read(pieces) == whole, "what is read does not depend on how the bytes were cut")
    if isinstance(whole, ClientHello):
        for text in (whole.server_name or "", *whole.alpn, *whole.versions):
            ensure(text.isascii() and text.isprintable() and " " not in text, "a name is printable ASCII")
        ensure(whole.server_name != "", "an empty name is refused")
        answer = choose_door(whole.server_name, whole.alpn, _SERVED)
        if isinstance(answer, TurnAway):
            _check_explanation(answer)
    elif isinstance(whole, str):
        ensure(whole.isprintable() and len(whole) < 200, "an error is one short line")


def _read(pieces: list[bytes]) -> ClientHello | str | None:
    reader = ClientHelloReader()
    fed = b""
    for piece in pieces:
        fed += piece
        try:
            hello = reader.feed(piece)
        except (NotTls, BadClientHello) as error:
            return f"{type(error).__name__}: {error}"
        ensure(reader.received == fed, "no byte is lost on the way to TLS")
        ensure(len(fed) <= MAX_CLIENT_HELLO_BYTES + len(piece), "no more is held than the bound")
        if hello is not None:
            return hello
    return None


def _check_front(stream: bytes, pieces: list[bytes]) -> str:
    whole = _face(stream, [stream])
    again = _face(stream, pieces)
    ensure(whole == again, "what the front does does not depend on how the bytes were cut")
    return " ".join(whole[0]) or "waits"


def _face(stream: bytes, pieces: list[bytes]) -> tuple[list[str], list[object]]:
    front = Front(_SERVED)
    labels: list[str] = []
    outputs: list[object] = []
    fed = 0
    for piece in pieces:
        fed += len(piece)
        for output in front.receive(piece):
            ensure(
                "Hello" not in labels and not any(label.startswith("away") for label in labels), "the last is the last"
            )
            match output:
                case Hello(hello, received):
                    labels.append("Hello")
                    outputs.append(hello)
                    ensure(stream[:fed].endswith(received), "TLS is given the end of what came, and all of it")
                case Reply(reply):
                    labels.append(f"reply {reply[9:12].decode()}")
                    outputs.append(reply)
                    ensure(SECRET not in reply, "an answer quotes no header")
                case Proxied(target):
                    labels.append("proxied")
                    outputs.append(target)
                case TurnAway():
                    labels.append(f"away {output.cause}")
                    outputs.append(output)
                    _check_explanation(output)
        ensure(front.progress.isprintable(), "progress is a line")
    left = front.end()
    if left is not None:
        labels.append("left")
        _check_explanation(left)
    return labels, outputs


def _check_explanation(turn_away: TurnAway) -> None:
    text = turn_away.explanation
    ensure(text.isprintable() and len(text) < 2_000, "an explanation is one line")
    ensure(SECRET.decode() not in text, "an explanation quotes no header")


HELLO: Final = Target(
    "hello",
    0.06,
    make,
    run,
    ("local/client_hello.py", "local/front.py", "local/http_head.py", "local/openings.py", "local/doors.py"),
)
