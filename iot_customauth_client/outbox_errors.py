"""What an outbox says of a message that did not arrive: one function for each way to end."""

from __future__ import annotations

from .errors import ConnectionClosed, CustomAuthError, MessageExpired, NotConnected, NotSupported, OutboxFull
from .outbox_values import OutboxLimits
from .outgoing import Outgoing


def not_connected(entry: Outgoing) -> NotConnected:
    """There is no connection, and the message has QoS 0."""
    return NotConnected(f"not connected: a QoS 0 message to {entry.topic!r} is not kept for later")


def never_stored(entry: Outgoing, *, keeps: bool) -> NotSupported:
    """Nobody stores it, so it is no use to wait for that; `keeps`: the outbox has a file."""
    return NotSupported(
        f"the message to {entry.topic!r} is kept in memory only"
        + ("" if keeps else ": only a connection with outbox=SqliteOutbox(...) stores messages")
        + ("" if entry.qos else "; QoS 0 is never stored")
    )


def full(messages: int, limits: OutboxLimits) -> OutboxFull:
    """There is no room for one more."""
    return OutboxFull(
        f"the outbox is full: {messages} messages wait for their acknowledgement "
        f"(at most {limits.max_messages}, and {limits.max_bytes} bytes)",
        what_to_do="wait for the futures of earlier messages, or publish less while the network is away",
    )


def dropped(entry: Outgoing) -> OutboxFull:
    """It had to make room."""
    return OutboxFull(
        f"the message to {entry.topic!r} was dropped to make room for a newer one: the outbox is full",
        code="outbox_dropped",
        what_to_do="give the outbox a higher max_messages or max_bytes, or publish less",
    )


def expired(entry: Outgoing, now: float) -> MessageExpired:
    """Its time was over."""
    how = "before it could be sent" if not entry.attempts else "after it was sent without an acknowledgement"
    return MessageExpired(
        f"the message to {entry.topic!r} expired after {now - entry.accepted_at:.0f} s, {how}"
        + ("; it may have arrived" if entry.attempts else "")
    )


def kept(entry: Outgoing, error: CustomAuthError) -> ConnectionClosed:
    """The connection has ended with `error`, but the message is safe in a file."""
    kept = ConnectionClosed(
        f"the connection ended before the message to {entry.topic!r} was acknowledged; it is stored and goes out with "
        "the next process that opens this outbox",
        client_id=error.client_id,
        phase=error.phase,
    )
    kept.__cause__ = error
    return kept
