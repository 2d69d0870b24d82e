"""What the fields of one packet may be: every rule of the specifications that can be judged from a packet's values.

Reading and writing ask the same functions, so `encode` cannot produce what `Decoder` would refuse. What can only be
seen in the bytes (reserved bits, lengths, text that is not UTF-8, a property given twice) is in `decode.py`; what
needs more than one packet (aliases, quotas, identifiers in use) belongs to the broker. So does the inside of a topic
filter: the broker refuses a wrong one filter by filter, and says why.
"""

from typing import TYPE_CHECKING, Final

from . import violations as rule
from .packet_types import PacketType, Version
from .packets import Auth, Disconnect, Packet, Publish
from .properties import FORMS, Properties, Property, PropertyForm, PropertyValue, WireType
from .reason_codes import ALLOWED, ALLOWED_311, FROM_CLIENT, ReasonCode
from .violations import PROSE, Rule, Violation, malformed, protocol_error

if TYPE_CHECKING:
    from .packets import ConnAck, Connect, PubAck, PubComp, PubRec, PubRel, SubAck, Subscribe, UnsubAck, Unsubscribe

REASON_RULES: Final[dict[PacketType, Rule]] = {
    PacketType.CONNACK: rule.CONNACK_REASON,
    PacketType.PUBACK: rule.PUBACK_REASON,
    PacketType.PUBREC: rule.PUBREC_REASON,
    PacketType.PUBREL: rule.PUBREL_REASON,
    PacketType.PUBCOMP: rule.PUBCOMP_REASON,
    PacketType.SUBACK: rule.SUBACK_REASON,
    PacketType.UNSUBACK: rule.UNSUBACK_REASON,
    PacketType.DISCONNECT: rule.DISCONNECT_REASON,
    PacketType.AUTH: rule.AUTH_REASON,
}


def check_level(asked: Version, version: Version) -> None:
    """CONNECT must ask for the version that the connection has."""
    if asked is not version:
        raise Violation(
            ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
            f"it asks for protocol level {int(asked)} on a connection of level {int(version)}",
            rule.PROTOCOL_LEVEL,
        )


def check_connect(packet: "Connect", version: Version) -> None:
    """CONNECT (section 3.1 of both specifications)."""
    check_level(packet.version, version)
    if not 0 <= packet.keep_alive_seconds <= 0xFFFF:
        raise protocol_error(f"a keep alive of {packet.keep_alive_seconds} seconds is outside 0..65535")
    if version is Version.MQTT311:
        # MQTT 5 allows both (sections 3.1.2.9 and 3.1.3.1).
        if packet.password is not None and packet.username is None:
            raise protocol_error(
                "it has a password but no user name, which MQTT 3.1.1 forbids; send a user name, even an empty one",
                rule.PASSWORD_NEEDS_USER_NAME,
            )
        if not packet.client_id and not packet.clean_start:
            raise Violation(
                ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
                "its client id is empty although it asks to keep the session; send a client id or set clean session",
                rule.EMPTY_CLIENT_ID_NEEDS_CLEAN_SESSION,
            )
    _check_properties(packet.properties, PacketType.CONNECT, version)
    _check_authentication(packet.properties)
    will = packet.will
    if will is not None:
        if not 0 <= will.qos <= 2:
            raise malformed(f"its will asks for QoS {will.qos}; there is 0, 1 and 2", rule.WILL_QOS_IS_NOT_3)
        _check_topic(will.topic, "will topic", rule.WILL_TOPIC_HAS_NO_WILDCARD)
        _check_properties(will.properties, PacketType.WILL, version)
        _check_response_topic(will.properties)


def check_connack(packet: "ConnAck", version: Version) -> None:
    """CONNACK (section 3.2)."""
    _check_reason(packet.reason_code, PacketType.CONNACK, version)
    if packet.session_present and packet.reason_code:
        raise protocol_error("it refuses the connection and yet reports a session", rule.NO_SESSION_IN_REFUSAL)
    _check_properties(packet.properties, PacketType.CONNACK, version)
    _check_authentication(packet.properties)


