"""A broken rule, and the numbers that the two specifications give it.

Inside the codec a rule is a pair of numbers, since 3.1.1 and 5 number the same sentence differently; only the decoder
knows which connection it serves and picks one. `Violation` never leaves the package: reading turns it into
`CodecError`, writing into `ValueError`.
"""

from typing import Final, NamedTuple

from .reason_codes import ReasonCode


class Rule(NamedTuple):
    """The number of a conformance statement in each version, empty where that version has none."""

    mqtt311: str = ""
    mqtt5: str = ""


PROSE: Final = Rule()  # said by the specification, but not as a numbered statement

UTF8_IS_WELL_FORMED: Final = Rule("MQTT-1.5.3-1", "MQTT-1.5.4-1")
UTF8_HAS_NO_NULL: Final = Rule("MQTT-1.5.3-2", "MQTT-1.5.4-2")
INTEGER_IS_SHORTEST: Final = Rule("", "MQTT-1.5.5-1")
RESERVED_FLAGS: Final = Rule("MQTT-2.2.2-2", "MQTT-2.1.3-1")
PACKET_ID_IS_NOT_ZERO: Final = Rule("MQTT-2.3.1-1", "MQTT-2.2.1-3")
NO_PACKET_ID_WITH_QOS_0: Final = Rule("MQTT-2.3.1-5", "MQTT-2.2.1-2")
CONNECT_COMES_FIRST: Final = Rule("MQTT-3.1.0-1", "MQTT-3.1.0-1")
CONNECT_COMES_ONCE: Final = Rule("MQTT-3.1.0-2", "MQTT-3.1.0-2")
PROTOCOL_NAME: Final = Rule("MQTT-3.1.2-1", "MQTT-3.1.2-1")
PROTOCOL_LEVEL: Final = Rule("MQTT-3.1.2-2", "MQTT-3.1.2-2")
CONNECT_FLAGS_RESERVED: Final = Rule("MQTT-3.1.2-3", "MQTT-3.1.2-3")
WILL_QOS_NEEDS_WILL: Final = Rule("MQTT-3.1.2-13", "MQTT-3.1.2-11")
WILL_QOS_IS_NOT_3: Final = Rule("MQTT-3.1.2-14", "MQTT-3.1.2-12")
WILL_RETAIN_NEEDS_WILL: Final = Rule("MQTT-3.1.2-15", "MQTT-3.1.2-13")
PASSWORD_NEEDS_USER_NAME: Final = Rule("MQTT-3.1.2-22", "")
EMPTY_CLIENT_ID_NEEDS_CLEAN_SESSION: Final = Rule("MQTT-3.1.3-8", "")
CONNACK_FLAGS_RESERVED: Final = Rule("", "MQTT-3.2.2-1")
NO_SESSION_IN_REFUSAL: Final = Rule("MQTT-3.2.2-4", "MQTT-3.2.2-6")
CONNACK_REASON: Final = Rule("", "MQTT-3.2.2-8")
NO_DUP_WITH_QOS_0: Final = Rule("MQTT-3.3.1-2", "MQTT-3.3.1-2")
QOS_IS_NOT_3: Final = Rule("MQTT-3.3.1-4", "MQTT-3.3.1-4")
TOPIC_HAS_NO_WILDCARD: Final = Rule("MQTT-3.3.2-2", "MQTT-3.3.2-2")
WILL_TOPIC_HAS_NO_WILDCARD: Final = Rule("MQTT-4.7.1-1", "MQTT-4.7.0-1")
RESPONSE_TOPIC_HAS_NO_WILDCARD: Final = Rule("", "MQTT-3.3.2-14")
CLIENT_SENDS_NO_SUBSCRIPTION_IDENTIFIER: Final = Rule("", "MQTT-3.3.4-6")
PUBACK_REASON: Final = Rule("", "MQTT-3.4.2-1")
PUBREC_REASON: Final = Rule("", "MQTT-3.5.2-1")
PUBREL_REASON: Final = Rule("", "MQTT-3.6.2-1")
PUBCOMP_REASON: Final = Rule("", "MQTT-3.7.2-1")
SUBSCRIBE_HAS_A_FILTER: Final = Rule("MQTT-3.8.3-3", "MQTT-3.8.3-2")
SUBSCRIPTION_OPTIONS: Final = Rule("MQTT-3.8.3-4", "MQTT-3.8.3-5")
NO_LOCAL_IS_NOT_SHARED: Final = Rule("", "MQTT-3.8.3-4")
SUBACK_REASON: Final = Rule("MQTT-3.9.3-2", "MQTT-3.9.3-2")
UNSUBSCRIBE_HAS_A_FILTER: Final = Rule("MQTT-3.10.3-2", "MQTT-3.10.3-2")
UNSUBACK_REASON: Final = Rule("", "MQTT-3.11.3-2")
DISCONNECT_REASON: Final = Rule("", "MQTT-3.14.2-1")
AUTH_REASON: Final = Rule("", "MQTT-3.15.2-1")
TOPIC_IS_NOT_EMPTY: Final = Rule("MQTT-4.7.3-1", "MQTT-4.7.3-1")


class Violation(Exception):
    """One broken rule, as found by a reader or a check; `str()` is a sentence that quotes no value of a string."""

    def __init__(self, reason_code: ReasonCode, sentence: str, rule: Rule = PROSE) -> None:
        super().__init__(sentence)
        self.reason_code = reason_code
        self.rule = rule


def malformed(sentence: str, rule: Rule = PROSE) -> Violation:
    """The bytes cannot be read as the packet they claim to be (MQTT 5, section 1.2)."""
    return Violation(ReasonCode.MALFORMED_PACKET, sentence, rule)


def protocol_error(sentence: str, rule: Rule = PROSE) -> Violation:
    """The packet can be read, but the protocol does not allow what it says (MQTT 5, section 1.2)."""
    return Violation(ReasonCode.PROTOCOL_ERROR, sentence, rule)
