"""The HTTP proxy between a device and the endpoint: what may be written for it, and what it means."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

ENVIRONMENT = "env"


@dataclass(frozen=True, slots=True, repr=False)
class HttpProxy:
    """An HTTP proxy that is asked with CONNECT. `username` and `password` are for basic authentication, or `None`."""

    host: str
    port: int
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"HttpProxy({self.host}:{self.port}{', with credentials' if self.username is not None else ''})"


def check_proxy(text: str) -> None:
    """Raise `ValueError`, which shows nothing of the text, unless it is a proxy URL or `"env"`."""
    if text != ENVIRONMENT:
        parse_proxy(text)


def parse_proxy(url: str) -> HttpProxy:
    """Read `http://[user:password@]host:port`; user and password are percent-decoded. Raises `ValueError`."""
    parts: SplitResult | None = None
    port: int | None = None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts = None
    if parts is None:  # raised out here: urlsplit's error quotes the text
        raise ValueError("is not a URL: write http://host:port or http://user:password@host:port")
    if parts.scheme != "http":
        raise ValueError("must begin with http:// (the proxy is asked with HTTP CONNECT; the TLS inside goes through)")
    if not parts.hostname or port is None:
        raise ValueError("needs a host and a port: write http://host:port")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must end after the port: write http://host:port")
    username = None if parts.username is None else unquote(parts.username)
    password = None if parts.username is None else unquote(parts.password or "")
    return HttpProxy(parts.hostname, port, username, password)


def find_proxy(setting: str | None, host: str, port: int) -> HttpProxy | None:
    """Return the proxy to reach `host` and `port` by, or `None` to go directly.

    With `"env"`, `HTTPS_PROXY` and `NO_PROXY` (or in lower case) decide, as for other programs.
    """
    if setting is None:
        return None
    if setting != ENVIRONMENT:
        return parse_proxy(setting)
    from urllib.request import getproxies, proxy_bypass

    url = getproxies().get("https")
    if not url or proxy_bypass(f"{host}:{port}"):
        return None
    return parse_proxy(url if "://" in url else f"http://{url}")
