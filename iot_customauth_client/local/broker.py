"""The local endpoint's MQTT broker: what AWS IoT Core does with packets, without sockets, threads or a clock.

The idea: packets and the time go in, effects come out, in the order in which they have to be carried out. One
connection goes through these states, and the arrows are the methods:

    before CONNACK -- connect --> live -- receive, expire, disconnect, malformed ... --> ended -- closed --> forgotten
          |                        '----------------------------- closed -------------------------------->---'
          '-- refuse, malformed, connect that is refused ------------------------------> ended

`ended` means that `HangUp` was given: nothing is sent to the connection any more, and what still arrives from it is
ignored. The endpoint calls `closed` once for every connection whose transport has ended, whichever side ended it; the
event `closed` is the endpoint's own.

What the broker must never do: raise on anything a client sends, send on an ended connection, grow with what has gone,
let one client's denial or slowness touch another one.

Sessions are clean: whatever a client asks for, a session ends with its connection. A will is published at once, with
its delay left aside, on every end but a DISCONNECT of the client with code 0. Where the service's behaviour is not
documented, the choice is said where it is made; `dialogue.py` has the table of what a refusal leads to.
"""

from collections import deque
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from ..authorizer.policy import Decision
from ..errors import PayloadTooLarge
from ..limits import KEEP_ALIVE_GRACE, MAX_PAYLOAD_BYTES, MAX_QOS
from ..topics import check_topic_name
from .admission import admit
from .answers import Answers
from .codec import (
    NO_PROPERTIES,
    CodecError,
    Connect,
    Disconnect,
    Packet,
    Properties,
    Property,
    Publish,
    ReasonCode,
    Version,
    Will,
    encode,
)
from .dialogue import Dialogue, RefusedSubscribe311
from .effects import Effect, Grant, HangUp, Happened, Send
from .events import Connected, Decided, Disconnected, Published, Refused
from .live_connection import LiveConnection
from .message import Message
from .offence import DisconnectReason, Offence, RefusedConnect, RefusedOperation
from .outbound import MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES
from .retained import MAX_RETAINED_MESSAGES
from .router import Router
from .visitor import Visitor

__all__ = ["Broker", "DisconnectReason", "Effect", "Grant", "HangUp", "Happened", "Send"]

_IN_DISCONNECT: Final = frozenset(
    {
        ReasonCode.MALFORMED_PACKET,
        ReasonCode.PROTOCOL_ERROR,
        ReasonCode.TOPIC_NAME_INVALID,
        ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
        ReasonCode.TOPIC_ALIAS_INVALID,
        ReasonCode.PACKET_TOO_LARGE,
        ReasonCode.QOS_NOT_SUPPORTED,
    }
)
"""Codes of a codec's error that may stand in a DISCONNECT; any other becomes a protocol error."""

_KICKS: Final[dict[DisconnectReason, ReasonCode | None]] = {
    DisconnectReason.AUTH_ERROR: ReasonCode.NOT_AUTHORIZED,
    DisconnectReason.FORBIDDEN_ACCESS: ReasonCode.NOT_AUTHORIZED,
    DisconnectReason.CLIENT_ERROR: ReasonCode.PROTOCOL_ERROR,
    DisconnectReason.CONNECTION_LOST: None,
    DisconnectReason.DUPLICATE_CLIENTID: ReasonCode.SESSION_TAKEN_OVER,
    DisconnectReason.MQTT_KEEP_ALIVE_TIMEOUT: ReasonCode.KEEP_ALIVE_TIMEOUT,
    DisconnectReason.SERVER_ERROR: ReasonCode.SERVER_SHUTTING_DOWN,
    DisconnectReason.SERVER_INITIATED_DISCONNECT: ReasonCode.SERVER_SHUTTING_DOWN,
    DisconnectReason.API_INITIATED_DISCONNECT: ReasonCode.ADMINISTRATIVE_ACTION,
    DisconnectReason.THROTTLED: ReasonCode.QUOTA_EXCEEDED,
    DisconnectReason.WEBSOCKET_TTL_EXPIRATION: ReasonCode.ADMINISTRATIVE_ACTION,
    DisconnectReason.CUSTOMAUTH_TTL_EXPIRATION: ReasonCode.ADMINISTRATIVE_ACTION,
    DisconnectReason.UNKNOWN: None,
    DisconnectReason.NONE: None,
}
"""The code an operator's kick sends to MQTT 5, from AWS's list for DISCONNECT; None: hang up without a word."""


