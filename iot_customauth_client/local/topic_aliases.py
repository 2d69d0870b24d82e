"""Topic aliases, which let MQTT 5 leave out a long topic: two tables for each connection, one per direction.

From the client: at most 8, as the CONNACK says (AWS page "MQTT"). To the client: at most 8 as well, and no more than
its own Topic Alias Maximum, which is 0 unless it says otherwise (MQTT 5, section 3.1.2.11.5). Whether the service uses
aliases towards clients that take them is not documented; here it does, so that a client that announces them is tried
with them. The first topics that are long enough to gain from it get the aliases and keep them.
"""

from dataclasses import replace
from typing import Final

from ..limits import MAX_TOPIC_ALIAS
from .codec import Property, Publish, ReasonCode
from .offence import Offence

_COST_BYTES: Final = 3  # of the property on the wire: an identifier and two bytes


class IncomingAliases:
    """The topics that a client gave aliases."""

    __slots__ = ("_topics",)

    def __init__(self) -> None:
        self._topics: dict[int, str] = {}

    def resolve(self, packet: Publish) -> str:
        """Return the topic of a PUBLISH, which an alias may stand for, and remember a new alias.

        Raises `Offence` for an alias that is too large or that stands for nothing.
        """
        alias = packet.properties.get(Property.TOPIC_ALIAS)
        if not isinstance(alias, int):
            return packet.topic
        if not 1 <= alias <= MAX_TOPIC_ALIAS:
            raise Offence(
                ReasonCode.TOPIC_ALIAS_INVALID,
                f"it used topic alias {alias}: AWS IoT Core allows 1 to {MAX_TOPIC_ALIAS}, as its CONNACK says",
            )
        if packet.topic:
            self._topics[alias] = packet.topic
            return packet.topic
        topic = self._topics.get(alias)
        if topic is None:
            # MQTT 5, section 3.3.4
            raise Offence(ReasonCode.PROTOCOL_ERROR, f"it used topic alias {alias} before it gave it a topic")
        return topic


class OutgoingAliases:
    """The topics that a client knows by an alias.

    maximum: the client's Topic Alias Maximum.
    """

    __slots__ = ("_aliases", "_maximum")

    def __init__(self, maximum: int) -> None:
        self._maximum = min(maximum, MAX_TOPIC_ALIAS)
        self._aliases: dict[str, int] = {}

    def apply(self, packet: Publish) -> Publish:
        """Return the PUBLISH with the alias of its topic, if it has one or is worth one.

        What is returned has to be sent, and in this order: the client learns an alias from it.
        """
        alias = self._aliases.get(packet.topic)
        if alias is not None:
            return replace(packet, topic="", properties={**packet.properties, Property.TOPIC_ALIAS: alias})
        if len(self._aliases) >= self._maximum or len(packet.topic) <= _COST_BYTES:
            return packet
        alias = self._aliases[packet.topic] = len(self._aliases) + 1
        return replace(packet, properties={**packet.properties, Property.TOPIC_ALIAS: alias})

    def forget(self, packet: Publish) -> None:
        """Take the alias of the topic back: the packet that would have told it was not sent."""
        if self._aliases.get(packet.topic) == len(self._aliases):
            del self._aliases[packet.topic]
