"""The HTTP door: what a client gets inside TLS that offered no ALPN, or `http/1.1`.

The service reads such a stream as HTTP/1.1. h11 parses and writes; this file turns its events into whole requests and
holds the bounds. One request at a time, any number on one connection:

    feed ──> next ──> HttpRequest ──answer──> next ──> ...        requests sent ahead wait in their order
                 │         └──────switch──> rest                  the stream goes on as another protocol
                 ├──> Reply: 100 Continue
                 └──> Fault, TurnAway: the last output            it cannot be read on

The outputs do not depend on how the bytes were cut. Sans-IO: plaintext in, what to do out. What a request means is
the business of `http_routes`. Never here: more memory than the bounds below and what was sent ahead, and nothing of a
header or a target in an explanation or a repr, for credentials travel in both.

MQTT is not served without its ALPN, as in the service, and gets no guess but an explanation: it is the usual mistake.
Source: Dev Guide "Device communication protocols"; RFC 9112.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeAlias

import h11

from ..limits import MAX_PAYLOAD_BYTES
from .doors import TurnAway
from .http_head import Reply
from .openings import Opening, recognise

MAX_REQUEST_HEAD_BYTES: Final = 65_536
"""Most bytes of a request line with its headers: a token and its signature fit several times. Our own bound."""
MAX_BODY_BYTES: Final = MAX_PAYLOAD_BYTES
"""A body is a payload."""

_SLICE_BYTES = 16_384
_RECOGNISABLE_BYTES = 16
_VERSIONS = (b"1.0", b"1.1")  # AWS page "HTTPS"

Headers: TypeAlias = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True, repr=False)
class HttpRequest:
    """A whole request. `target` as it was sent; `headers` with names in lower case, in their order."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __repr__(self) -> str:
        return f"HttpRequest({len(self.headers)} headers, {len(self.body)} bytes)"

    def values(self, name: str) -> list[str]:
        """Return the values of a header, which is named in lower case."""
        return [value for key, value in self.headers if key == name]

    def tokens(self, name: str) -> list[str]:
        """Return the members of a header that is a list with commas (RFC 9110 section 5.6.1)."""
        members = (member.strip() for value in self.values(name) for member in value.split(","))
        return [member for member in members if member]


@dataclass(frozen=True, slots=True)
class Fault:
    """The stream cannot be read on: answer with this status, and close.

    cause: a stable slug. explanation: one sentence for the log, and for the client.
    """

    status: int
    cause: str
    explanation: str


Output: TypeAlias = HttpRequest | Reply | Fault | TurnAway


