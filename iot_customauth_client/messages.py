"""What arrives, and what becomes of what was sent: the values that both faces hand to their users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol


class Owed(Protocol):
    """The acknowledgement that a message stands for (`receipts.py`)."""

    def settle(self) -> bool:
        """Note that its subscription is done with it; return whether that could be passed on."""
        ...


class _TooLate:
    """Stands for an acknowledgement that can never be sent."""

    def settle(self) -> bool:
        return False


_TOO_LATE: Final = _TooLate()


class Message:
    """A message that arrived on a subscription.

    `payload` is bytes; `duplicate` says that the service sent it before; the other attributes are MQTT 5 properties,
    `None` or empty with MQTT 3.1.1: `content_type`, `response_topic`, `correlation_data` (bytes), `user_properties`
    (pairs, in order), `expiry_seconds` (what is left of the sender's).
    """

    __slots__ = (
        "_receipt",
        "content_type",
        "correlation_data",
        "duplicate",
        "expiry_seconds",
        "payload",
        "qos",
        "response_topic",
        "retain",
        "topic",
        "user_properties",
    )

    def __init__(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        duplicate: bool = False,
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: bytes | None = None,
        user_properties: tuple[tuple[str, str], ...] = (),
        expiry_seconds: int | None = None,
        receipt: Owed | None = None,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.duplicate = duplicate
        self.content_type = content_type
        self.response_topic = response_topic
        self.correlation_data = correlation_data
        self.user_properties = user_properties
        self.expiry_seconds = expiry_seconds
        self._receipt = receipt

    def owe(self, receipt: Owed) -> None:
        """Take on the acknowledgement of the packet."""
        self._receipt = receipt

    def shared(self, receipt: Owed | None) -> Message:
        """Return the same message for one of several subscriptions, with its share of the acknowledgement."""
        twin = Message.__new__(Message)
        for name in Message.__slots__:
            setattr(twin, name, getattr(self, name))
        twin._receipt = receipt
        return twin

    def text(self) -> str:
        """Return the payload as text. Raises `UnicodeDecodeError` if it is not UTF-8."""
        return self.payload.decode()

    def json(self) -> Any:
        """Return the payload read as JSON. Raises `ValueError` if it is not JSON."""
        import json  # 3 ms that a device without JSON does not pay

        return json.loads(self.payload)

    def ack(self) -> bool:
        """Acknowledge a QoS 1 message of a subscription with `ack="manual"`; harmless a second time.

        Returns `False` if it could not be sent since the connection it came by is gone: the service sends the message
        again to a session that it kept. Messages that need none (QoS 0, and MQTT 3.1.1, where awscrt answers on
        arrival) give `True`.
        """
        receipt, self._receipt = self._receipt, None
        if receipt is None or receipt.settle():
            return True
        self._receipt = _TOO_LATE  # the answer stays the same, and the connection is let go of
        return False

    def __repr__(self) -> str:
        return f"Message(topic={self.topic!r}, payload=<{len(self.payload)} bytes>, qos={self.qos})"


class PublishResult(NamedTuple):
    """What became of one publish.

    `reason_code` is that of the PUBACK (0; 16: nobody is subscribed), `None` for QoS 0 and MQTT 3.1.1; `attempts`,
    how often it was sent; `queued_seconds`, from acceptance to sending; `elapsed_seconds`, from acceptance to the end.
    """

    reason_code: int | None
    attempts: int
    queued_seconds: float
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class CloseReport:
    """What `close()` left behind: messages not acknowledged, and how many of them are kept for a later process."""

    unacknowledged: int
    kept: int
