"""What is spoken inside TLS on one connection, and the line it is spoken over.

`ClientConnection` owns TLS and the time limits, its `TcpStream` the socket, and neither knows of MQTT or HTTP; a `Talk`
knows one of them and owns no socket. A connection has one talk at a time: MQTT, or HTTP that an upgrade may turn into
MQTT.
"""

from __future__ import annotations

import enum
from typing import Protocol

from .codec import Packet


class Stage(enum.Enum):
    """How far a connection has come. The values end the sentence "the client closed the connection ..."."""

    FRONT = "before its ClientHello"
    TLS = "within the TLS handshake"
    HTTP = "before a complete HTTP request or CONNECT"
    IDLE = "between two HTTP requests"
    CONNECT = "after the TLS handshake, before a complete CONNECT"
    AUTHORIZER = "while the authorizer ran"
    LIVE = "connected"
    LEAVING = "leaving"


HALF_OPEN = frozenset({Stage.FRONT, Stage.TLS, Stage.HTTP, Stage.CONNECT})
"""Stages in which a peer has not shown yet that it is a client, or has left something half said."""


class Talk(Protocol):
    """One protocol inside TLS. All methods run on the event loop's thread; none is called once the line was left."""

    def receive(self, plaintext: bytes) -> None:
        """Take what TLS gave."""
        ...

    def send(self, packet: Packet) -> None:
        """Put a packet into this turn's output."""
        ...

    def output(self) -> bytes:
        """Return this turn's output as plaintext, and forget it."""
        ...

    def farewell(self) -> bytes:
        """Return the last plaintext before TLS is closed; b"" if there is none."""
        ...

    def forget(self) -> None:
        """Let go of what is held: the transport has ended."""
        ...
