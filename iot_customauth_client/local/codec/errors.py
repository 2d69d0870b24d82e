"""The one error that reading can end with.

It says what a broker needs to answer: the MQTT 5 reason code, the number of the rule that was broken, a sentence for
the log, and the packets that were complete before it. The sentence never quotes a value of the packet: it could be a
password, a token or an MQTT user name.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .packets import Packet
    from .reason_codes import ReasonCode


class CodecError(Exception):
    """The bytes are not MQTT as the specification has it; nothing after them can be read.

    Attributes:
        reason_code: what MQTT 5 calls it: `MALFORMED_PACKET`, `PROTOCOL_ERROR`, `PACKET_TOO_LARGE`,
            `TOPIC_ALIAS_INVALID`, `UNSUPPORTED_PROTOCOL_VERSION`, or `CLIENT_IDENTIFIER_NOT_VALID`.
        rule: the number of the conformance statement, such as `MQTT-3.1.2-3`, in the numbering of the connection's
            version; empty where the specification has the rule only in its prose.
        before: the packets of the same `feed` that came before the offending one.
    """

    def __init__(
        self, reason_code: "ReasonCode", sentence: str, *, rule: str = "", before: "tuple[Packet, ...]" = ()
    ) -> None:
        super().__init__(sentence)
        self.reason_code = reason_code
        self.rule = rule
        self.before = before
