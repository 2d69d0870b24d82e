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

Time comes in on two clocks (`moment.py`): `now` is real, `at` may be moved by a test. Nothing is done between calls:
`next_at` says when `expire` has to be called at the latest for what is due on the second clock, and about once a
second it has to be called for the first. Whatever else is called does first what was due before it.

Who does what:

    arrivals           what a CONNECT leads to: admission (whether it may be), takeover, session, CONNACK
    dialogue           what a client says, and what a refusal leads to (the table is there)
    router             from a published message to subscriptions: deliveries (one session), sharing (one of a group)
    sessions           what outlives a connection: session, outbound, and the will that waits
    connections        every way in which a connection ends
    lifecycle          messages under $aws/events/... that tell of clients
    post, faults       the way out, and what is done wrong on demand
    data_plane         what is done without MQTT: DeleteConnection and Publish
    agenda, quotas     what is due later; the service's rates
    broker_parts       who of these is given whom

Where the service's behaviour is not documented, the choice is said where it is made.
"""

import time
from collections.abc import Callable
from random import randrange
from typing import Final

from ..limits import DEFAULT_SESSION_EXPIRY_SECONDS, MAX_SESSION_EXPIRY_SECONDS
from .broker_limits import DEFAULT_BROKER_LIMITS, BrokerLimits
from .broker_parts import BrokerParts, random_uuid
from .choices import DEFAULT_CHOICES, Choices
from .codec import (
    NO_PROPERTIES,
    CodecError,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    Properties,
    Publish,
    ReasonCode,
    Version,
)
from .connections import KICKS
from .data_plane import check_publish
from .dialogue import RefusedSubscribe311
from .effects import Effect, Grant, HangUp, Happened, Hold, Send
from .events import Decided
from .faults import Faults
from .message import Message
from .moment import Moment
from .offence import (
    DisconnectReason,
    Offence,
    RefusedConnect,
    RefusedOperation,
    broken_protocol,
    with_rule,
)
from .quotas import Quotas
from .visitor import Visitor

__all__ = [
    "Broker",
    "DisconnectReason",
    "Effect",
    "Grant",
    "HangUp",
    "Happened",
    "Hold",
    "Quotas",
    "Send",
]


class Broker:
    """All clients of one endpoint.

    region, account: of the ARNs that policies are asked about.
    refused_subscribe_311: see `RefusedSubscribe311`.
    quotas: `aws` enforces the service's rates (`quotas.py`); sizes and counts are always enforced.
    session_expiry_seconds: the account's "persistent session expiry period", 1 to 604,800: what MQTT 3.1.1 gets, and
        the most that MQTT 5 gets.
    choices: how it behaves where the service's behaviour is not known.
    limits: how much it holds.
    faults: what is to be done wrong on demand; its own, in which nothing is, by default.
    choose: picks the member of a shared subscription: a number below the one it is given.
    new_uuid: makes assigned client ids and trace ids.
    wall_time: seconds since 1970, which lifecycle events tell.

    `connection` is a number that the endpoint chooses, never twice the same. `now` and `at` are monotonic seconds,
    never less than in the call before. Not safe for several threads at once, but `faults` is. No method that is given
    what a client sent raises.
    """

    def __init__(
        self,
        *,
        region: str,
        account: str,
        refused_subscribe_311: RefusedSubscribe311 = "hang_up",
        quotas: Quotas = "off",
        session_expiry_seconds: int = DEFAULT_SESSION_EXPIRY_SECONDS,
        choices: Choices = DEFAULT_CHOICES,
        limits: BrokerLimits = DEFAULT_BROKER_LIMITS,
        faults: Faults | None = None,
        choose: Callable[[int], int] = randrange,
        new_uuid: Callable[[], str] = random_uuid,
        wall_time: Callable[[], float] = time.time,
    ) -> None:
        if not 1 <= session_expiry_seconds <= MAX_SESSION_EXPIRY_SECONDS:
            raise ValueError(
                f"session_expiry_seconds is {session_expiry_seconds}: AWS IoT Core keeps sessions for 1 to "
                f"{MAX_SESSION_EXPIRY_SECONDS} s"
            )
        self._at = float("-inf")
        self._choices = choices
        self.faults: Final = Faults() if faults is None else faults
        """What is to be done wrong on demand."""
        parts = BrokerParts.assemble(
            region=region,
            account=account,
            refused_subscribe_311=refused_subscribe_311,
            quotas=quotas,
            session_expiry_seconds=session_expiry_seconds,
            choices=choices,
            limits=limits,
            faults=self.faults,
            choose=choose,
            new_uuid=new_uuid,
            wall_time=wall_time,
        )
        self._agenda = parts.agenda
        self._router = parts.router
        self._sessions = parts.sessions
        self._connections = parts.connections
        self._arrivals = parts.arrivals
        self._dialogue = parts.dialogue
        self._data_plane = parts.data_plane

    # -- before CONNACK -------------------------------------------------------------------------------------------

    def connect(self, connection: int, packet: Connect, grant: Grant, *, now: float, at: float) -> list[Effect]:
        """Take a CONNECT that the authorizer allowed: limits, `iot:Connect`, the will, takeover, session, CONNACK."""
        if self._connections.is_known(connection):
            return self.receive(connection, packet, now=now, at=at)
        moment, effects = self._begin(now, at)
        self._arrivals.take(connection, packet, grant, moment, effects)
        self._connections.settle(moment, effects)
        return effects

    def refuse(self, connection: int, packet: Connect, *, cause: str, explanation: str) -> list[Effect]:
        """Refuse a CONNECT that failed authentication: 3.1.1 is hung up on without a word, MQTT 5 gets CONNACK.

        Its code is not documented: see `Choices.refused_connect_mqtt5`.
        """
        effects: list[Effect] = []
        if not self._connections.is_known(connection):
            told = self._choices.refused_connect_mqtt5
            refusal = RefusedConnect(None if told == "hang_up" else ReasonCode(told), cause, explanation)
            self._arrivals.refuse(connection, packet, refusal, effects)
        return effects

    # -- while connected ------------------------------------------------------------------------------------------

    def receive(self, connection: int, packet: Packet, *, now: float, at: float) -> list[Effect]:
        """Take a packet of a client. The first CONNECT of a connection belongs to `connect` or `refuse`."""
        moment, effects = self._begin(now, at)
        live = self._connections.get(connection)
        if live is None:
            if not self._connections.is_known(connection):
                explanation = f"it sent {type(packet).__name__.upper()} before it was connected"
                self._connections.hang_up_early(connection, "not_connected", explanation, effects)
            return effects
        live.last_heard = now
        live.idle = live.idle and isinstance(packet, PingReq)
        try:
            if isinstance(packet, Disconnect):
                self._connections.leave(live, packet, moment, effects)
            else:
                self._dialogue.hear(live, packet, moment, effects)
        except Offence as offence:
            self._connections.drop(live, offence, moment, effects)
        self._connections.settle(moment, effects)
        if live.quotas is not None and isinstance(packet, Publish):
            live.quotas.throughput.count(len(packet.topic) + len(packet.payload), now)
            behind = live.quotas.throughput.behind_seconds(now)
            if behind and self._connections.get(connection) is live:
                live.held_until = now + behind
                effects.append(Hold(connection, behind))
        return effects

    def heard(self, connection: int, now: float) -> None:
        """Note that a client is not silent, though nobody has had the time to look at what it says."""
        if (live := self._connections.get(connection)) is not None:
            live.last_heard = max(live.last_heard, now)

    def malformed(
        self, connection: int, error: CodecError, version: Version | None, *, now: float, at: float
    ) -> list[Effect]:
        """End a connection whose bytes are no MQTT: DISCONNECT for MQTT 5; a hang-up for 3.1.1 and before CONNACK.

        version: of the connection, None before its CONNECT. The service is not known to answer an unreadable CONNECT.
        """
        moment, effects = self._begin(now, at)
        live = self._connections.get(connection)
        if live is not None:
            self._connections.drop(live, broken_protocol(error), moment, effects)
            self._connections.settle(moment, effects)
        elif not self._connections.is_known(connection):
            protocol = "MQTT" if version is None else version.name
            explanation = f"{protocol} cannot be read: {with_rule(error)}"
            self._connections.hang_up_early(connection, error.reason_code.name.lower(), explanation, effects)
        return effects

    def regrant(self, connection: int, grant: Grant, *, now: float, at: float) -> list[Effect]:
        """Replace what a client may do: its authorizer was asked again and allowed it.

        Subscriptions stay; each delivery and each publish is decided by the new policies. If they do not allow
        `iot:Connect` any more the connection ends, unless `Choices.connect_after_refresh` says otherwise.
        """
        moment, effects = self._begin(now, at)
        live = self._connections.get(connection)
        if live is None:
            return effects
        live.permissions, decision = live.permissions.regrant(grant)
        if not decision.allowed and self._choices.connect_after_refresh == "asked":
            event = Decided(connection, live.client_id, decision.action, decision.resource, False, decision.explanation)
            effects.append(Happened(event))
            explanation = f"after a refresh it may not be connected: {decision.explanation}"
            self._connections.revoke(live, explanation, moment, effects)
            self._connections.settle(moment, effects)
        return effects

    def revoke(self, connection: int, explanation: str, *, now: float, at: float) -> list[Effect]:
        """End a live connection whose authorizer was asked again and did not allow it: AUTH_ERROR."""
        moment, effects = self._begin(now, at)
        live = self._connections.get(connection)
        if live is not None:
            self._connections.revoke(live, explanation, moment, effects)
            self._connections.settle(moment, effects)
        return effects

    def was_idle(self, connection: int) -> bool:
        """Tell whether a live connection has sent nothing but pings since its CONNECT."""
        live = self._connections.get(connection)
        return live is not None and live.idle

    def shut_down(self, connection: int, *, now: float, at: float) -> list[Effect]:
        """End a live connection because the endpoint stops; nothing happens to one that is not live."""
        word = DisconnectReason.SERVER_INITIATED_DISCONNECT
        return self.end(connection, word, "the local endpoint stops", now=now, at=at)

    def end(
        self, connection: int, reason: DisconnectReason, explanation: str, *, now: float, at: float
    ) -> list[Effect]:
        """End a live connection for a reason of the service; nothing happens to one that is not live.

        reason: any word but `CLIENT_INITIATED_DISCONNECT`; MQTT 5 is told the code of `connections.KICKS`.
        """
        moment, effects = self._begin(now, at)
        live = self._connections.get(connection)
        if live is not None:
            self._connections.kick(live, reason, explanation, moment, effects)
            self._connections.settle(moment, effects)
        return effects

    def left(self, connection: int, explanation: str, *, now: float, at: float) -> list[Effect]:
        """End a live connection whose client said so outside MQTT, by closing its WebSocket in good order.

        The service counts that as the client's own will to leave, and publishes no last will (AWS page "Lifecycle
        events"). To be followed by `closed`.
        """
        moment, effects = self._begin(now, at)
        live = self._connections.get(connection)
        if live is not None:
            self._connections.left(live, explanation, moment, effects)
            self._connections.settle(moment, effects)
        return effects

    def closed(self, connection: int, *, now: float, at: float) -> list[Effect]:
        """Forget a connection whose transport has ended; if it was live, its client is lost and its will is due.

        What was due to it before, as a packet that a fault delayed or the end of its life, is told to nobody.
        """
        moment, effects = self._begin(now, at)
        live = self._connections.get(connection)
        if live is not None:
            explanation = "the transport ended without a DISCONNECT packet"
            self._connections.lost(live, DisconnectReason.CONNECTION_LOST, explanation, moment, effects)
            self._connections.settle(moment, effects)
        self._connections.forget(connection)
        return [effect for effect in effects if isinstance(effect, Happened) or effect.connection != connection]

    # -- time -------------------------------------------------------------------------------------------------------

    def expire(self, now: float, at: float) -> list[Effect]:
        """Do what is due: on real time keep alive and throughput, and on the other clock what `next_at` speaks of.

        To be called about once a second, and when the clock that can be moved reaches `next_at()`.
        """
        moment, effects = self._begin(now, at)
        self._connections.kick_silent(moment, effects)
        self._connections.catch_up(moment, effects)
        self._connections.settle(moment, effects)
        self._arrivals.forget(now)
        return effects

    def next_at(self) -> float | None:
        """Return the next time of the clock that can be moved at which something is due; None if nothing is.

        Sessions that end, wills that are delayed, connections that have lived long enough, stored messages that wait
        for their rate, packets that a fault delays. It may change with every call of another method.
        """
        return self._agenda.next_at()

    def _begin(self, now: float, at: float) -> tuple[Moment, list[Effect]]:
        """Do what was due before, each at its time, and return the present moment with what came of it."""
        effects: list[Effect] = []
        while (planned := self._agenda.due(at)) is not None:
            moment = Moment(now, max(planned.when, self._at))
            planned.fire(moment, effects)
            self._connections.settle(moment, effects)
        self._at = max(at, self._at)
        return Moment(now, self._at), effects

    # -- from the endpoint's user ---------------------------------------------------------------------------------

    def disconnect(
        self,
        client_id: str,
        reason: str,
        *,
        clean_session: bool = False,
        prevent_will_message: bool = False,
        now: float,
        at: float,
    ) -> list[Effect]:
        """End the connection of a client, as an operator can (the service's `DeleteConnection`).

        reason: a word of AWS's lifecycle events but `CLIENT_INITIATED_DISCONNECT`. MQTT 5 gets a DISCONNECT with the
            fitting code; `CONNECTION_LOST`, `UNKNOWN` and `NONE` hang up without a word.
        clean_session: end the session too, also that of a client that is away.
        prevent_will_message: do not publish its will.

        Nothing happens if there is no such client. Raises ValueError for another reason.
        """
        if reason not in KICKS:
            raise ValueError(f"reason {reason!r} is not one of {', '.join(sorted(KICKS))}")
        moment, effects = self._begin(now, at)
        self._data_plane.delete_connection(
            client_id,
            DisconnectReason(reason),
            clean_session=clean_session,
            prevent_will_message=prevent_will_message,
            moment=moment,
            effects=effects,
        )
        self._connections.settle(moment, effects)
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
        at: float,
    ) -> list[Effect]:
        """Publish a message of the endpoint itself: no policy is asked for the publisher, `iot:Receive` still is.

        properties: of a PUBLISH.
        retain: left aside when the endpoint keeps no more retained messages.

        Raises `InvalidTopic` or `PayloadTooLarge` (both ValueError) for what the service would not take, and
        ValueError for another QoS than 0 and 1 or for properties that a PUBLISH cannot have.
        """
        check_publish(topic, payload, qos=qos, properties=properties)
        moment, effects = self._begin(now, at)
        message = Message.of(
            topic, payload, qos=qos, retain=retain, publisher=None, properties=properties, at=moment.at
        )
        self._data_plane.publish(message, moment, effects)
        self._connections.settle(moment, effects)
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
        at: float,
    ) -> tuple[list[Effect], RefusedOperation | None]:
        """Publish for a client that has no MQTT connection, as HTTPS requests are: see `visitor.py`.

        Returns what is to be done and, if the message was not published, why.
        """
        moment, effects = self._begin(now, at)
        message = Message.of(
            topic, payload, qos=qos, retain=retain, publisher=None, properties=properties, at=moment.at
        )
        try:
            self._data_plane.publish_for(visitor, message, properties, moment, effects)
        except RefusedOperation as refusal:
            return effects, refusal
        self._connections.settle(moment, effects)
        return effects, None

    def sizes(self) -> dict[str, int]:
        """Count what the broker holds; all but `retained` is 0 when every connection was `closed`, every session has
        ended, and `expire` was called since. Not counted: the version numbers of clients that left (`lifecycle.py`),
        10,000 at most.
        """
        return {
            **self._connections.sizes(),
            **self._sessions.sizes(),
            "policy_answers": sum(live.permissions.kept_answers for live in self._connections),
            "connect_rates": self._arrivals.rates,
            "planned": len(self._agenda),
            **self._router.sizes(),
        }
