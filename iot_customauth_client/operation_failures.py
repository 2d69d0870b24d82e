"""From the reason code of a PUBACK or SUBACK to an error that names the cause.

awscrt calls a publish or a filter that was refused a success; its reason code has to be looked at.
"""

from __future__ import annotations

from typing import Any

from .errors import InvalidTopic, NotSupported, OperationError, PolicyDenied
from .reason_names import REASON_NAMES


def explain_publish(code: int, topic: str, *, retain: bool, client_id: str | None) -> OperationError:
    """Return the error for a PUBACK with a reason code of 128 or above."""
    common: dict[str, Any] = {"client_id": client_id, "phase": "connected"}
    if code == 0x87:
        also = " and iot:RetainPublish" if retain else ""
        return PolicyDenied(
            f"the service refused the message to {topic!r}: not authorized (PUBACK 135)",
            action="iot:Publish",
            topic=topic,
            likely_causes=(f"the authorizer's policy does not allow iot:Publish{also} on topic/{topic}",),
            what_to_do="let the authorizer return a statement that allows it: ...:topic/" + topic,
            **common,
        )
    if code == 0x90:
        return InvalidTopic(f"the service does not accept the topic {topic!r} (PUBACK 144)", **common)
    name = REASON_NAMES.get(code, "no name")
    return OperationError(f"the service refused the message to {topic!r}: PUBACK {code}, {name}", **common)


def explain_subscribe(code: int, topic_filter: str, *, client_id: str | None) -> OperationError:
    """Return the error for a SUBACK with a reason code of 128 or above."""
    common: dict[str, Any] = {"client_id": client_id, "phase": "connected"}
    if code in (0x80, 0x87):
        return PolicyDenied(
            f"the service refused the subscription to {topic_filter!r}: "
            + ("not authorized (SUBACK 135)" if code == 0x87 else "SUBACK 128, no reason given"),
            action="iot:Subscribe",
            topic=topic_filter,
            likely_causes=(
                (
                    f"the authorizer's policy does not allow iot:Subscribe on topicfilter/{topic_filter} "
                    "(topicfilter/, not topic/: that is for iot:Publish and iot:Receive)"
                ),
            ),
            what_to_do="let the authorizer return a statement that allows it: ...:topicfilter/" + topic_filter,
            **common,
        )
    name = REASON_NAMES.get(code, "no name")
    message = f"the service refused the subscription to {topic_filter!r}: SUBACK {code}, {name}"
    if code == 0x8F:
        return InvalidTopic(message, **common)
    if code in (0x9E, 0xA1, 0xA2):
        return NotSupported(message, **common)
    return OperationError(message, **common)