class HttpDoor:
    """The server's end of one HTTP/1.1 connection."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_HEAD_BYTES)
        self._waiting = bytearray()
        self._cycle_bytes = 0
        self._known = False
        self._over = False
        self._unanswered = False
        self._head: h11.Request | None = None
        self._body = bytearray()

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for an answer to the request before them."""
        return len(self._waiting)

    @property
    def within_request(self) -> bool:
        """Whether a request has begun and is not complete."""
        return not (self._over or self._unanswered) and (self._cycle_bytes > 0 or bool(self._waiting))

    def feed(self, data: bytes | bytearray) -> None:
        """Take plaintext."""
        if not self._over:
            self._waiting += data

    def next(self) -> Output | None:
        """Return what to do next; None when more bytes are needed, or an answer to the last request is."""
        while not (self._over or self._unanswered):
            if not self._known:
                opening = recognise(bytes(self._waiting[:_RECOGNISABLE_BYTES]))
                if opening is None:
                    return None
                if opening is not Opening.HTTP:
                    return self._end(_MQTT_WITHOUT_ALPN if opening is Opening.MQTT else _NOT_HTTP)
                self._known = True
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                return self._end(_fault(error))
            if event is h11.NEED_DATA:
                if not self._waiting:
                    return None
                self._fill()
                continue
            output = self._take(event)
            if output is not None:
                return output
        return None

    def answer(self, status: int, headers: Headers, body: bytes) -> bytes:
        """Return the bytes of the answer to the request (or the fault) that came last. `over` may be true then."""
        method = self._head.method if self._head is not None else b""
        framing = [
            ("content-length", str(len(body))),
            ("connection", "close" if self._over else "keep-alive"),  # h11 makes it close where the client wants that
        ]
        response = h11.Response(
            status_code=status, headers=[*headers, *framing], reason=HTTPStatus(status).phrase.encode()
        )
        parts = [self._http.send(response)]
        if method != b"HEAD":  # RFC 9110 section 9.3.2: the headers alone
            parts.append(self._http.send(h11.Data(data=body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        self._unanswered = False
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and not self._over:
            self._http.start_next_cycle()
            self._begin()
        else:
            self._over = True
        return b"".join(part or b"" for part in parts)

    def switch(self, headers: Headers) -> bytes:
        """Return the bytes of 101 Switching Protocols; then the door is `over`, and `rest` the other protocol's."""
        response = h11.InformationalResponse(status_code=101, headers=list(headers), reason=b"Switching Protocols")
        data = self._http.send(response)
        self._over = True
        return data or b""

    @property
    def rest(self) -> bytes:
        """After `switch`: the bytes that came behind the request."""
        return self._http.trailing_data[0] + bytes(self._waiting)

    @property
    def over(self) -> bool:
        """Whether there will be no further request: the connection is to be closed, or was switched."""
        return self._over

    # -- inside -------------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        piece = bytes(self._waiting[:_SLICE_BYTES])
        del self._waiting[: len(piece)]
        self._cycle_bytes += len(piece)
        self._http.receive_data(piece)

    def _begin(self) -> None:
        """Get ready for the next request; what h11 has of it already counts."""
        self._cycle_bytes = len(self._http.trailing_data[0])
        self._head = None
        self._body.clear()

    def _take(self, event: object) -> Output | None:
        match event:
            case h11.Request():
                return self._take_head(event)
            case h11.Data():
                self._body += event.data
                if len(self._body) > MAX_BODY_BYTES:
                    return self._end(_TOO_LARGE)
            case h11.EndOfMessage() if self._head is not None:
                self._unanswered = True
                return _request(self._head, bytes(self._body))
            case _:
                pass
        return None

    def _take_head(self, head: h11.Request) -> Output | None:
        self._head = head
        if self._cycle_bytes - len(self._http.trailing_data[0]) > MAX_REQUEST_HEAD_BYTES:
            return self._end(_HEAD_TOO_LARGE)
        if head.http_version not in _VERSIONS:
            return self._end(Fault(505, "bad_http", "an HTTP version other than 1.0 and 1.1"))
        names = {name for name, _ in head.headers}
        if b"content-length" in names and b"transfer-encoding" in names:
            return self._end(_TWO_LENGTHS)
        announced = next((int(value) for name, value in head.headers if name == b"content-length"), 0)
        if announced > MAX_BODY_BYTES:
            return self._end(_TOO_LARGE)  # before the body is sent, if the client waits for 100
        if self._http.they_are_waiting_for_100_continue:
            reply = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
            return Reply(self._http.send(reply) or b"")
        return None

    def _end(self, output: Fault | TurnAway) -> Output:
        self._over = True
        self._waiting.clear()
        return output


def http_on_mqtt_door(head: bytes) -> TurnAway | None:
    """Explain a client that selected ALPN `mqtt` and then speaks HTTP, usually WebSocket; None when it does not.

    `head` is the beginning of the plaintext, at least 8 bytes of it.
    """
    return _HTTP_ON_MQTT_DOOR if recognise(head) is Opening.HTTP else None


def _request(head: h11.Request, body: bytes) -> HttpRequest:
    headers = ((name.decode("ascii"), value.decode("utf-8", "replace")) for name, value in head.headers)
    if head.http_version == b"1.0":  # RFC 9110 section 7.8: its Upgrade must be ignored
        headers = ((name, value) for name, value in headers if name != "upgrade")
    return HttpRequest(head.method.decode("ascii"), head.target.decode("latin-1"), tuple(headers), body)


def _fault(error: h11.RemoteProtocolError) -> Fault:
    """What h11 cannot read. Its own words may quote a header line, and with it a secret."""
    match error.error_status_hint:
        case 431:
            return _HEAD_TOO_LARGE
        case 501:
            return Fault(501, "bad_http", "a Transfer-Encoding other than chunked: send the body with Content-Length")
        case _:
            return Fault(
                400, "bad_http", _BROKEN_RULES.get(str(error), "an HTTP request that breaks the rules of HTTP/1.1")
            )


_BROKEN_RULES: Final[Mapping[str, str]] = {
    "Missing mandatory Host: header": "an HTTP/1.1 request without a Host header (RFC 9112 section 3.2)",
    "Found multiple Host: headers": "an HTTP request with more than one Host header (RFC 9112 section 3.2)",
    "conflicting Content-Length headers": "an HTTP request with two different Content-Length headers",
    "bad Content-Length": "an HTTP request whose Content-Length is no number of bytes",
}
"""What users meet of h11's errors; whole texts that quote nothing."""

# RFC 9112 section 6.3: where the body ends depends on who reads it, and what follows may be another's request.
_TWO_LENGTHS = Fault(
    400, "bad_http", "an HTTP request with both Content-Length and Transfer-Encoding: send it with one of them"
)
_HEAD_TOO_LARGE = Fault(
    431, "http_head_too_large", f"an HTTP request head of more than {MAX_REQUEST_HEAD_BYTES:,} bytes"
)
_TOO_LARGE = Fault(
    413, "payload_too_large", f"the body has more than the {MAX_BODY_BYTES:,} bytes that AWS IoT Core allows a payload"
)
_MQTT_WITHOUT_ALPN = TurnAway(
    "mqtt_without_alpn",
    None,
    "MQTT inside TLS, but no ALPN: the service reads this as HTTP and hangs up; offer ALPN `mqtt`",
)
_NOT_HTTP = TurnAway(
    "not_http",
    None,
    "no ALPN was offered, so HTTP/1.1 was expected, and something else came; for MQTT offer ALPN `mqtt`",
)
_HTTP_ON_MQTT_DOOR = TurnAway(
    "http_with_mqtt_alpn",
    None,
    "ALPN `mqtt` was offered, and then HTTP came: WebSocket and HTTPS need no ALPN",
)
