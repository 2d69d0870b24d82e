"""One HTTP/1.1 request head, and the one answer it gets.

Before TLS a single request is read and answered for good: a CONNECT, or one that should have come inside TLS, where
`http_door` reads it. h11 parses and writes; here are the size limit and the rule that nothing of a header, nor of a
target, reaches an explanation: credentials travel in both (Proxy-Authorization, query parameters).
"""

from dataclasses import dataclass

try:
    import h11
except ImportError as error:
    raise ImportError('the local endpoint needs h11: pip install "iot-customauth-client[local]"') from error

MAX_HTTP_HEAD_BYTES = 16_384
"""Most bytes of an HTTP request line with its headers."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes to write to the socket as they are."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head. `target` may hold credentials: never log it."""

    method: str
    target: str


@dataclass(frozen=True, slots=True)
class BadRequest:
    """What arrived is no request that can be served; `explanation` is one line for the log and the answer."""

    status: int
    explanation: str


class HttpHead:
    """One HTTP/1.1 request, read up to the end of its headers, and the answer to it.

    `received` counts the bytes fed, whatever became of them.
    """

    __slots__ = ("_connection", "_method", "_rest", "received")

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HTTP_HEAD_BYTES)
        self._method = ""
        self._rest = b""
        self.received = 0

    def feed(self, data: bytes | bytearray) -> Request | BadRequest | None:
        """Take bytes; None while the head is incomplete."""
        # h11 never sees more than the limit, so that a head that is too long is so however it was cut.
        room = MAX_HTTP_HEAD_BYTES - self.received
        self.received += len(data)
        self._connection.receive_data(bytes(data[:room]))
        self._rest = bytes(data[room:])
        try:
            request = self._next_request()
        except h11.RemoteProtocolError:
            # h11's own words may quote a header line, and with it a secret.
            return BadRequest(400, "an HTTP request that breaks the rules of HTTP/1.1")
        if request is None and self.received >= MAX_HTTP_HEAD_BYTES:
            return BadRequest(431, f"an HTTP request head of {MAX_HTTP_HEAD_BYTES} bytes or more")
        return request

    def _next_request(self) -> Request | BadRequest | None:
        event = self._connection.next_event()
        if not isinstance(event, h11.Request):
            return None
        self._method = event.method.decode("ascii", "replace")
        if self._method == "CONNECT":
            if any(_announces_body(name, value) for name, value in event.headers):
                # What follows a granted CONNECT is another protocol.
                return BadRequest(400, "an HTTP CONNECT with a body")
            self._connection.next_event()  # EndOfMessage: only now can h11 switch protocols
        return Request(
            method=self._method,
            target=event.target.decode("ascii", "replace"),
        )

    @property
    def rest(self) -> bytes:
        """The bytes after the request's head."""
        return self._connection.trailing_data[0] + self._rest

    def establish(self) -> bytes:
        """Grant a CONNECT (RFC 9110 section 9.3.6)."""
        response = h11.Response(status_code=200, headers=[], reason=b"Connection established")
        return self._connection.send(response) or b""

    def answer(self, status: int, text: str) -> bytes:
        """Answer in plain text and close."""
        body = f"{text}\n".encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        response = h11.Response(status_code=status, headers=headers, reason=_REASON_PHRASES[status])
        answer = [self._connection.send(response)]
        if self._method != "HEAD":  # RFC 9110 section 9.3.2: the headers alone
            answer.append(self._connection.send(h11.Data(data=body)))
        answer.append(self._connection.send(h11.EndOfMessage()))
        return b"".join(part or b"" for part in answer)


def _announces_body(name: bytes, value: bytes) -> bool:
    return name == b"transfer-encoding" or (name == b"content-length" and int(value) != 0)


_REASON_PHRASES = {
    400: b"Bad Request",
    403: b"Forbidden",
    431: b"Request Header Fields Too Large",
}