class Broker:
    """All clients of one endpoint.

    region, account: of the ARNs that policies are asked about.
    refused_subscribe_311: see `RefusedSubscribe311`.
    max_queued_messages, max_queued_bytes: what may wait for one client that does not acknowledge; a client over it
        is disconnected (THROTTLED, code 151), since leaving out messages of QoS 1 would go unnoticed.
    max_retained_messages: of all topics together; one more is refused with code 151.
    new_uuid: makes assigned client ids and trace ids.

    `connection` is a number that the endpoint chooses, never twice the same. `now` is monotonic seconds, never less
    than in the call before. Not safe for several threads at once. No method that is given what a client sent raises.
    """

    def __init__(
        self,
        *,
        region: str,
        account: str,
        refused_subscribe_311: RefusedSubscribe311 = "hang_up",
        max_queued_messages: int = MAX_QUEUED_MESSAGES,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
        max_retained_messages: int = MAX_RETAINED_MESSAGES,
        new_uuid: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self._region = region
        self._account = account
        self._max_queued_messages = max_queued_messages
        self._max_queued_bytes = max_queued_bytes
        self._new_uuid = new_uuid
        self._answers = Answers(new_uuid)
        self._router = Router(max_retained_messages=max_retained_messages)
        self._dialogue = Dialogue(self._router, self._answers, refused_subscribe_311=refused_subscribe_311)
        self._live: dict[int, LiveConnection] = {}
        self._by_client_id: dict[str, LiveConnection] = {}
        self._ended: set[int] = set()
        self._wills: deque[tuple[LiveConnection, Will]] = deque()

    # -- before CONNACK -------------------------------------------------------------------------------------------

    def connect(self, connection: int, packet: Connect, grant: Grant, *, now: float) -> list[Effect]:
        """Take a CONNECT that the authorizer allowed: limits, `iot:Connect`, the will, takeover, CONNACK."""
        effects: list[Effect] = []
        if connection in self._live or connection in self._ended:
            return self.receive(connection, packet, now=now)

        def report(client_id: str, decision: Decision) -> None:
            event = Decided(
                connection, client_id, decision.action, decision.resource, decision.allowed, decision.explanation
            )
            effects.append(Happened(event))

        try:
            admission = admit(
                packet, grant, region=self._region, account=self._account, new_uuid=self._new_uuid, report=report
            )
            live = LiveConnection(
                connection,
                packet,
                client_id=admission.client_id,
                principal_id=grant.principal_id,
                permissions=admission.permissions,
                keep_alive_seconds=admission.keep_alive_seconds,
                max_queued_messages=self._max_queued_messages,
                max_queued_bytes=self._max_queued_bytes,
                now=now,
            )
            if not live.fits(admission.acknowledgement):
                raise RefusedConnect(
                    ReasonCode.PACKET_TOO_LARGE,
                    "maximum_packet_size",
                    f"the client's Maximum Packet Size of {live.max_packet_bytes} bytes is less than a CONNACK has",
                )
        except RefusedConnect as refusal:
            self._refuse(connection, packet, refusal, effects)
            return effects
        if (old := self._by_client_id.get(live.client_id)) is not None:
            explanation = f"client {live.client_id!r} connected again, as connection {connection}: the newcomer stays"
            offence = Offence(ReasonCode.SESSION_TAKEN_OVER, explanation, DisconnectReason.DUPLICATE_CLIENTID)
            self._drop(old, offence, effects)
        self._live[connection] = live
        self._by_client_id[live.client_id] = live
        effects.append(Send(connection, admission.acknowledgement))
        effects.append(
            Happened(
                Connected(
                    connection,
                    live.client_id,
                    live.principal_id,
                    live.protocol,
                    live.keep_alive_seconds,
                    admission.acknowledgement.session_present,
                )
            )
        )
        self._settle(now, effects)
        return effects

    def refuse(self, connection: int, packet: Connect, *, cause: str, explanation: str) -> list[Effect]:
        """Refuse a CONNECT that failed authentication: CONNACK 135 for MQTT 5, a hang-up without a word for 3.1.1."""
        effects: list[Effect] = []
        if connection not in self._live and connection not in self._ended:
            refusal = RefusedConnect(ReasonCode.NOT_AUTHORIZED, cause, explanation)
            self._refuse(connection, packet, refusal, effects)
        return effects

    def _refuse(self, connection: int, packet: Connect, refusal: RefusedConnect, effects: list[Effect]) -> None:
        reason_code: int | None = None
        if packet.version is Version.MQTT5:
            acknowledgement = self._answers.refusal(packet, refusal.reason_code)
            if acknowledgement is not None:
                reason_code = refusal.reason_code
                effects.append(Send(connection, acknowledgement))
        effects.append(HangUp(connection))
        effects.append(Happened(Refused(connection, packet.client_id, refusal.cause, reason_code, refusal.explanation)))
        self._ended.add(connection)

    # -- while connected ------------------------------------------------------------------------------------------

    def receive(self, connection: int, packet: Packet, *, now: float) -> list[Effect]:
        """Take a packet of a client. The first CONNECT of a connection belongs to `connect` or `refuse`."""
        effects: list[Effect] = []
        live = self._live.get(connection)
        if live is None:
            if connection not in self._ended:
                explanation = f"it sent {type(packet).__name__.upper()} before it was connected"
                self._hang_up_early(connection, "not_connected", explanation, effects)
            return effects
        live.last_heard = now
        try:
            if isinstance(packet, Disconnect):
                self._leave(live, packet, effects)
            else:
                self._dialogue.hear(live, packet, now, effects)
        except Offence as offence:
            self._drop(live, offence, effects)
        self._settle(now, effects)
        return effects

    def malformed(self, connection: int, error: CodecError, version: Version | None) -> list[Effect]:
        """End a connection whose bytes are no MQTT: DISCONNECT for MQTT 5; a hang-up for 3.1.1 and before CONNACK.

        version: of the connection, None before its CONNECT. The service is not known to answer an unreadable CONNECT.
        """
        effects: list[Effect] = []
        rule = f" ({error.rule})" if error.rule else ""
        live = self._live.get(connection)
        if live is not None:
            reason_code = error.reason_code if error.reason_code in _IN_DISCONNECT else ReasonCode.PROTOCOL_ERROR
            self._drop(live, Offence(reason_code, f"it broke the protocol: {error}{rule}"), effects)
            self._settle(live.last_heard, effects)
        elif connection not in self._ended:
            protocol = "MQTT" if version is None else version.name
            explanation = f"{protocol} cannot be read: {error}{rule}"
            self._hang_up_early(connection, error.reason_code.name.lower(), explanation, effects)
        return effects

    def closed(self, connection: int, *, now: float) -> list[Effect]:
        """Forget a connection whose transport has ended; if it was live, its client is lost and its will is due."""
        effects: list[Effect] = []
        live = self._live.get(connection)
        if live is not None:
            explanation = "the transport ended without a DISCONNECT packet"
            self._end(live, DisconnectReason.CONNECTION_LOST, explanation, effects)
            self._settle(now, effects)
        self._ended.discard(connection)
        return effects

    def expire(self, now: float) -> list[Effect]:
        """End the connections that were silent for 1.5 times their keep alive. To be called about once a second."""
        effects: list[Effect] = []
        for live in [each for each in self._live.values() if now >= each.deadline]:
            explanation = (
                f"nothing came for {live.silence_allowed_seconds:g} s, {KEEP_ALIVE_GRACE} times its keep alive of "
                f"{live.keep_alive_seconds} s"
            )
            reason = DisconnectReason.MQTT_KEEP_ALIVE_TIMEOUT
            self._drop(live, Offence(ReasonCode.KEEP_ALIVE_TIMEOUT, explanation, reason), effects)
        self._settle(now, effects)
        return effects

    def shut_down(self, connection: int, *, now: float) -> list[Effect]:
        """End a live connection because the endpoint stops; nothing happens to one that is not live."""
        effects: list[Effect] = []
        live = self._live.get(connection)
        if live is not None:
            word = DisconnectReason.SERVER_INITIATED_DISCONNECT
            self._part(live, word, "the local endpoint stops", _KICKS[word], effects)
            self._settle(now, effects)
        return effects

    # -- from the endpoint's user ---------------------------------------------------------------------------------

    def disconnect(
        self,
        client_id: str,
        reason: str,
        *,
        now: float,
        explanation: str = "the user of the local endpoint ended the connection",
    ) -> list[Effect]:
        """End the connection of a client, as an operator can; nothing happens if there is none.

        reason: a word of AWS's lifecycle events but `CLIENT_INITIATED_DISCONNECT`. MQTT 5 gets a DISCONNECT with the
            fitting code; `CONNECTION_LOST`, `UNKNOWN` and `NONE` hang up without a word.

        Raises ValueError for another reason.
        """
        if reason not in _KICKS:
            raise ValueError(f"reason {reason!r} is not one of {', '.join(sorted(_KICKS))}")
        effects: list[Effect] = []
        live = self._by_client_id.get(client_id)
        if live is not None:
            word = DisconnectReason(reason)
            code = _KICKS[word]
            self._part(live, word, explanation, code, effects)
            self._settle(now, effects)
        return effects

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        properties: Properties = NO_PROPERTIES,
        now: float,
    ) -> list[Effect]:
        """Publish a message of the endpoint itself: no policy is asked for the publisher, `iot:Receive` still is.

        properties: of a PUBLISH.
        retain: left aside when the endpoint keeps no more retained messages.

        Raises `InvalidTopic` or `PayloadTooLarge` (both ValueError) for what the service would not take, and
        ValueError for another QoS than 0 and 1 or for properties that a PUBLISH cannot have.
        """
        check_topic_name(topic)
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise PayloadTooLarge(f"the payload has {len(payload)} bytes, AWS IoT Core allows {MAX_PAYLOAD_BYTES}")
        if not 0 <= qos <= MAX_QOS:
            raise ValueError(f"QoS {qos} is not supported by AWS IoT Core: use 0 or 1")
        encode(Publish(topic, b"", properties=properties), Version.MQTT5)
        effects: list[Effect] = [Happened(Published(None, "", topic, payload, qos, retain, False))]
        message = Message.of(topic, payload, qos=qos, retain=retain, publisher=None, properties=properties, now=now)
        self._router.publish(message, now, effects)
        self._settle(now, effects)
        return effects

    def publish_for(
        self,
        visitor: Visitor,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool,
        properties: Properties,
        now: float,
    ) -> tuple[list[Effect], RefusedOperation | None]:
        """Publish for a client that has no MQTT connection, as HTTPS requests are: see `visitor.py`.

        Returns what is to be done and, if the message was not published, why.
        """
        effects: list[Effect] = []
        message = Message.of(topic, payload, qos=qos, retain=retain, publisher=None, properties=properties, now=now)
        try:
            visitor.check(message, properties, self._router.can_retain(message, now), effects)
        except RefusedOperation as refusal:
            return effects, refusal
        effects.append(Happened(Published(visitor.connection, "", topic, payload, qos, retain, False)))
        self._router.publish(message, now, effects)
        self._settle(now, effects)
        return effects, None

    def sizes(self) -> dict[str, int]:
        """Count what the broker holds; all but `retained` is 0 when every connection was `closed`."""
        connections = self._live.values()
        return {
            "live": len(self._live),
            "client_ids": len(self._by_client_id),
            "ended": len(self._ended),
            "wills_due": len(self._wills),
            "in_flight": sum(live.outbound.in_flight for live in connections),
            "queued": sum(live.outbound.queued for live in connections),
            "policy_answers": sum(live.permissions.kept_answers for live in connections),
            **self._router.sizes(),
        }

    # -- ends -----------------------------------------------------------------------------------------------------

    def _leave(self, live: LiveConnection, packet: Disconnect, effects: list[Effect]) -> None:
        if packet.properties.get(Property.SESSION_EXPIRY_INTERVAL) and not live.session_expiry_asked:
            # MQTT 5, section 3.14.2.2.2
            raise Offence(
                ReasonCode.PROTOCOL_ERROR, "its DISCONNECT asks for a session expiry, which its CONNECT had set to 0"
            )
        if packet.reason_code == ReasonCode.NORMAL_DISCONNECTION:
            live.will = None  # MQTT-3.14.4-3
            explanation = "the client sent DISCONNECT"
        else:
            explanation = f"the client sent DISCONNECT with reason code {packet.reason_code}"
        self._part(live, DisconnectReason.CLIENT_INITIATED_DISCONNECT, explanation, None, effects)

    def _drop(self, live: LiveConnection, offence: Offence, effects: list[Effect]) -> None:
        self._part(live, offence.reason, offence.explanation, offence.reason_code, effects)

    def _part(
        self,
        live: LiveConnection,
        reason: DisconnectReason,
        explanation: str,
        reason_code: ReasonCode | None,
        effects: list[Effect],
    ) -> None:
        """End a live connection from this side: MQTT 5 is told the code, if there is one; 3.1.1 has no way to."""
        if live.version is Version.MQTT5 and reason_code is not None:
            properties = self._answers.reason_for(live, "DISCONNECT", reason_code)
            self._answers.send(live, Disconnect(reason_code, properties), effects)
        effects.append(HangUp(live.number))
        self._ended.add(live.number)
        self._end(live, reason, explanation, effects)

    def _end(self, live: LiveConnection, reason: DisconnectReason, explanation: str, effects: list[Effect]) -> None:
        effects.append(Happened(Disconnected(live.number, live.client_id, reason.value, explanation)))
        del self._live[live.number]
        del self._by_client_id[live.client_id]
        self._router.forget(live)
        if live.will is not None:
            self._wills.append((live, live.will))

    def _hang_up_early(self, connection: int, cause: str, explanation: str, effects: list[Effect]) -> None:
        effects.append(HangUp(connection))
        effects.append(Happened(Refused(connection, "", cause, None, explanation)))
        self._ended.add(connection)

    def _settle(self, now: float, effects: list[Effect]) -> None:
        """Publish the wills that are due, and end the clients whose queue is full, until neither is left.

        A will can fill a queue, and the end of that client make a will due: so this is a loop, not a recursion, and
        it ends because each round takes a connection away.
        """
        while True:
            for live in self._router.take_overflowed():
                explanation = (
                    f"it has {live.outbound.in_flight} messages unacknowledged and {live.outbound.queued} more "
                    "waiting, which is all that is kept for a client: it does not acknowledge, or too slowly"
                )
                self._drop(live, Offence(ReasonCode.QUOTA_EXCEEDED, explanation, DisconnectReason.THROTTLED), effects)
            if not self._wills:
                return
            live, will = self._wills.popleft()
            event = Published(live.number, live.client_id, will.topic, will.payload, will.qos, will.retain, False)
            effects.append(Happened(event))
            message = Message.of(
                will.topic,
                will.payload,
                qos=will.qos,
                retain=will.retain,
                publisher=live.client_id,
                properties=will.properties,
                now=now,
            )
            self._router.publish(message, now, effects)
