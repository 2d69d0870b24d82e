"""What is done to clients and topics without MQTT: the service's data plane API, `DeleteConnection` and `Publish`.

Who calls is the endpoint's user, whom nothing is asked, or the client of an HTTPS request, a `Visitor`, whose policies
are. Nothing here ends the turn: the broker begins and settles it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import PayloadTooLarge
from ..limits import MAX_PAYLOAD_BYTES, MAX_QOS, PUBLISHES_PER_SECOND
from ..topics import check_topic_name
from .codec import Properties, Property, PropertyValue, Publish, ReasonCode, Version, encode
from .connections import Connections
from .effects import Effect, Happened
from .events import Published
from .message import Message
from .moment import Moment
from .offence import DisconnectReason, RefusedOperation
from .quotas import AccountQuotas
from .router import Router
from .sessions import Sessions
from .visitor import Visitor


def check_publish(topic: str, payload: bytes, *, qos: int, properties: Properties) -> None:
    """Raise `InvalidTopic`, `PayloadTooLarge` or ValueError for a message that the service would not take."""
    check_topic_name(topic)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(f"the payload has {len(payload)} bytes, AWS IoT Core allows {MAX_PAYLOAD_BYTES}")
    if not 0 <= qos <= MAX_QOS:
        raise ValueError(f"QoS {qos} is not supported by AWS IoT Core: use 0 or 1")
    encode(Publish(topic, b"", properties=properties), Version.MQTT5)


def publish_properties(
    content_type: str | None,
    response_topic: str | None,
    correlation_data: bytes | None,
    user_properties: Sequence[tuple[str, str]],
    expiry_seconds: int | None,
) -> Properties:
    """Return the properties of a PUBLISH with these fields; a field that is None, or has no pair, is left out."""
    given: dict[Property, PropertyValue | None] = {
        Property.MESSAGE_EXPIRY_INTERVAL: expiry_seconds,
        Property.CONTENT_TYPE: content_type,
        Property.RESPONSE_TOPIC: response_topic,
        Property.CORRELATION_DATA: correlation_data,
        Property.USER_PROPERTY: tuple(user_properties) or None,
    }
    return {key: value for key, value in given.items() if value is not None}


class DataPlane:
    """Carries out the calls of that API."""

    __slots__ = ("_connections", "_quotas", "_router", "_sessions")

    def __init__(
        self, router: Router, sessions: Sessions, connections: Connections, quotas: AccountQuotas | None
    ) -> None:
        self._router = router
        self._sessions = sessions
        self._connections = connections
        self._quotas = quotas

    def delete_connection(
        self,
        client_id: str,
        reason: DisconnectReason,
        *,
        clean_session: bool,
        prevent_will_message: bool,
        moment: Moment,
        effects: list[Effect],
    ) -> None:
        """End the connection of a client, or only its session if it is away: see `Broker.disconnect`."""
        session = self._sessions.get(client_id)
        if session is None:
            return
        live = session.connection
        if live is not None:
            if prevent_will_message:
                live.will = None
            cause = "deleted" if clean_session and session.expiry_seconds else None
            explanation = "the user of the local endpoint ended the connection"
            self._connections.kick(live, reason, explanation, moment, effects, cause=cause)
        elif clean_session:
            if prevent_will_message:
                self._sessions.take_back_will(session)
            self._sessions.end(session, "deleted", effects)

    def publish(self, message: Message, moment: Moment, effects: list[Effect]) -> None:
        """Publish a message of the endpoint itself."""
        self._take(None, message, moment, effects)

    def publish_for(
        self, visitor: Visitor, message: Message, properties: Properties, moment: Moment, effects: list[Effect]
    ) -> None:
        """Publish for the client of an HTTPS request. Raises `RefusedOperation` if it may not."""
        if self._quotas is not None and not self._quotas.publishes_in.take(moment.now):
            explanation = f"all clients published more than {PUBLISHES_PER_SECOND:,} messages within this second"
            raise RefusedOperation(ReasonCode.QUOTA_EXCEEDED, explanation, DisconnectReason.THROTTLED)
        visitor.check(message, properties, self._router.can_retain(message, moment), effects)
        self._take(visitor.connection, message, moment, effects)

    def _take(self, connection: int | None, message: Message, moment: Moment, effects: list[Effect]) -> None:
        event = Published(connection, "", message.topic, message.payload, message.qos, message.retain, False)
        effects.append(Happened(event))
        self._router.publish(message, moment, effects)
