"""What lies between the plaintext of TLS and the bytes of MQTT: nothing, or WebSocket.

    socket <─> TLS <─> Pipe <─> Decoder, encode

A pipe is sans-IO. MQTT's bytes come out of `receive` in their order, cut anywhere; packets go in whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .quick_values import quickly_made


@dataclass(frozen=True, slots=True)
class PipeEnd:
    """Nothing more comes out of a pipe.

    violation: the peer broke the pipe's own protocol, and how; None if it ended in good order.
    """

    violation: str | None
    rule: str = ""


@quickly_made
@dataclass(frozen=True, slots=True)
class Piped:
    """What one `receive` gave: bytes of MQTT, plaintext to write back, and the end if it came."""

    payload: bytes
    to_write: bytes = b""
    end: PipeEnd | None = None


class Pipe(Protocol):
    """One connection's layer between TLS and MQTT, seen from the server."""

    def receive(self, plaintext: bytes) -> Piped:
        """Take plaintext. After the end nothing comes out any more."""
        ...

    def send(self, packets: Sequence[bytes]) -> bytes:
        """Return the plaintext for encoded packets."""
        ...

    def close(self) -> bytes:
        """Return the last plaintext before TLS closes; b"" if there is none to send."""
        ...


class PlainPipe:
    """MQTT directly inside TLS."""

    __slots__ = ()

    def receive(self, plaintext: bytes) -> Piped:
        """Hand on."""
        return Piped(plaintext)

    def send(self, packets: Sequence[bytes]) -> bytes:
        """Join."""
        return packets[0] if len(packets) == 1 else b"".join(packets)

    def close(self) -> bytes:
        """Say nothing: TLS has its own close."""
        return b""
