"""What a refused PUBLISH or SUBSCRIBE is told, in the same words whether it came by MQTT or by HTTPS.

Values only: who is told, and how, is decided where the operation came in (`dialogue.py`, `visitor.py`).
"""

from typing import Final

from .codec import ReasonCode
from .offence import DisconnectReason, RefusedOperation
from .permissions import CONNECT, PUBLISH, RETAIN_PUBLISH, SUBSCRIBE

_VERBS: Final = {
    CONNECT: "connect",
    PUBLISH: "publish to",
    RETAIN_PUBLISH: "publish retained to",
    SUBSCRIBE: "subscribe to",
}


def attempted(action: str, topic: str) -> str:
    """Say what was tried, such as `publish to 'a/b'`. topic: "" for `iot:Connect`, which has none."""
    return f"{_VERBS[action]} {topic!r}" if topic else _VERBS[action]


def not_allowed(action: str, topic: str, explanation: str) -> RefusedOperation:
    """Return the refusal of what the policies do not allow: code 135."""
    # AWS page "Lifecycle events": AUTH_ERROR stands for a failed authorization too.
    return RefusedOperation(
        ReasonCode.NOT_AUTHORIZED,
        f"{attempted(action, topic)} is not allowed: {explanation}",
        DisconnectReason.AUTH_ERROR,
    )


def no_room_to_retain(topic: str) -> RefusedOperation:
    """Return the refusal of a message that would be one retained message too many: code 151."""
    return RefusedOperation(
        ReasonCode.QUOTA_EXCEEDED,
        f"{attempted(RETAIN_PUBLISH, topic)}: the endpoint keeps no more retained messages",
        DisconnectReason.THROTTLED,
    )