def check_publish(packet: Publish, version: Version) -> None:
    """PUBLISH (section 3.3)."""
    topic = packet.topic
    if not topic:
        # MQTT 5, section 3.3.2.1: an alias may stand for the name.
        if Property.TOPIC_ALIAS not in packet.properties:
            raise protocol_error("its topic name is empty", rule.TOPIC_IS_NOT_EMPTY)
    elif "+" in topic or "#" in topic:
        raise malformed(
            "its topic name contains a wildcard (+ or #), which only topic filters may", rule.TOPIC_HAS_NO_WILDCARD
        )
    if packet.qos == 0:
        if packet.duplicate:
            raise malformed("it is marked as a duplicate although its QoS is 0", rule.NO_DUP_WITH_QOS_0)
        if packet.packet_id is not None:
            raise malformed("it has a packet id although its QoS is 0", rule.NO_PACKET_ID_WITH_QOS_0)
    elif packet.qos in {1, 2}:
        if packet.packet_id is None:
            raise malformed("it has no packet id although its QoS is not 0", rule.PACKET_ID_IS_NOT_ZERO)
        _check_packet_id(packet.packet_id)
    else:
        raise malformed(f"it asks for QoS {packet.qos}; there is 0, 1 and 2", rule.QOS_IS_NOT_3)
    if packet.properties:
        _check_properties(packet.properties, PacketType.PUBLISH, version)
        _check_response_topic(packet.properties)


def check_acknowledgement(
    packet: "PubAck | PubRec | PubRel | PubComp", packet_type: PacketType, version: Version
) -> None:
    """PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7)."""
    _check_packet_id(packet.packet_id)
    if packet.reason_code:
        _check_reason(packet.reason_code, packet_type, version)
    if packet.properties:
        _check_properties(packet.properties, packet_type, version)


def check_subscribe(packet: "Subscribe", version: Version) -> None:
    """SUBSCRIBE (section 3.8)."""
    _check_packet_id(packet.packet_id)
    if not packet.requests:
        raise protocol_error("it has no topic filter", rule.SUBSCRIBE_HAS_A_FILTER)
    for request in packet.requests:
        if not request.topic_filter:
            raise protocol_error("one of its topic filters is empty", rule.TOPIC_IS_NOT_EMPTY)
        if not 0 <= request.qos <= 2:
            raise protocol_error(f"it asks for QoS {request.qos}; there is 0, 1 and 2", rule.SUBSCRIPTION_OPTIONS)
        if version is Version.MQTT311:
            if request.no_local or request.retain_as_published or request.retain_handling:
                raise malformed("it sets subscription options that MQTT 3.1.1 reserves", rule.SUBSCRIPTION_OPTIONS)
            continue
        if not 0 <= request.retain_handling <= 2:
            raise protocol_error(f"it asks for retain handling {request.retain_handling}; there is 0, 1 and 2")
        if request.no_local and request.topic_filter.startswith("$share/"):
            raise protocol_error("it asks for no local on a shared subscription", rule.NO_LOCAL_IS_NOT_SHARED)
    _check_properties(packet.properties, PacketType.SUBSCRIBE, version)


def check_suback(packet: "SubAck", version: Version) -> None:
    """SUBACK (section 3.9)."""
    _check_packet_id(packet.packet_id)
    if not packet.reason_codes:
        raise protocol_error("it has no reason code")
    for reason_code in packet.reason_codes:
        _check_reason(reason_code, PacketType.SUBACK, version)
    _check_properties(packet.properties, PacketType.SUBACK, version)


def check_unsubscribe(packet: "Unsubscribe", version: Version) -> None:
    """UNSUBSCRIBE (section 3.10)."""
    _check_packet_id(packet.packet_id)
    if not packet.topic_filters:
        raise protocol_error("it has no topic filter", rule.UNSUBSCRIBE_HAS_A_FILTER)
    if not all(packet.topic_filters):
        raise protocol_error("one of its topic filters is empty", rule.TOPIC_IS_NOT_EMPTY)
    _check_properties(packet.properties, PacketType.UNSUBSCRIBE, version)


def check_unsuback(packet: "UnsubAck", version: Version) -> None:
    """UNSUBACK (section 3.11); 3.1.1 has no codes in it."""
    _check_packet_id(packet.packet_id)
    if version is Version.MQTT311 and packet.reason_codes:
        raise malformed("it has reason codes, which MQTT 3.1.1 does not know")
    if version is Version.MQTT5 and not packet.reason_codes:
        raise protocol_error("it has no reason code")
    for reason_code in packet.reason_codes:
        _check_reason(reason_code, PacketType.UNSUBACK, version)
    _check_properties(packet.properties, PacketType.UNSUBACK, version)


def check_disconnect(packet: Disconnect, version: Version) -> None:
    """DISCONNECT (section 3.14)."""
    if packet.reason_code:
        _check_reason(packet.reason_code, PacketType.DISCONNECT, version)
    _check_properties(packet.properties, PacketType.DISCONNECT, version)


