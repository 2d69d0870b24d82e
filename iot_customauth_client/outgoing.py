"""One message on its way out, and who waits for its end.

Both faces make `Outgoing`s (`publishing.py`), the outbox keeps and sends them, a journal may store them. They carry no
logic: whoever holds the outbox's locks changes their state.
"""

from __future__ import annotations

from typing import ClassVar, Final, Protocol

from .errors import CustomAuthError
from .messages import PublishResult

QUEUED: Final = 0
SENT: Final = 1
SETTLED: Final = 2


class Promise(Protocol):
    """Who waits for the end of a publish. The first call counts, later ones are without effect.

    A promise may have a third method, `stored()`: it is called when a journal has committed the message, on the
    journal's thread, and must return at once.
    """

    def resolve(self, result: PublishResult) -> None:
        """It arrived."""
        ...

    def reject(self, error: CustomAuthError) -> None:
        """It did not, or nobody can tell."""
        ...


class Outgoing:
    """One message on its way out; with MQTT 3.1.1 the properties of MQTT 5 are empty.

    The rest is the outbox's own: `number` (its place in the order of acceptance; `None`: not accepted), `state` (which
    the pump changes), `settled` (it has ended), `attempts` (how often it was sent), `throttled` (how often the service
    put it off), `cross` and `epoch` (see `flight.py`), `journaled` and `stored` (given to a journal, committed by it).
    `expiry_seconds` is what the next attempt says; `expires_at` is when it is over, on the connection's clock.
    """

    __slots__ = (
        "accepted_at",
        "attempts",
        "content_type",
        "correlation_data",
        "cross",
        "epoch",
        "expires_at",
        "expiry_seconds",
        "journaled",
        "number",
        "payload",
        "promise",
        "qos",
        "response_topic",
        "retain",
        "sent_at",
        "settled",
        "state",
        "stored",
        "throttled",
        "topic",
        "user_properties",
    )

    # awscrt reads these of a packet to be published: so a message without them goes to awscrt as it is.
    payload_format_indicator: ClassVar[None] = None
    message_expiry_interval_sec: ClassVar[None] = None
    topic_alias: ClassVar[None] = None
    correlation_data_bytes: ClassVar[None] = None

    def __init__(
        self,
        topic: str,
        payload: bytes,
        promise: Promise,
        accepted_at: float,
        *,
        qos: int = 1,
        retain: bool = False,
        expiry_seconds: int | None = None,
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: bytes | None = None,
        user_properties: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.expiry_seconds = expiry_seconds
        self.content_type = content_type
        self.response_topic = response_topic
        self.correlation_data = correlation_data
        self.user_properties = user_properties
        self.promise = promise
        self.accepted_at = accepted_at
        self.expires_at = None if expiry_seconds is None else accepted_at + expiry_seconds
        self.number: int | None = None
        self.sent_at: float | None = None
        self.attempts = self.epoch = self.throttled = 0
        self.state = QUEUED
        self.settled = self.cross = self.journaled = self.stored = False
