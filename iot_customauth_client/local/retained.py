"""Retained messages: the last one of each topic that was published with RETAIN.

Looked up by the exact topic only: the service never sends a retained message for a filter with wildcards (AWS page
"MQTT"), so there is nothing to search. Bounded in number, by the service's quota, and in bytes, by our own; when a
bound is reached those whose message expiry has passed make room, and looking for them costs no more than keeping them
did: nothing is gone through while none can have expired, nor again before some more have been refused.
"""

from math import inf
from typing import Final

from .message import Message

MAX_RETAINED_MESSAGES: Final = 5_000
"""Page "AWS IoT Core endpoints and quotas": retained messages of one account."""
MAX_RETAINED_BYTES: Final = 640 * 1024 * 1024
"""Payloads and properties of all of them: as much as the largest payloads alone may have. Our own bound."""


class RetainedMessages:
    """At most `limit` retained messages, one for each topic."""

    __slots__ = ("_by_topic", "_bytes", "_first_expiry", "_limit", "_looks_after", "_max_bytes")

    def __init__(self, limit: int = MAX_RETAINED_MESSAGES, *, max_bytes: int = MAX_RETAINED_BYTES) -> None:
        self._by_topic: dict[str, Message] = {}
        self._bytes = 0
        self._first_expiry = inf
        self._limit = limit
        self._looks_after = 0
        self._max_bytes = max_bytes

    def __len__(self) -> int:
        return len(self._by_topic)

    @property
    def size(self) -> int:
        """Bytes of payloads and properties."""
        return self._bytes

    def has_room(self, message: Message, now: float) -> bool:
        """Tell whether the message can be kept: not when a bound is reached and it takes no other's place.

        Messages whose expiry has passed make room first.
        """
        if not message.payload or self._fits(message):
            return True
        self._purge(now)
        return self._fits(message)

    def keep(self, message: Message) -> None:
        """Keep the message in the place of its topic's last one; an empty payload deletes that (MQTT-3.3.1-6)."""
        self._drop(message.topic)
        if message.payload:
            self._by_topic[message.topic] = message
            self._bytes += message.size
            if message.expires_at is not None:
                self._first_expiry = min(self._first_expiry, message.expires_at)

    def get(self, topic: str, now: float) -> Message | None:
        """Return the retained message of the topic; None if there is none, or if its expiry has passed."""
        message = self._by_topic.get(topic)
        if message is not None and message.expired(now):
            self._drop(topic)
            return None
        return message

    def _fits(self, message: Message) -> bool:
        old = self._by_topic.get(message.topic)
        more = message.size - (0 if old is None else old.size)
        return (old is not None or len(self._by_topic) < self._limit) and self._bytes + more <= self._max_bytes

    def _purge(self, now: float) -> None:
        if now < self._first_expiry:
            return
        if self._looks_after:
            self._looks_after -= 1
            return
        for topic in [topic for topic, kept in self._by_topic.items() if kept.expired(now)]:
            self._drop(topic)
        expiries = (kept.expires_at for kept in self._by_topic.values() if kept.expires_at is not None)
        self._first_expiry = min(expiries, default=inf)
        self._looks_after = len(self._by_topic) // 8

    def _drop(self, topic: str) -> None:
        message = self._by_topic.pop(topic, None)
        if message is not None:
            self._bytes -= message.size
