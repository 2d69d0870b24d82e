"""How much the broker holds: bounds that are enforced always, whatever the setting of `quotas`.

Each has a reason of its own, told where its number stands; here they are one value, so that a test can make them small
together. It must never hold a rate: those are the service's, and stand in `quotas.py`.
"""

from dataclasses import dataclass
from typing import Final

from ..limits import MAX_SUBSCRIPTIONS_PER_ACCOUNT
from .holdings import MAX_FLYING_BYTES, MAX_HELD_BYTES, MAX_WILL_BYTES
from .outbound import MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES
from .retained import MAX_RETAINED_MESSAGES
from .sessions import MAX_KEPT_SESSIONS
from .sharing import MAX_MEMBERS


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerLimits:
    """How much one broker holds.

    max_queued_messages, max_queued_bytes: what may wait for one client, or for one shared subscription. A connected
        client over it is disconnected (THROTTLED, code 151), since leaving out messages of QoS 1 would go unnoticed;
        for one that is away, newer messages are dropped.
    max_held_bytes: what may wait for all clients together; past it, as past the bounds of one.
    max_flying_bytes: what may be unacknowledged by all connected clients together; past it each gets one message at a
        time.
    max_will_bytes: wills of all clients together, whether connected or away; a CONNECT whose will does not fit is
        refused with code 151.
    max_subscriptions: of all sessions together; one more is refused with code 151.
    max_retained_messages: of all topics together; one more is refused with code 151.
    max_kept_sessions: without a connection; one more ends the one that was left first.
    max_shared_members: of one shared subscription; one more is refused with code 151.
    """

    max_queued_messages: int = MAX_QUEUED_MESSAGES
    max_queued_bytes: int = MAX_QUEUED_BYTES
    max_held_bytes: int = MAX_HELD_BYTES
    max_flying_bytes: int = MAX_FLYING_BYTES
    max_will_bytes: int = MAX_WILL_BYTES
    max_subscriptions: int = MAX_SUBSCRIPTIONS_PER_ACCOUNT
    max_retained_messages: int = MAX_RETAINED_MESSAGES
    max_kept_sessions: int = MAX_KEPT_SESSIONS
    max_shared_members: int = MAX_MEMBERS


DEFAULT_BROKER_LIMITS: Final = BrokerLimits()
