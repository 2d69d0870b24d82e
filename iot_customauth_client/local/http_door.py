"""The HTTP door: what a client gets inside TLS that offered no ALPN, or `http/1.1`.

The service reads such a stream as HTTP/1.1: publishing by POST, and MQTT over WebSocket. This version of the local
endpoint serves neither. It says so, honestly, and explains MQTT that came without its ALPN, the usual mistake.
Sans-IO: plaintext in, what to do out. It must never guess: MQTT is not served without ALPN, as in the service.
Source: Dev Guide "Device communication protocols".
"""

from .doors import TurnAway
from .http_head import BadRequest, HttpHead, Reply
from .openings import Opening, recognise


class HttpDoor:
    """The plaintext of a TLS client that offered no ALPN, or `http/1.1`: the service reads it as HTTP.

    HTTPS publishing and WebSocket are not served by this version, so every request is answered 501 Not
    Implemented (RFC 9110 section 15.6.2: the server lacks the functionality), and MQTT is told to offer its ALPN.
    """

    def __init__(self) -> None:
        self._head = bytearray()
        self._http: HttpHead | None = None
        self._over = False

    def receive(self, data: bytes | bytearray) -> list[Reply | TurnAway]:
        """Take plaintext; returns what to do (`Reply.data` is plaintext too), `TurnAway` last."""
        if self._over or not data:
            return []
        if self._http is None:
            self._head += data
            opening = recognise(bytes(self._head))
            if opening is None:
                return []
            if opening is not Opening.HTTP:
                self._over = True
                return [_MQTT_WITHOUT_ALPN if opening is Opening.MQTT else _NOT_HTTP]
            self._http = HttpHead()
            data = bytes(self._head)
        request = self._http.feed(data)
        if request is None:
            return []
        self._over = True
        if isinstance(request, BadRequest):
            turn_away = TurnAway("bad_http", None, request.explanation)
            return [Reply(self._http.answer(request.status, turn_away.explanation)), turn_away]
        what = "a WebSocket upgrade" if request.websocket else f"HTTP {request.method}"
        sentence = (
            f"{what}: this version of the local endpoint serves MQTT over TLS with ALPN `mqtt` only, neither "
            "HTTPS publishing nor WebSocket"
        )
        return [Reply(self._http.answer(501, sentence)), TurnAway("http_not_served", None, sentence)]


def http_on_mqtt_door(head: bytes) -> TurnAway | None:
    """Explain a client that selected ALPN `mqtt` and then speaks HTTP, usually WebSocket; None when it does not.

    `head` is the beginning of the plaintext, at least 8 bytes of it.
    """
    return _HTTP_ON_MQTT_DOOR if recognise(head) is Opening.HTTP else None


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
