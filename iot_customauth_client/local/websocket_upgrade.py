"""The request that asks for MQTT over WebSocket, checked, and the answer that grants it.

What the service answers to a wrong one is known in part: 426 for what is no proper upgrade. The rest follows RFC 6455
section 4.2, and MQTT's own rule that the subprotocol is `mqtt` (MQTT-6.0.0-3).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from .http_answers import HttpRefusal, refused
from .http_door import HttpRequest

try:
    from wsproto.utilities import generate_accept_token
except ImportError as error:
    from .words import LOCAL_EXTRA

    raise ImportError(LOCAL_EXTRA) from error

if TYPE_CHECKING:
    from collections.abc import Sequence

SUBPROTOCOL: Final = "mqtt"
_VERSION: Final = "13"
_KEY_BYTES: Final = 16
_ANY_ORIGIN: Final = ("access-control-allow-origin", "*")
"""Seen on the service's 400 to a wrong upgrade: scripts in browsers may read the answer."""


def refuse_upgrade(request: HttpRequest) -> HttpRefusal | None:
    """Refuse a request on `/mqtt` that is no WebSocket upgrade for MQTT; None if it is one."""
    upgrade = "websocket" in _lower(request.tokens("upgrade")) and "upgrade" in _lower(request.tokens("connection"))
    if not upgrade:
        return refused(
            426,
            "not_an_upgrade",
            "GET /mqtt is for WebSocket: send `Connection: Upgrade` and `Upgrade: websocket`",
            ("Upgrade", "websocket"),
        )
    if request.values("sec-websocket-version") != [_VERSION]:
        return refused(
            426,
            "websocket_version",
            f"the WebSocket version must be {_VERSION}, in the header Sec-WebSocket-Version",
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", _VERSION),
        )
    if not _is_key(request.values("sec-websocket-key")):
        return refused(
            400, "websocket_key", "the header Sec-WebSocket-Key must be there once: base64 of 16 bytes", _ANY_ORIGIN
        )
    if SUBPROTOCOL not in request.tokens("sec-websocket-protocol"):
        return refused(
            400,
            "websocket_subprotocol",
            "the header Sec-WebSocket-Protocol must offer `mqtt`: the client library's subprotocol setting",
            _ANY_ORIGIN,
        )
    if request.body:
        return refused(400, "websocket_body", "a WebSocket upgrade has no body", _ANY_ORIGIN)
    return None


def grant_headers(request: HttpRequest, trace_id: str) -> list[tuple[str, str]]:
    """Return the headers of 101 for a request that was not refused; content-length as the service sends it."""
    key = request.values("sec-websocket-key")[0].encode("ascii")
    return [
        ("content-length", "0"),
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-accept", generate_accept_token(key).decode("ascii")),
        ("sec-websocket-protocol", SUBPROTOCOL),
        ("x-amzn-RequestId", trace_id),
    ]


def _lower(tokens: Sequence[str]) -> list[str]:
    return [token.lower() for token in tokens]


def _is_key(values: Sequence[str]) -> bool:
    try:
        return len(values) == 1 and len(base64.b64decode(values[0].encode("ascii"), validate=True)) == _KEY_BYTES
    except (binascii.Error, UnicodeEncodeError):
        return False
