"""Names in HTTP requests that this side knows: what may be shown of a request, and what tells two clients apart.

A device may send its token under any header or query name. So nothing is shown that is not known to be harmless, and
all that is not known counts as a part of the credentials.
"""

from __future__ import annotations

from typing import Final

from ..carriage import NAME_PARAMETER

WEBSOCKET_PATH: Final = "/mqtt"
"""Where MQTT over WebSocket is served (AWS page "Device communication protocols")."""
PUBLISH_PATH: Final = "/topics/"
"""Where publishing is served, with the topic behind it (AWS page "HTTPS")."""

HARMLESS_HEADERS: Final = frozenset(
    {
        NAME_PARAMETER,
        *("accept", "accept-encoding", "accept-language", "cache-control", "connection", "content-length"),
        *("content-type", "date", "expect", "host", "origin", "pragma", "transfer-encoding", "upgrade", "user-agent"),
        *("sec-websocket-extensions", "sec-websocket-protocol", "sec-websocket-version"),
        "x-amz-mqtt5-payload-format-indicator",
    }
)
"""Headers, in lower case, whose values may be shown: what HTTP clients send by themselves, and no credentials."""

PUBLISH_PARAMETERS: Final = frozenset({"qos", "retain", "contentType", "responseTopic", "messageExpiry"})
"""Query parameters of a publish (*API*, iot-data Publish): they say what is published, not who publishes."""

METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
"""Methods that may be shown as they are."""
