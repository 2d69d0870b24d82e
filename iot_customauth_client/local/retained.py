"""Retained messages: the last one of each topic that was published with RETAIN.

Looked up by the exact topic only: the service never sends a retained message for a filter with wildcards (AWS page
"MQTT"), so there is nothing to search. Bounded in number: the service's quota is 5,000 for an account.
"""

from typing import Final

from .message import Message

MAX_RETAINED_MESSAGES: Final = 5_000
"""Page "AWS IoT Core endpoints and quotas": retained messages of one account."""


class RetainedMessages:
    """At most `limit` retained messages, one for each topic."""

    __slots__ = ("_by_topic", "_limit")

    def __init__(self, limit: int = MAX_RETAINED_MESSAGES) -> None:
        self._by_topic: dict[str, Message] = {}
        self._limit = limit

    def __len__(self) -> int:
        return len(self._by_topic)

    def has_room(self, message: Message, now: float) -> bool:
        """Tell whether the message can be kept: not when it is of a new topic and the number is reached.

        Messages whose expiry has passed make room first.
        """
        if message.topic in self._by_topic or not message.payload or len(self._by_topic) < self._limit:
            return True
        self._by_topic = {topic: kept for topic, kept in self._by_topic.items() if not kept.expired(now)}
        return len(self._by_topic) < self._limit

    def keep(self, message: Message) -> None:
        """Keep the message in the place of its topic's last one; an empty payload deletes that (MQTT-3.3.1-6)."""
        if message.payload:
            self._by_topic[message.topic] = message
        else:
            self._by_topic.pop(message.topic, None)

    def get(self, topic: str, now: float) -> Message | None:
        """Return the retained message of the topic; None if there is none, or if its expiry has passed."""
        message = self._by_topic.get(topic)
        if message is not None and message.expired(now):
            del self._by_topic[topic]
            return None
        return message
