"""A message on its way through the broker: what was published, free of how it came and where it goes.

One message is shared by all its deliveries, so it is frozen. It keeps only those MQTT 5 properties that a server has
to hand on (MQTT 5, section 3.3.2.3); what belongs to one hop, such as a topic alias, never gets in.
"""

from dataclasses import dataclass
from typing import Final, Self

from ..limits import MAX_MESSAGE_EXPIRY_SECONDS, MIN_MESSAGE_EXPIRY_SECONDS
from .codec import NO_PROPERTIES, Properties, Property
from .quick_values import quickly_made

# MQTT-3.3.2-4, -15, -16, -17, -18, -20: these travel unchanged; the message expiry travels as what is left of it.
_HANDED_ON: Final = frozenset(
    {
        Property.PAYLOAD_FORMAT_INDICATOR,
        Property.CONTENT_TYPE,
        Property.RESPONSE_TOPIC,
        Property.CORRELATION_DATA,
        Property.USER_PROPERTY,
    }
)


@quickly_made
@dataclass(frozen=True, slots=True)
class Message:
    """A published message.

    publisher: client id of who published it; None for the endpoint itself.
    properties: what is handed on unchanged; user properties in their order.
    expires_at: after which it is not delivered any more, on the clock that can be moved; None for never.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    publisher: str | None
    properties: Properties
    expires_at: float | None

    @classmethod
    def of(
        cls,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool,
        publisher: str | None,
        properties: Properties,
        at: float,
    ) -> Self:
        """Make a message of what was published, with the properties of the PUBLISH or of the will.

        The message expiry is clamped to 1..604,800 s (AWS page "MQTT").
        """
        if not properties:
            return cls(topic, payload, qos, retain, publisher, NO_PROPERTIES, None)
        kept = {key: value for key, value in properties.items() if key in _HANDED_ON}
        expiry = properties.get(Property.MESSAGE_EXPIRY_INTERVAL)
        expires_at = None
        if isinstance(expiry, int):
            expires_at = at + min(max(expiry, MIN_MESSAGE_EXPIRY_SECONDS), MAX_MESSAGE_EXPIRY_SECONDS)
        return cls(topic, payload, qos, retain, publisher, kept, expires_at)

    def expired(self, at: float) -> bool:
        """Tell whether its time is over."""
        return self.expires_at is not None and at >= self.expires_at

    def properties_at(self, at: float) -> Properties:
        """Return the properties for a delivery now: the message expiry is what is left of it (MQTT-3.3.2-6).

        Whole seconds are told, rounded down: 0 for the last of them (AWS page "MQTT").
        """
        if self.expires_at is None:
            return self.properties
        milliseconds = round((self.expires_at - at) * 1_000)  # a float may lack a hair of a whole second
        return {**self.properties, Property.MESSAGE_EXPIRY_INTERVAL: max(milliseconds // 1_000, 0)}
