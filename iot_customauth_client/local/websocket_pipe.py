"""MQTT in WebSocket messages, seen from the server, after the upgrade.

A message may hold a part of a packet or several (MQTT-6.0.0-2), and come in any number of frames: all of them are one
stream of bytes here, nothing of which is kept, so there is no bound to a message's size; that of a packet is the
decoder's. To the client each packet is a message of its own, which also clients understand that expect just that.

    open ──Close from the client: answered──────────> over
      │ ──text, unmasked, anything RFC 6455 forbids──> violated (sending is still possible) ──close──> over
      └──close──> over

wsproto frames and unmasks. No extension is negotiated, so compression is a violation.
Never here: a reaction to what a message means, and a word of it in an explanation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .pipes import Piped, PipeEnd

try:
    from wsproto.connection import Connection, ConnectionState, ConnectionType
    from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
    from wsproto.frame_protocol import CloseReason
except ImportError as error:
    from .words import LOCAL_EXTRA

    raise ImportError(LOCAL_EXTRA) from error

_BINARY_RULE: Final = "MQTT-6.0.0-1"
_TEXT_FRAME: Final = "a WebSocket text frame came: MQTT travels in binary frames"
_CLOSE_REASON: Final = "CLOSE reason"
"""What wsproto's message has where the text of a Close frame is not UTF-8, and not a text frame."""


class WebSocketPipe:
    """One WebSocket that carries MQTT."""

    __slots__ = ("_close_code", "_ended", "_websocket")

    def __init__(self) -> None:
        self._websocket = Connection(ConnectionType.SERVER)
        self._close_code = int(CloseReason.NORMAL_CLOSURE)
        self._ended = False

    def receive(self, plaintext: bytes) -> Piped:
        """Take plaintext and return what the messages hold; answers to Ping and Close are to be written back."""
        payload: list[bytes] = []
        to_write: list[bytes] = []
        if self._ended or not plaintext:
            return Piped(b"")
        self._websocket.receive_data(plaintext)
        end: PipeEnd | None = None
        for event in self._websocket.events():
            match event:
                case BytesMessage():
                    payload.append(bytes(event.data))
                case Ping():
                    to_write.append(self._websocket.send(event.response()))
                case TextMessage():
                    end = self._violated(CloseReason.UNSUPPORTED_DATA, _TEXT_FRAME, _BINARY_RULE)
                case CloseConnection() if self._websocket.state is ConnectionState.REMOTE_CLOSING:
                    to_write.append(self._websocket.send(event.response()))
                    end = PipeEnd(None)
                case CloseConnection(code=CloseReason.INVALID_FRAME_PAYLOAD_DATA, reason=str(reason)) if (
                    _CLOSE_REASON not in reason
                ):  # MQTT in text frames is rarely UTF-8
                    end = self._violated(event.code, _TEXT_FRAME, _BINARY_RULE)
                case CloseConnection():  # wsproto's word for frames that it cannot read
                    end = self._violated(
                        event.code, f"WebSocket frames that break the rules of RFC 6455: {event.reason or 'unreadable'}"
                    )
                case _:
                    pass  # a Pong asks for nothing
            if end is not None:
                self._ended = True
                break
        return Piped(b"".join(payload), b"".join(to_write), end)

    def send(self, packets: Sequence[bytes]) -> bytes:
        """Return one binary message for each packet; b"" once a Close was sent."""
        if self._websocket.state is not ConnectionState.OPEN:
            return b""
        return b"".join(self._websocket.send(BytesMessage(data=packet)) for packet in packets)

    def close(self) -> bytes:
        """Return the Close frame, with the code that fits; b"" if one was sent already."""
        self._ended = True
        if self._websocket.state is not ConnectionState.OPEN:
            return b""
        return self._websocket.send(CloseConnection(code=self._close_code))

    def _violated(self, code: int, violation: str, rule: str = "") -> PipeEnd:
        self._close_code = int(code)
        return PipeEnd(violation, rule)
