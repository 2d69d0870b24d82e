"""Somebody who connects with a device's client id, and leaves at once without a farewell.

He speaks no more MQTT than a CONNECT, the device's own version, with its session kept: so he evicts the device, ends
nothing, and acknowledges nothing of what the service may send him.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Literal

from .device import SESSION_SECONDS, token

_SECONDS = 5.0


def take_over(port: int, ca_file: Path, client_id: str, protocol: Literal["mqtt5", "mqtt311"]) -> None:
    """Connect, wait for CONNACK, and leave. Raises OSError if the service does not answer."""
    context = ssl.create_default_context(cafile=str(ca_file))
    context.set_alpn_protocols(["mqtt"])
    with (
        socket.create_connection(("127.0.0.1", port), _SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(_connect(client_id, protocol))
        secure.recv(4)


def _connect(client_id: str, protocol: Literal["mqtt5", "mqtt311"]) -> bytes:
    flags = 0b1100_0000  # user name and password, session kept
    if protocol == "mqtt5":
        level, properties = 5, b"\x05\x11" + SESSION_SECONDS.to_bytes(4, "big")
    else:
        level, properties = 4, b""
    body = _text("MQTT") + bytes([level, flags]) + (60).to_bytes(2, "big") + properties
    body += _text(client_id) + _text("device") + _text(token())
    assert len(body) < 128
    return bytes([0x10, len(body)]) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data
