"""Answers to one client: reason strings as the service writes them, and never a packet larger than the client takes.

A reason string looks like `CONNACK:Not authorized:<uuid>` (seen on the service's CONNACK; here all answers have that
form). It is as terse as the service's: the full explanation goes into the log, where the service puts it too.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from .codec import (
    NO_PROPERTIES,
    ConnAck,
    Connect,
    Disconnect,
    PingResp,
    Properties,
    Property,
    PubAck,
    ReasonCode,
    SubAck,
    UnsubAck,
    Version,
    encode,
)
from .effects import Effect
from .live_connection import LiveConnection, number_of
from .moment import Moment
from .offence import Offence
from .post import Post

Answer: TypeAlias = ConnAck | Disconnect | PubAck | SubAck | UnsubAck
PacketName: TypeAlias = Literal["CONNACK", "DISCONNECT", "PUBACK", "SUBACK"]

_TEXTS: Final[dict[int, str]] = {ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: "ClientId is invalid"}
"""Where the service's own words are known; else the name of the code."""


class Answers:
    """Makes and sends answers. `new_uuid` makes the trace id that ends a reason string."""

    __slots__ = ("_new_uuid", "_post")

    def __init__(self, post: Post, new_uuid: Callable[[], str]) -> None:
        self._post = post
        self._new_uuid = new_uuid

    def reason(self, packet: PacketName, reason_code: int) -> Properties:
        """Return the properties that explain a reason code; none for one that is no error."""
        if reason_code < ReasonCode.UNSPECIFIED_ERROR:
            return NO_PROPERTIES
        text = _TEXTS.get(reason_code) or ReasonCode(reason_code).name.replace("_", " ").capitalize()
        return {Property.REASON_STRING: f"{packet}:{text}:{self._new_uuid()}"}

    def reason_for(self, live: LiveConnection, packet: PacketName, reason_code: int) -> Properties:
        """Return the same for a connected client: nothing if it wants none or speaks MQTT 3.1.1."""
        if live.version is Version.MQTT311 or not live.problem_information:
            return NO_PROPERTIES
        return self.reason(packet, reason_code)

    def send(
        self,
        live: LiveConnection,
        packet: Answer | PingResp,
        moment: Moment,
        effects: list[Effect],
        *,
        topics: tuple[str, ...] = (),
    ) -> None:
        """Send an answer; without its reason string if it would be too large with it (MQTT-3.4.2-2 and others).

        topics: those of the request.

        Raises `Offence` if it is too large even so: the client asked more in one packet than it takes as an answer.
        """
        if live.max_packet_bytes is not None and not live.fits(packet) and not isinstance(packet, PingResp):
            packet = replace(packet, properties=NO_PROPERTIES)
        if live.max_packet_bytes is not None and not live.fits(packet):
            raise Offence(
                ReasonCode.QUOTA_EXCEEDED,
                f"the {type(packet).__name__.upper()} it asked for is larger than its own Maximum Packet Size of "
                f"{live.max_packet_bytes} bytes",
            )
        self._post.send(live, packet, moment, effects, topics=topics)

    def refusal(self, packet: Connect, reason_code: ReasonCode) -> ConnAck | None:
        """Return the CONNACK that refuses a CONNECT of MQTT 5, with a reason string if wanted and if it fits.

        None if not even the bare CONNACK fits into the client's Maximum Packet Size (MQTT-3.2.2-19).
        """
        properties: Properties = NO_PROPERTIES
        if number_of(packet, Property.REQUEST_PROBLEM_INFORMATION) != 0:
            properties = self.reason("CONNACK", reason_code)
        limit = number_of(packet, Property.MAXIMUM_PACKET_SIZE)
        for attempt in (ConnAck(False, reason_code, properties), ConnAck(False, reason_code)):
            if limit is None or len(encode(attempt, Version.MQTT5)) <= limit:
                return attempt
        return None
