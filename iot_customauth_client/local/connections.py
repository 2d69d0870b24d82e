"""The connections of the broker, and every way in which one ends.

    (unknown) -- add --> live -- part, lost --> ended -- forget --> (unknown)
        '------------- turn_away ---------------->'

`ended` means that `HangUp` was given: nothing is sent to the connection any more. What an end leads to is settled at
once: its session is kept or ends, its will is published when it is due, and a client whose queue that fills up ends
as well.
"""

from collections.abc import Iterator
from typing import Final, Literal

from ..limits import KEEP_ALIVE_GRACE, MAX_BYTES_PER_SECOND_PER_CONNECTION
from .agenda import Agenda
from .answers import Answers
from .choices import Choices
from .codec import Disconnect, Property, ReasonCode, Version
from .effects import Effect, HangUp, Happened
from .events import Decided, Disconnected, Published, Refused
from .lifecycle import Lifecycle
from .live_connection import LiveConnection
from .message import Message
from .moment import Moment
from .offence import DisconnectReason, Offence
from .post import Post
from .router import Router
from .sessions import Sessions

KICKS: Final[dict[DisconnectReason, ReasonCode | None]] = {
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
"""The code that MQTT 5 is sent for an end that the service decided on, from AWS's list for DISCONNECT; None: hang up
without a word. Which code goes with the end of a connection's life and with a failed refresh is not documented: 152 and
135 stand here, `Choices` may say otherwise."""

_ENDS_OF_LIFE: Final = (DisconnectReason.WEBSOCKET_TTL_EXPIRATION, DisconnectReason.CUSTOMAUTH_TTL_EXPIRATION)


class Connections:
    """All connections between CONNECT and the end of their transport."""

    __slots__ = (
        "_agenda",
        "_answers",
        "_choices",
        "_ended",
        "_kicks",
        "_lifecycle",
        "_live",
        "_post",
        "_router",
        "_sessions",
    )

    def __init__(
        self,
        sessions: Sessions,
        router: Router,
        answers: Answers,
        post: Post,
        agenda: Agenda,
        lifecycle: Lifecycle,
        *,
        choices: Choices,
    ) -> None:
        self._sessions = sessions
        self._router = router
        self._answers = answers
        self._post = post
        self._agenda = agenda
        self._lifecycle = lifecycle
        self._choices = choices
        self._kicks = KICKS | dict.fromkeys(_ENDS_OF_LIFE, _code(choices.end_of_life_mqtt5))
        self._live: dict[int, LiveConnection] = {}
        self._ended: set[int] = set()

    def __iter__(self) -> Iterator[LiveConnection]:
        return iter(list(self._live.values()))

    def get(self, number: int) -> LiveConnection | None:
        """Return the connection if it is live."""
        return self._live.get(number)

    def is_known(self, number: int) -> bool:
        """Tell whether the connection is live or ended."""
        return number in self._live or number in self._ended

    def add(self, live: LiveConnection, life_seconds: int | None, moment: Moment) -> None:
        """Take a connection in, which may live for so long."""
        self._live[live.number] = live
        self._sessions.enter(live)
        self._plan_reauthorisation(live, moment)
        if life_seconds is None:
            return

        def end_of_life(moment: Moment, effects: list[Effect]) -> None:
            explanation = (
                f"it was connected for {life_seconds} s, the disconnectAfterInSeconds that the authorizer answered"
            )
            self.kick(live, DisconnectReason.CUSTOMAUTH_TTL_EXPIRATION, explanation, moment, effects)

        live.life = self._agenda.plan(moment.at + life_seconds, end_of_life)

    def _plan_reauthorisation(self, live: LiveConnection, moment: Moment) -> None:
        """Have `iot:Connect` asked once more without the will, if that makes a difference."""
        after_seconds = self._choices.reauthorise_after_seconds
        if after_seconds == "never" or live.will is None or live.permissions.connect_without_will().allowed:
            return

        def ask_again(moment: Moment, effects: list[Effect]) -> None:
            decision = live.permissions.connect_without_will()
            if decision.allowed:  # a refresh has brought other policies
                return
            event = Decided(
                live.number, live.client_id, decision.action, decision.resource, False, decision.explanation
            )
            effects.append(Happened(event))
            explanation = (
                f"iot:Connect was asked again {after_seconds} s after CONNACK as the service does, without the will:"
                " a condition on iot:LastWillTopic, or on LastWill in iot:ConnectAttributes, holds at CONNECT only."
                " Take the condition out, and restrict the will by iot:Publish on its topic"
                f" ({decision.explanation})"
            )
            self.kick(live, DisconnectReason.AUTH_ERROR, explanation, moment, effects)

        live.reauthorisation = self._agenda.plan(moment.at + after_seconds, ask_again)

    def turn_away(self, number: int) -> None:
        """Count a connection as ended that never was live."""
        self._ended.add(number)

    def hang_up_early(self, number: int, cause: str, explanation: str, effects: list[Effect]) -> None:
        """End a connection that is not live."""
        effects.append(HangUp(number))
        effects.append(Happened(Refused(number, "", cause, None, explanation)))
        self._ended.add(number)

    def forget(self, number: int) -> None:
        """Forget a connection whose transport has ended."""
        self._ended.discard(number)

    # -- ends -----------------------------------------------------------------------------------------------------

    def leave(self, live: LiveConnection, packet: Disconnect, moment: Moment, effects: list[Effect]) -> None:
        """End a connection because its client says so. Raises `Offence` if it may not say it so."""
        session, expiry = live.session, packet.properties.get(Property.SESSION_EXPIRY_INTERVAL)
        cause = None
        if isinstance(expiry, int):
            if expiry and not session.expiry_seconds:
                # MQTT 5, section 3.14.2.2.2
                raise Offence(
                    ReasonCode.PROTOCOL_ERROR,
                    "its DISCONNECT asks for a session expiry, which its CONNECT had set to 0",
                )
            cause = "disconnect" if session.expiry_seconds and not expiry else None
            self._sessions.set_expiry(session, expiry)
        if packet.reason_code == ReasonCode.NORMAL_DISCONNECTION:
            live.will = None  # MQTT-3.14.4-3
            explanation = "the client sent DISCONNECT"
        else:
            explanation = f"the client sent DISCONNECT with reason code {packet.reason_code}"
        word = DisconnectReason.CLIENT_INITIATED_DISCONNECT
        self.part(live, word, explanation, None, moment, effects, cause=cause)

    def left(self, live: LiveConnection, explanation: str, moment: Moment, effects: list[Effect]) -> None:
        """End a connection whose client left in good order by other means than DISCONNECT: there is no will."""
        live.will = None
        self.lost(live, DisconnectReason.CLIENT_INITIATED_DISCONNECT, explanation, moment, effects)

    def drop(self, live: LiveConnection, offence: Offence, moment: Moment, effects: list[Effect]) -> None:
        """End a connection because of what its client did."""
        self.part(live, offence.reason, offence.explanation, offence.reason_code, moment, effects)

    def kick(
        self,
        live: LiveConnection,
        reason: DisconnectReason,
        explanation: str,
        moment: Moment,
        effects: list[Effect],
        *,
        cause: str | None = None,
    ) -> None:
        """End a connection for a reason that is not the client's; the reason decides about the code."""
        self.part(live, reason, explanation, self._kicks[reason], moment, effects, cause=cause)

    def kick_silent(self, moment: Moment, effects: list[Effect]) -> None:
        """End the connections of clients that were not heard of within 1.5 times their keep alive."""
        for live in self:
            if moment.now >= live.deadline:
                explanation = (
                    f"nothing came for {live.silence_allowed_seconds:g} s, {KEEP_ALIVE_GRACE} times its keep alive of "
                    f"{live.keep_alive_seconds} s"
                )
                self.kick(live, DisconnectReason.MQTT_KEEP_ALIVE_TIMEOUT, explanation, moment, effects)

    def catch_up(self, moment: Moment, effects: list[Effect]) -> None:
        """Send what waited for the throughput of a connection and is within it now."""
        for live, packet_id in self._post.catch_up(moment, effects):
            self._router.free(live, packet_id, moment, effects)

    def revoke(self, live: LiveConnection, explanation: str, moment: Moment, effects: list[Effect]) -> None:
        """End a connection that a refresh does not allow any more."""
        code = _code(self._choices.failed_refresh_mqtt5)
        self.part(live, DisconnectReason.AUTH_ERROR, explanation, code, moment, effects)

    def part(
        self,
        live: LiveConnection,
        reason: DisconnectReason,
        explanation: str,
        reason_code: ReasonCode | None,
        moment: Moment,
        effects: list[Effect],
        *,
        cause: str | None = None,
    ) -> None:
        """End a live connection from this side: MQTT 5 is told the code, if there is one; 3.1.1 has no way to.

        cause: why the session ends too, although it was to be kept.
        """
        if live.version is Version.MQTT5 and reason_code is not None:
            properties = self._answers.reason_for(live, "DISCONNECT", reason_code)
            self._answers.send(live, Disconnect(reason_code, properties), moment, effects)
        effects.append(HangUp(live.number))
        self._ended.add(live.number)
        self.lost(live, reason, explanation, moment, effects, cause=cause)

    def lost(
        self,
        live: LiveConnection,
        reason: DisconnectReason,
        explanation: str,
        moment: Moment,
        effects: list[Effect],
        *,
        cause: str | None = None,
    ) -> None:
        """End a live connection whose transport needs no hanging up."""
        effects.append(Happened(Disconnected(live.number, live.client_id, reason.value, explanation)))
        del self._live[live.number]
        for planned in (live.life, live.reauthorisation):
            if planned is not None:
                planned.cancel()
        self._post.discard(live, effects)
        self._sessions.leave(live, moment, effects, cause=cause)
        self._lifecycle.disconnected(live.presence, reason, live.session.expiry_seconds, moment, effects)

    # -- what an end leads to ---------------------------------------------------------------------------------------

    def settle(self, moment: Moment, effects: list[Effect]) -> None:
        """Publish the wills that are due, and end the clients whose queue is full, until neither is left.

        A will can fill a queue, and the end of that client make a will due: so this is a loop, not a recursion, and
        it ends because each round takes a connection away.
        """
        self._end_those(moment, effects)
        for last_will in self._sessions.take_wills():
            will = last_will.will
            number, client_id = last_will.connection, last_will.client_id
            event = Published(number, client_id, will.topic, will.payload, will.qos, will.retain, False)
            effects.append(Happened(event))
            message = Message.of(
                will.topic,
                will.payload,
                qos=will.qos,
                retain=will.retain,
                publisher=client_id,
                properties=will.properties,
                at=moment.at,
            )
            self._router.publish(message, moment, effects)
            self._end_those(moment, effects)

    def _end_those(self, moment: Moment, effects: list[Effect]) -> None:
        """End the clients that a delivery has shown to be past keeping."""
        self._end_overflowed(moment, effects)
        for live, offence in self._router.take_forbidden():
            if self._live.get(live.number) is live:
                self.drop(live, offence, moment, effects)
                self._end_overflowed(moment, effects)

    def _end_overflowed(self, moment: Moment, effects: list[Effect]) -> None:
        while overflowed := self._router.take_overflowed():
            for live in overflowed:
                if self._live.get(live.number) is not live:
                    continue  # it has ended meanwhile, for another reason
                outbound = live.session.outbound
                why = "it does not acknowledge, or too slowly"
                if live.quotas is not None and live.quotas.delayed:
                    why = (
                        f"more comes for it than the {MAX_BYTES_PER_SECOND_PER_CONNECTION:,} bytes in a second that it "
                        "is sent, AWS IoT Core's rate"
                    )
                explanation = (
                    f"it has {outbound.in_flight} messages unacknowledged and {outbound.queued} more waiting, which is "
                    f"all that is kept for a client: {why}"
                )
                offence = Offence(ReasonCode.QUOTA_EXCEEDED, explanation, DisconnectReason.THROTTLED)
                self.drop(live, offence, moment, effects)

    def sizes(self) -> dict[str, int]:
        """Count what is held."""
        return {"live": len(self._live), "ended": len(self._ended), "behind": self._post.behind}


def _code(told: int | Literal["hang_up"]) -> ReasonCode | None:
    return None if isinstance(told, str) else ReasonCode(told)
