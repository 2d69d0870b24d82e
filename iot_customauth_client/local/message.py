"""A message on its way through the broker: what was published, free of how it came and where it goes.

One message is shared by all its deliveries, so it is frozen. It keeps only those MQTT 5 properties that a server has
to hand on (MQTT 5, section 3.3.2.3); what belongs to one hop, such as a topic alias, never gets in.
"""

import sys
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


MAX_USER_PROPERTIES: Final = 1_000
"""Of one message. Our own bound, far above any use: 29,000 empty ones fit into a packet, and each costs its time anew
for every subscriber."""
_PAIR_BYTES: Final = 64  # a pair, beside its two strings


def too_many_user_properties(properties: Properties) -> str | None:
    """Say how many user properties a message would have, if they are more than it may have; else None."""
    pairs = properties.get(Property.USER_PROPERTY)
    if not isinstance(pairs, tuple) or len(pairs) <= MAX_USER_PROPERTIES:
        return None
    return f"{len(pairs)} user properties: this endpoint takes {MAX_USER_PROPERTIES:,} with one message"


@quickly_made
@dataclass(frozen=True, slots=True)
class Message:
    """A published message.

    publisher: client id of who published it; None for the endpoint itself.
    properties: what is handed on unchanged; user properties in their order.
    expires_at: after which it is not delivered any more, on the clock that can be moved; None for never.
    properties_size: what the properties, and a topic with other than ASCII characters, add to `size`.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    publisher: str | None
    properties: Properties
    expires_at: float | None
    properties_size: int = 0

    @property
    def size(self) -> int:
        """Bytes that count where messages wait: payload, properties, and a topic that takes much more than others."""
        return len(self.payload) + self.properties_size

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
        if not properties and topic.isascii():
            return cls(topic, payload, qos, retain, publisher, NO_PROPERTIES, None)
        kept = {key: value for key, value in properties.items() if key in _HANDED_ON}
        expiry = properties.get(Property.MESSAGE_EXPIRY_INTERVAL)
        expires_at = None
        if isinstance(expiry, int):
            expires_at = at + min(max(expiry, MIN_MESSAGE_EXPIRY_SECONDS), MAX_MESSAGE_EXPIRY_SECONDS)
        return cls(topic, payload, qos, retain, publisher, kept, expires_at, size_of(kept) + wide_size(topic))

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


def size_of(properties: Properties) -> int:
    """Return how many bytes properties count where messages and wills wait: what they take in memory.

    Not what they took on the wire: one character outside the Basic Multilingual Plane makes a text of ASCII characters
    take four bytes for each of them.
    """
    size = 0
    for value in properties.values():
        if isinstance(value, (str, bytes)):
            size += sys.getsizeof(value)
        elif isinstance(value, tuple):
            pairs = (pair for pair in value if isinstance(pair, tuple))
            size += sum(_PAIR_BYTES + sys.getsizeof(name) + sys.getsizeof(text) for name, text in pairs)
    return size


def wide_size(topic: str) -> int:
    """Return what a topic counts: nothing if it is ASCII, since the overhead of each message has room for that."""
    return 0 if topic.isascii() else sys.getsizeof(topic)
