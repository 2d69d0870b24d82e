"""Lifecycle events: messages under `$aws/events/...` that tell of clients, for those that may subscribe to them.

    topic                                                when
    $aws/events/presence/connected/<client id>           a client was sent a CONNACK that accepts it
    $aws/events/presence/disconnected/<client id>        its connection ended, for whatever reason
    $aws/events/presence/connect_failed/<client id>      the policy denied `iot:Connect`, or the will's topic
    $aws/events/subscriptions/subscribed/<client id>     topic filters were granted
    $aws/events/subscriptions/unsubscribed/<client id>   topic filters it had were removed

Fields, their names, types and order are those of the AWS page "Lifecycle events". A client id with `+` or `#` has
none of these messages (same page), and so has a request over HTTPS, which is no connection.

What the page does not say, and what is done here: the messages have QoS 1 (they "might" be duplicated, says the page,
so they are sent at least once); `principalIdentifier` is the authorizer's `principalId`; the session identifier is new
for each connection; who fails authentication, before there is a principal, causes no `connect_failed`; a client sees
its own events if it has subscribed to them; `unsubscribed` names only filters that it had, and the end of a connection
is not one.

They go the way of all messages: `iot:Receive` is asked, rates and queues hold, a session that is away stores them.
They are not retained, nobody is their publisher, and none of them causes another. For a topic that nobody subscribed
to, nothing is made.
"""

import json
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from .codec import NO_PROPERTIES
from .effects import Effect, Grant, Happened
from .events import Published
from .message import Message
from .moment import Moment
from .offence import DisconnectReason
from .presence import Presence
from .router import Router

EventType: TypeAlias = Literal["connected", "disconnected", "connect_failed", "subscribed", "unsubscribed"]

_TOPICS: Final[dict[EventType, str]] = {
    "connected": "$aws/events/presence/connected/",
    "disconnected": "$aws/events/presence/disconnected/",
    "connect_failed": "$aws/events/presence/connect_failed/",
    "subscribed": "$aws/events/subscriptions/subscribed/",
    "unsubscribed": "$aws/events/subscriptions/unsubscribed/",
}

_VERSION_KEPT_SECONDS: Final = 3_600
"""AWS page "Lifecycle events": a version number begins at 0 again after about an hour without a connection."""
_MAX_KEPT_VERSIONS: Final = 10_000
"""Clients that have left whose version number is remembered; one more forgets the one that left first. Our own bound:
the page lets the number begin anew."""


class Lifecycle:
    """Publishes lifecycle events. Appends what is to be done to the list of effects it is given.

    new_uuid: makes session identifiers.
    wall_time: returns the time of day in seconds since 1970, for `timestamp`. A clock that a test moves does not
        change it.
    """

    __slots__ = ("_left", "_new_uuid", "_router", "_wall_time")

    def __init__(self, router: Router, *, new_uuid: Callable[[], str], wall_time: Callable[[], float]) -> None:
        self._router = router
        self._new_uuid = new_uuid
        self._wall_time = wall_time
        self._left: dict[str, tuple[int, float]] = {}
        """By client id, in the order of leaving: the last version number, and until when it counts."""

    def presence(self, client_id: str, grant: Grant, moment: Moment) -> Presence:
        """Return what is told of a connection that is accepted now."""
        last, until = self._left.pop(client_id, (-1, moment.at))
        number = last + 1 if moment.at < until else 0
        return Presence(client_id, self._new_uuid(), grant.principal_id, grant.source_ip, number)

    # -- events -----------------------------------------------------------------------------------------------------

    def connected(self, presence: Presence, moment: Moment, effects: list[Effect]) -> None:
        """A client is connected."""
        if topic := self._wanted("connected", presence.client_id):
            event = self._about(presence, "connected")
            event |= _address(presence.ip_address) | {"versionNumber": presence.version_number}
            self._publish(topic, event, moment, effects)

    def disconnected(
        self,
        presence: Presence,
        reason: DisconnectReason,
        session_seconds: int,
        moment: Moment,
        effects: list[Effect],
    ) -> None:
        """A connection has ended. `session_seconds`: how long its session is kept from now on."""
        kept = session_seconds or _VERSION_KEPT_SECONDS
        self._left[presence.client_id] = (presence.version_number, moment.at + kept)
        if len(self._left) > _MAX_KEPT_VERSIONS:
            del self._left[next(iter(self._left))]
        if topic := self._wanted("disconnected", presence.client_id):
            event = self._about(presence, "disconnected") | {
                "clientInitiatedDisconnect": reason is DisconnectReason.CLIENT_INITIATED_DISCONNECT,
                "disconnectReason": reason.value,
                "versionNumber": presence.version_number,
            }
            self._publish(topic, event, moment, effects)

    def connect_failed(self, client_id: str, grant: Grant, moment: Moment, effects: list[Effect]) -> None:
        """The policy did not let a client connect, or not with its will."""
        if topic := self._wanted("connect_failed", client_id):
            event: dict[str, object] = {
                "clientId": client_id,
                "timestamp": self._timestamp(),
                "eventType": "connect_failed",
                "connectFailureReason": "AUTHORIZATION_FAILED",
                "principalIdentifier": grant.principal_id,
                "sessionIdentifier": self._new_uuid(),
            }
            self._publish(topic, event | _address(grant.source_ip), moment, effects)

    def subscribed(self, presence: Presence, topic_filters: list[str], moment: Moment, effects: list[Effect]) -> None:
        """Topic filters, as the client sent them, were granted."""
        self._subscriptions("subscribed", presence, topic_filters, moment, effects)

    def unsubscribed(self, presence: Presence, topic_filters: list[str], moment: Moment, effects: list[Effect]) -> None:
        """Topic filters that the client had were removed."""
        self._subscriptions("unsubscribed", presence, topic_filters, moment, effects)

    def _subscriptions(
        self,
        event_type: Literal["subscribed", "unsubscribed"],
        presence: Presence,
        topic_filters: list[str],
        moment: Moment,
        effects: list[Effect],
    ) -> None:
        if topic_filters and (topic := self._wanted(event_type, presence.client_id)):
            self._publish(topic, self._about(presence, event_type) | {"topics": topic_filters}, moment, effects)

    # -- messages ---------------------------------------------------------------------------------------------------

    def _wanted(self, event_type: EventType, client_id: str) -> str | None:
        """Return the topic of an event; None if nobody has subscribed to it, or if there is none for the client id."""
        topic = _TOPICS[event_type] + client_id
        if "+" in client_id or "#" in client_id or not self._router.has_subscribers(topic):
            return None
        return topic

    def _about(self, presence: Presence, event_type: EventType) -> dict[str, object]:
        return {
            "clientId": presence.client_id,
            "timestamp": self._timestamp(),
            "eventType": event_type,
            "sessionIdentifier": presence.session_identifier,
            "principalIdentifier": presence.principal_id,
        }

    def _timestamp(self) -> int:
        """Return the time of day in milliseconds since 1970."""
        return int(self._wall_time() * 1_000)

    def _publish(self, topic: str, event: dict[str, object], moment: Moment, effects: list[Effect]) -> None:
        payload = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        effects.append(Happened(Published(None, "", topic, payload, 1, False, False)))
        message = Message.of(
            topic, payload, qos=1, retain=False, publisher=None, properties=NO_PROPERTIES, at=moment.at
        )
        self._router.publish(message, moment, effects)


def _address(ip_address: str | None) -> dict[str, object]:
    return {} if ip_address is None else {"ipAddress": ip_address}