def check_auth(packet: Auth, version: Version) -> None:
    """AUTH (MQTT 5, section 3.15)."""
    if version is Version.MQTT311:
        raise malformed("MQTT 3.1.1 has no such packet")
    _check_reason(packet.reason_code, PacketType.AUTH, version)
    _check_properties(packet.properties, PacketType.AUTH, version)
    # Section 3.15.2.2.2 wants a method always, 3.15.2.1 lets a success without properties leave it out.
    if (packet.reason_code or packet.properties) and Property.AUTHENTICATION_METHOD not in packet.properties:
        raise protocol_error("it has no authentication method")


def check_from_client(packet: Packet) -> None:
    """What a client may not say although a server may."""
    match packet:
        case Publish():
            if Property.SUBSCRIPTION_IDENTIFIER in packet.properties:
                raise protocol_error(
                    "it carries a subscription identifier, which only a server may send in PUBLISH",
                    rule.CLIENT_SENDS_NO_SUBSCRIPTION_IDENTIFIER,
                )
        case Disconnect():
            _check_sender(packet.reason_code, PacketType.DISCONNECT)
        case Auth():
            _check_sender(packet.reason_code, PacketType.AUTH)
        case _:
            pass


def _check_packet_id(packet_id: int) -> None:
    if not 1 <= packet_id <= 0xFFFF:
        raise protocol_error(f"its packet id is {packet_id}; it must be 1..65535", rule.PACKET_ID_IS_NOT_ZERO)


def _check_topic(topic: str, what: str, no_wildcard: Rule) -> None:
    if not topic:
        raise protocol_error(f"its {what} is empty", rule.TOPIC_IS_NOT_EMPTY)
    if "+" in topic or "#" in topic:
        raise protocol_error(f"its {what} contains a wildcard (+ or #), which only topic filters may", no_wildcard)


def _check_response_topic(properties: Properties) -> None:
    topic = properties.get(Property.RESPONSE_TOPIC)
    if isinstance(topic, str):
        _check_topic(topic, "response topic", rule.RESPONSE_TOPIC_HAS_NO_WILDCARD)


def _check_authentication(properties: Properties) -> None:
    # MQTT 5, section 3.1.2.11.10.
    if Property.AUTHENTICATION_DATA in properties and Property.AUTHENTICATION_METHOD not in properties:
        raise protocol_error("it has authentication data but no authentication method")


def _check_reason(reason_code: int, packet_type: PacketType, version: Version) -> None:
    allowed = (ALLOWED if version is Version.MQTT5 else ALLOWED_311).get(packet_type)
    if allowed is None:
        raise malformed("it has a reason code, which MQTT 3.1.1 does not know")
    if reason_code not in allowed:
        word = "reason" if version is Version.MQTT5 else "return"
        raise protocol_error(f"{word} code {reason_code} may not stand in it", REASON_RULES[packet_type])


def _check_sender(reason_code: int, packet_type: PacketType) -> None:
    if reason_code not in FROM_CLIENT[packet_type]:
        raise protocol_error(f"only a server may send it with reason code {reason_code}", REASON_RULES[packet_type])


def _check_properties(properties: Properties, packet_type: PacketType, version: Version) -> None:
    if not properties:
        return
    if version is Version.MQTT311:
        raise malformed("it has properties, which MQTT 3.1.1 does not know")
    for key, value in properties.items():
        form = FORMS[key]
        if packet_type not in form.packets:
            place = "a will" if packet_type is PacketType.WILL else "it"
            raise malformed(f"the property {key.words} may not stand in {place}")  # section 2.2.2.2
        _check_value(key, form, value, repeats=packet_type in form.repeats_in)


def _check_value(key: Property, form: PropertyForm, value: PropertyValue, *, repeats: bool) -> None:
    match form.wire_type, value:
        case WireType.UTF8_STRING, str():
            return
        case WireType.BINARY_DATA, bytes():
            return
        case WireType.UTF8_STRING_PAIR, tuple() if value and all(isinstance(pair, tuple) for pair in value):
            return
        case ((WireType.UTF8_STRING | WireType.BINARY_DATA | WireType.UTF8_STRING_PAIR), _):
            numbers: tuple[object, ...] = ()
        case _, int():
            numbers = (value,)
        case _, tuple() if repeats:
            numbers = value
        case _:
            numbers = ()
    if not numbers:
        raise malformed(f"the property {key.words} has a value of the wrong type")
    for number in numbers:
        if not isinstance(number, int) or not form.minimum <= number <= form.maximum:
            raise Violation(
                form.out_of_bounds,
                f"the property {key.words} is {number}; it must be {form.minimum}..{form.maximum}",
                Rule("", form.rule) if form.rule else PROSE,
            )
