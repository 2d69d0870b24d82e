"""What a client did that the service answers with a refusal or with the end of the connection.

Raised inside the broker where a rule is checked, and caught in one place, where the rule "MQTT 5 is told, 3.1.1 is
hung up on" is applied. It never leaves the broker.
"""

from enum import StrEnum
from typing import Final

from .codec import CodecError, ReasonCode

_LONGEST_EXPLANATION: Final = 600
_IN_DISCONNECT: Final = {
    ReasonCode.MALFORMED_PACKET: ReasonCode.MALFORMED_PACKET,
    ReasonCode.PROTOCOL_ERROR: ReasonCode.PROTOCOL_ERROR,
    ReasonCode.TOPIC_NAME_INVALID: ReasonCode.TOPIC_NAME_INVALID,
    ReasonCode.RECEIVE_MAXIMUM_EXCEEDED: ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
    ReasonCode.TOPIC_ALIAS_INVALID: ReasonCode.TOPIC_ALIAS_INVALID,
    ReasonCode.PACKET_TOO_LARGE: ReasonCode.QUOTA_EXCEEDED,  # as for a payload; AWS's list has no 149
    ReasonCode.QOS_NOT_SUPPORTED: ReasonCode.QOS_NOT_SUPPORTED,
}
"""What an error of the codec is told as in DISCONNECT: codes of AWS's list (page "MQTT"); any other is 130."""


class DisconnectReason(StrEnum):
    """Why a connection ended, in the words of AWS's lifecycle events (`disconnectReason`)."""

    AUTH_ERROR = "AUTH_ERROR"
    CLIENT_INITIATED_DISCONNECT = "CLIENT_INITIATED_DISCONNECT"
    CLIENT_ERROR = "CLIENT_ERROR"
    CONNECTION_LOST = "CONNECTION_LOST"
    DUPLICATE_CLIENTID = "DUPLICATE_CLIENTID"
    FORBIDDEN_ACCESS = "FORBIDDEN_ACCESS"
    MQTT_KEEP_ALIVE_TIMEOUT = "MQTT_KEEP_ALIVE_TIMEOUT"
    SERVER_ERROR = "SERVER_ERROR"
    SERVER_INITIATED_DISCONNECT = "SERVER_INITIATED_DISCONNECT"
    API_INITIATED_DISCONNECT = "API_INITIATED_DISCONNECT"
    THROTTLED = "THROTTLED"
    WEBSOCKET_TTL_EXPIRATION = "WEBSOCKET_TTL_EXPIRATION"
    CUSTOMAUTH_TTL_EXPIRATION = "CUSTOMAUTH_TTL_EXPIRATION"
    UNKNOWN = "UNKNOWN"
    NONE = "NONE"


class Offence(Exception):
    """Ends the connection.

    reason_code: for the DISCONNECT that an MQTT 5 client gets first.
    reason: AWS's word for the `disconnected` event.
    explanation: one sentence that names what the client did.
    """

    def __init__(
        self,
        reason_code: ReasonCode,
        explanation: str,
        reason: DisconnectReason = DisconnectReason.CLIENT_ERROR,
    ) -> None:
        super().__init__(explanation)
        self.reason_code = reason_code
        self.reason = reason
        self.explanation = shorten(explanation)


class RefusedOperation(Offence):
    """One PUBLISH or one topic filter is refused.

    MQTT 5 can say so in PUBACK or SUBACK and the connection goes on; where no such answer exists it is an offence
    like any other and ends the connection.
    """


class RefusedConnect(Exception):
    """The CONNECT is refused. `cause` is a stable slug, `reason_code` for MQTT 5's CONNACK; None: there is none."""

    def __init__(self, reason_code: ReasonCode | None, cause: str, explanation: str) -> None:
        super().__init__(explanation)
        self.reason_code = reason_code
        self.cause = cause
        self.explanation = shorten(explanation)


def broken_protocol(error: CodecError) -> Offence:
    """Return the offence of a connected client whose bytes are no MQTT."""
    reason_code = _IN_DISCONNECT.get(error.reason_code, ReasonCode.PROTOCOL_ERROR)
    return Offence(reason_code, f"it broke the protocol: {with_rule(error)}")


def with_rule(error: CodecError) -> str:
    """Say what cannot be read, and which rule of MQTT forbids it if there is one."""
    return f"{error} ({error.rule})" if error.rule else str(error)


def shorten(text: str) -> str:
    """Cut a sentence that quotes what a client sent: topics can be as long as a packet."""
    return text if len(text) <= _LONGEST_EXPLANATION else f"{text[:_LONGEST_EXPLANATION]}..."
