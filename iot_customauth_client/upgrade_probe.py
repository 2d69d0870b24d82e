"""A second upgrade request that says what the endpoint answered to the first one.

awscrt's MQTT clients report one error, without a status, whenever the answer to an upgrade is not 101; its WebSocket
client tells status, headers and body. The probe sends the same request, credentials included (the answer depends on
them), by the same way, and closes at once should it be accepted. It never sends a byte of MQTT.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from .dialling import proxy_of, proxy_options, socket_options, tls_options
from .http_answers import HttpAnswer
from .runtime import Runtime
from .settings import ConnectionSettings
from .upgrade import UpgradeParts

if TYPE_CHECKING:
    from awscrt.http import HttpRequest


def probe_upgrade(
    settings: ConnectionSettings, parts: UpgradeParts, runtime: Runtime, timeout: float
) -> HttpAnswer | None:
    """Ask once for an upgrade; return the answer, or `None` if none came within `timeout` seconds.

    Blocks: run it on a worker thread.
    """
    from awscrt import websocket

    answered = threading.Event()
    found: list[HttpAnswer] = []

    def set_up(data: Any) -> None:
        if data.websocket is not None:
            data.websocket.close()
        if data.handshake_response_status is not None:
            headers = tuple(data.handshake_response_headers or ())
            found.append(HttpAnswer(data.handshake_response_status, headers, data.handshake_response_body or b""))
        answered.set()

    websocket.connect(
        host=settings.endpoint,
        port=settings.port,
        handshake_request=_request(settings, parts),
        bootstrap=runtime.bootstrap(),
        socket_options=socket_options(settings),
        tls_connection_options=tls_options(settings, runtime, settings.alpn_name),
        proxy_options=proxy_options(proxy_of(settings)),
        on_connection_setup=set_up,
    )
    answered.wait(timeout)
    return found[0] if found else None


def _request(settings: ConnectionSettings, parts: UpgradeParts) -> HttpRequest:
    from awscrt import websocket

    request = websocket.create_handshake_request(host=settings.endpoint, path=parts.path)
    request.headers.add("Sec-WebSocket-Protocol", "mqtt")
    for name, value in parts.headers:
        request.headers.add(name, value)
    return request
