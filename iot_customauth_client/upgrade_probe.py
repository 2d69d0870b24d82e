"""A second upgrade request that says what the endpoint answered to the first one.

awscrt's MQTT clients report one error, without a status, whenever the answer to an upgrade is not 101; its WebSocket
client tells status, headers and body. The probe sends the same request, credentials included (the answer depends on
them), by the same way, and closes at once should it be accepted. It never sends a byte of MQTT.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .dialling import proxy_of, proxy_options, socket_options, tls_options
from .errors import CustomAuthError
from .http_answers import HttpAnswer
from .runtime import Runtime
from .settings import ConnectionSettings
from .upgrade import UpgradeParts

if TYPE_CHECKING:
    from awscrt.http import HttpRequest

    from .builder import ConnectionBuilder

_TIMEOUT_SECONDS: Final = 5.0
_COUNTS_FOR_SECONDS: Final = 60.0


class UpgradeVerdict:
    """What the endpoint answers to upgrades, asked for at most once per outage and minute.

    It sends what the refused attempt sent: the credentials are those of its builder, and their source is not asked.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._builder: ConnectionBuilder | None = None
        self._runtime = runtime
        self._answer: HttpAnswer | None = None
        self._ask_again_at = 0.0

    def use(self, builder: ConnectionBuilder) -> None:
        """Ask with what this builder carries from now on."""
        self._builder = builder

    def ask(self, done: Callable[[HttpAnswer | None], None]) -> None:
        """Call `done` with the answer, at once or from a worker thread; `None` if there was none to be had."""
        now = self._runtime.clock.monotonic()
        builder = self._builder
        upgrade = None if builder is None else builder.upgrade()
        if builder is None or upgrade is None or now < self._ask_again_at:
            done(self._answer)
            return
        self._ask_again_at, self._answer = now + _COUNTS_FOR_SECONDS, None
        settings, runtime = builder.settings, self._runtime

        def knock() -> None:
            try:
                self._answer = probe_upgrade(settings, upgrade.parts(), runtime, _TIMEOUT_SECONDS)
            except CustomAuthError:
                pass  # then the first error stands
            finally:
                done(self._answer)  # without it the session would wait for ever

        self._runtime.workers.submit(knock)

    def forget(self) -> None:
        """The outage is over: the next refusal is asked about anew."""
        self._ask_again_at, self._answer = 0.0, None


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
