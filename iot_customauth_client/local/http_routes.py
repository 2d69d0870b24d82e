"""Where an HTTP request leads: to publishing, to WebSocket, or nowhere.

    POST /topics/<topic>          publish
    GET  /mqtt                    upgrade to MQTT over WebSocket
    another method on these       405, with Allow
    another path                  404

The service's iot-data API has further paths (shadows, retained messages); custom authentication over HTTPS is for
publishing only (AWS page "Device communication protocols"). What it answers to them is not documented; here it is 404.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .._suggest import nearest
from .http_answers import HttpRefusal, refused
from .http_door import HttpRequest
from .http_names import METHODS, PUBLISH_PATH, WEBSOCKET_PATH

_ABSOLUTE = re.compile(r"https?://[^/?]*", re.IGNORECASE)  # RFC 9112 section 3.2.2: a server must take this form
_OF_THE_API = ("things", "retainedMessage", "connections")


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """A request's target, split: `query` without its `?`, None if there was none. Neither is decoded."""

    path: str
    query: str | None

    @classmethod
    def of(cls, request: HttpRequest) -> Target:
        """Split at the first `?`."""
        path, mark, query = _ABSOLUTE.sub("", request.target, count=1).partition("?")
        return cls(path, query if mark else None)

    @property
    def publishes(self) -> bool:
        """Whether this is the path of a publish."""
        return self.path.startswith(PUBLISH_PATH)

    @property
    def upgrades(self) -> bool:
        """Whether this is the path of MQTT over WebSocket."""
        return self.path == WEBSOCKET_PATH

    @property
    def shown(self) -> str:
        """The path as the log shows it: one that leads nowhere may be anything, also a secret."""
        if self.publishes or self.upgrades:
            return self.path if len(self.path) <= _SHOWN_CHARACTERS else f"{self.path[:_SHOWN_CHARACTERS]}..."
        return f"<{len(self.path)} characters>"


_SHOWN_CHARACTERS = 300


def shown_method(method: str) -> str:
    """Return the method as the log shows it."""
    return method if method in METHODS else f"<{len(method)} characters>"


def refuse_route(method: str, target: Target) -> HttpRefusal | None:
    """Refuse what leads nowhere; None if the method and the path fit together."""
    if target.publishes:
        return None if method == "POST" else _wrong_method(method, "POST", "publish to /topics/TOPIC by POST")
    if target.upgrades:
        return None if method == "GET" else _wrong_method(method, "GET", "MQTT over WebSocket begins with GET /mqtt")
    return refused(404, "path_unknown", _advice(target.path))


def _wrong_method(method: str, right: str, advice: str) -> HttpRefusal:
    return refused(405, "method_not_allowed", f"HTTP {shown_method(method)} on this path: {advice}", ("Allow", right))


def _advice(path: str) -> str:
    first = path.strip("/").partition("/")[0]
    sentence = "this path is not served: publish by POST to /topics/TOPIC, open WebSocket by GET /mqtt"
    if first in _OF_THE_API:
        return f"{sentence}; with custom authentication the service has nothing else over HTTPS"
    if path.rstrip("/") == PUBLISH_PATH.rstrip("/"):
        return f"{sentence}; the topic is missing"
    if path.rstrip("/") == WEBSOCKET_PATH:
        return f"{sentence}, without a slash at its end"
    meant = nearest(first, ("topics", "mqtt")) if first else None
    return sentence if meant is None else f"{sentence}; did you mean /{meant}?"
