"""Whether a CONNECT that the authorizer let through becomes a connection, and what its CONNACK says.

The checks, in their order: client id, size and QoS and topic of the will, `iot:Connect`, `iot:Publish` (and
`iot:RetainPublish`) on the will's topic. The first that fails raises `RefusedConnect`. Nothing here changes state:
whether a client with the same id is connected does not matter, since the newcomer wins (AWS page "MQTT").
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..authorizer.policy import Decision
from ..errors import InvalidTopic
from ..limits import (
    MAX_CLIENT_ID_BYTES,
    MAX_IN_FLIGHT,
    MAX_PAYLOAD_BYTES,
    MAX_QOS,
    MAX_TOPIC_ALIAS,
    clamp_keep_alive,
)
from .choices import Choices
from .codec import ConnAck, Connect, Property, PropertyValue, ReasonCode, Version, Will
from .effects import Grant
from .message import too_many_user_properties
from .offence import RefusedConnect
from .permissions import PUBLISH, RETAIN_PUBLISH, Permissions
from .reserved_topics import ReservedTopics
from .topic_rules import check_publishable, check_response_topic

# AWS page "MQTT", table of the MQTT 5 properties; that shared subscriptions are there, it says elsewhere.
_OFFERED: Final[dict[Property, PropertyValue]] = {
    Property.RECEIVE_MAXIMUM: MAX_IN_FLIGHT,
    Property.MAXIMUM_QOS: MAX_QOS,
    Property.RETAIN_AVAILABLE: 1,
    Property.TOPIC_ALIAS_MAXIMUM: MAX_TOPIC_ALIAS,
    Property.WILDCARD_SUBSCRIPTION_AVAILABLE: 1,
    Property.SUBSCRIPTION_IDENTIFIER_AVAILABLE: 0,
    Property.SHARED_SUBSCRIPTION_AVAILABLE: 1,
}


@dataclass(frozen=True, slots=True)
class Admission:
    """A CONNECT that is accepted.

    client_id: the client's own, or the assigned one.
    keep_alive_seconds: as it will be enforced.
    acknowledgement: as if there were no session; whether there is one is known later.
    """

    client_id: str
    permissions: Permissions
    keep_alive_seconds: int
    session_expiry_seconds: int
    acknowledgement: ConnAck


def admit(
    packet: Connect,
    grant: Grant,
    *,
    region: str,
    account: str,
    session_expiry_seconds: int,
    choices: Choices,
    new_uuid: Callable[[], str],
    report: Callable[[str, Decision], None],
) -> Admission:
    """Accept the CONNECT or raise `RefusedConnect`.

    session_expiry_seconds: what the client gets, which may be less than it asked for.
    new_uuid: makes the unique part of an assigned client id.
    report: is given the client id and each decision of the policy that is to be an event.
    """
    client_id = packet.client_id or f"$GEN/{new_uuid()}"
    if packet.client_id:
        _check_client_id(packet.client_id)
    elif packet.version is Version.MQTT311 and not packet.clean_start:
        raise RefusedConnect(
            ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
            "client_id_invalid",
            "the client id is empty and clean session is off: only a client id of its own can have a session "
            "(MQTT-3.1.3-8)",
        )
    if Property.AUTHENTICATION_METHOD in packet.properties:
        # AWS lists no code for this (140 would be MQTT's): the service has no AUTH packet.
        raise RefusedConnect(
            ReasonCode.NOT_AUTHORIZED,
            "authentication_method",
            "CONNECT names an MQTT 5 authentication method: the service has none, custom authentication travels "
            "in user name and password",
        )
    if packet.will is not None:
        _check_will(packet.will, choices.reserved_topics)
    permissions = Permissions(grant, region=region, account=account, client_id=client_id, choices=choices)
    decision = permissions.connect(packet)
    report(client_id, decision)
    if not decision.allowed:
        raise RefusedConnect(
            ReasonCode.NOT_AUTHORIZED,
            "connect_not_allowed",
            f"client {client_id!r} may not connect: {decision.explanation}",
        )
    if packet.will is not None:
        _check_will_allowed(packet.will, client_id, permissions, report)
    keep_alive_seconds = clamp_keep_alive(packet.keep_alive_seconds)
    acknowledgement = _acknowledge(packet, client_id, keep_alive_seconds, session_expiry_seconds, choices)
    return Admission(client_id, permissions, keep_alive_seconds, session_expiry_seconds, acknowledgement)


def _check_client_id(client_id: str) -> None:
    if client_id.startswith("$"):
        raise RefusedConnect(
            ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
            "client_id_invalid",
            f"client id {client_id!r} starts with '$', which is reserved: an id that the service assigned ($GEN/...) "
            "cannot be used to connect again",
        )
    size = len(client_id.encode())
    if size > MAX_CLIENT_ID_BYTES:
        raise RefusedConnect(
            ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
            "client_id_invalid",
            f"the client id has {size} bytes, AWS IoT Core allows {MAX_CLIENT_ID_BYTES}: {client_id[:60]!r}...",
        )


def _check_will(will: Will, reserved: ReservedTopics) -> None:
    if will.qos > MAX_QOS:
        raise RefusedConnect(
            ReasonCode.QOS_NOT_SUPPORTED,
            "will_qos",
            f"the will has QoS {will.qos}, AWS IoT Core supports 0 and 1",
        )
    if len(will.payload) > MAX_PAYLOAD_BYTES:
        # The only code of AWS's list for CONNACK that speaks of a limit.
        raise RefusedConnect(
            ReasonCode.QUOTA_EXCEEDED,
            "will_too_large",
            f"the will has a payload of {len(will.payload)} bytes, AWS IoT Core allows {MAX_PAYLOAD_BYTES}",
        )
    too_many = too_many_user_properties(will.properties)
    if too_many is not None:
        raise RefusedConnect(ReasonCode.QUOTA_EXCEEDED, "will_too_large", f"the will has {too_many}")
    try:
        check_publishable(will.topic, retain=will.retain, reserved=reserved, what="will topic")
        check_response_topic(will.properties)
    except InvalidTopic as error:
        raise RefusedConnect(ReasonCode.TOPIC_NAME_INVALID, "will_topic_invalid", error.message) from None


def _check_will_allowed(
    will: Will, client_id: str, permissions: Permissions, report: Callable[[str, Decision], None]
) -> None:
    for action in (PUBLISH, RETAIN_PUBLISH) if will.retain else (PUBLISH,):
        decision = permissions.decide(action, will.topic)
        if not decision.allowed:
            report(client_id, decision)
            raise RefusedConnect(
                ReasonCode.NOT_AUTHORIZED,
                "will_not_allowed",
                f"client {client_id!r} may not publish its will to {will.topic!r}: {decision.explanation}",
            )


def _acknowledge(
    packet: Connect, client_id: str, keep_alive_seconds: int, session_expiry_seconds: int, choices: Choices
) -> ConnAck:
    if packet.version is Version.MQTT311:
        return ConnAck(session_present=False, reason_code=0)
    properties = {**_OFFERED, Property.SERVER_KEEP_ALIVE: keep_alive_seconds}
    if choices.announced_packet_bytes != "left_out":
        properties[Property.MAXIMUM_PACKET_SIZE] = choices.announced_packet_bytes
    if not packet.client_id:
        properties[Property.ASSIGNED_CLIENT_IDENTIFIER] = client_id
    if session_expiry_seconds != packet.properties.get(Property.SESSION_EXPIRY_INTERVAL, 0):
        # A client must be told when it gets less than it asked for (MQTT 5, section 3.2.2.3.2), and only then is it.
        properties[Property.SESSION_EXPIRY_INTERVAL] = session_expiry_seconds
    return ConnAck(session_present=False, reason_code=ReasonCode.SUCCESS, properties=properties)
