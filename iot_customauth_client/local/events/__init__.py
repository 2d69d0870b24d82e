"""What happened at the local endpoint, as values: one class for each kind of event.

The real service tells hardly anything of this to the client, and the rest only to CloudWatch. Here every step is an
event: tests wait for it, the command prints it. So the kinds and their fields are a public interface; the table
`EVENT_KINDS` is its index.

Order of the events of one connection: `opened`, (`proxied`), `handshake`, `connect_received`, `authorizer_called`,
`authorizer_answered`, `decided` for `iot:Connect`, `connected`, then what the client does, then `disconnected` and
`closed`. A connection that does not get that far has `turned_away` (before MQTT) or `refused` (before CONNACK) in
the place where it ended, then `closed`.

In HTTP each request has an `http_request` and an `http_answered`; between them what the authorizer is asked, and
`published` or `refused`. After an `http_answered` of status 101 the connection goes on as MQTT.

An event must never show a secret: whoever makes one puts a redacted user name and a redacted authorizer event into
it (unless the user of the endpoint asked to see secrets), and a payload is shown by its length only.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .connected import (
    Acknowledged,
    Decided,
    Delivered,
    Disconnected,
    Dropped,
    Published,
    Queued,
    SessionEnded,
    Subscribed,
    Unsubscribed,
)
from .connecting import AuthorizerAnswered, AuthorizerCalled, AuthorizerOutcome, Connected, ConnectReceived, Refused
from .event import Event
from .transport import (
    DEFAULT_DOMAIN,
    Closed,
    Handshake,
    HttpAnswered,
    HttpRequested,
    Listening,
    Opened,
    Proxied,
    Stopped,
    TurnedAway,
    Warned,
)

__all__ = [
    "DEFAULT_DOMAIN",
    "EVENT_KINDS",
    "Acknowledged",
    "AuthorizerAnswered",
    "AuthorizerCalled",
    "AuthorizerOutcome",
    "Closed",
    "ConnectReceived",
    "Connected",
    "Decided",
    "Delivered",
    "Disconnected",
    "Dropped",
    "Event",
    "Handshake",
    "HttpAnswered",
    "HttpRequested",
    "Listening",
    "Opened",
    "Proxied",
    "Published",
    "Queued",
    "Refused",
    "SessionEnded",
    "Stopped",
    "Subscribed",
    "TurnedAway",
    "Unsubscribed",
    "Warned",
]

EVENT_KINDS: Final[Mapping[str, type[Event]]] = MappingProxyType(
    {
        each.kind: each
        for each in (
            Listening,
            Opened,
            Proxied,
            Handshake,
            TurnedAway,
            HttpRequested,
            HttpAnswered,
            Warned,
            ConnectReceived,
            AuthorizerCalled,
            AuthorizerAnswered,
            Connected,
            Refused,
            Decided,
            Subscribed,
            Unsubscribed,
            Published,
            Delivered,
            Queued,
            Acknowledged,
            Dropped,
            Disconnected,
            SessionEnded,
            Closed,
            Stopped,
        )
    }
)
"""Every kind of event by its name."""
