"""What every native connection to the endpoint needs, be it MQTT or HTTP: socket options, the proxy, TLS.

One place, so that an HTTPS publish and the probe of an upgrade go the way that MQTT goes: the same trust, the same
proxy, the same time limits. Nothing here opens a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ConfigurationError
from .proxy import HttpProxy, find_proxy
from .runtime import Runtime
from .settings import ConnectionSettings

if TYPE_CHECKING:
    from awscrt import http, io


def socket_options(settings: ConnectionSettings) -> io.SocketOptions:
    """Return awscrt's socket options: the time to connect, and TCP keep alive if it is asked for."""
    from awscrt import io

    options = io.SocketOptions()
    options.connect_timeout_ms = int(settings.connect_timeout_seconds * 1000)
    idle = settings.tcp_keep_alive_seconds
    if idle is not None:
        options.keep_alive = True
        options.keep_alive_timeout_secs = idle
        options.keep_alive_interval_secs = max(1, idle // 3)
        options.keep_alive_max_probes = 3
    return options


def proxy_of(settings: ConnectionSettings) -> HttpProxy | None:
    """Return the HTTP proxy to go through, or `None`. Raises `ConfigurationError` for a bad `HTTPS_PROXY`."""
    setting = settings.http_proxy
    url = None if setting is None else setting.get_secret_value()
    try:
        return find_proxy(url, settings.endpoint, settings.port)
    except ValueError as error:
        raise ConfigurationError(f"the proxy of the environment (HTTPS_PROXY) {error}", code="proxy_invalid") from None


def proxy_options(proxy: HttpProxy | None) -> http.HttpProxyOptions | None:
    """Return awscrt's options for a proxy that is asked with CONNECT."""
    from awscrt import http

    if proxy is None:
        return None
    kind = http.HttpProxyAuthenticationType
    return http.HttpProxyOptions(
        host_name=proxy.host,
        port=proxy.port,
        auth_type=kind.Nothing if proxy.username is None else kind.Basic,
        auth_username=proxy.username,
        auth_password=proxy.password,
        connection_type=http.HttpProxyConnectionType.Tunneling,
    )


def tls_options(settings: ConnectionSettings, runtime: Runtime, alpn: str | None) -> io.TlsConnectionOptions:
    """Return the TLS options of one HTTP or WebSocket connection, SNI included, over the process's TLS context.

    Reads `ca_file` and may build a context (13 ms): not for an event loop. Raises `ConfigurationError`.
    """
    options = runtime.tls_context(settings.ca_file, alpn).new_connection_options()
    options.set_server_name(settings.endpoint)
    return options
