"""What a CONNECT leads to that the authorizer let through: a fault, a rate, admission, takeover, session, CONNACK.

A CONNECT that is refused changes nothing but what faults and rates count: a newcomer that may not connect takes
nobody's place. One that is accepted ends the connection of the same client id first, because whether there is a
session to resume depends on how that one ends.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ..authorizer.policy import Decision
from ..limits import CONNECTS_PER_SECOND
from .admission import Admission, admit
from .answers import Answers
from .choices import Choices
from .codec import Connect, Property, ReasonCode, Version, encode
from .connections import Connections
from .effects import Effect, Grant, HangUp, Happened, Send
from .events import Connected, Decided, Refused
from .faults import Faults
from .lifecycle import Lifecycle
from .live_connection import LiveConnection, number_of
from .moment import Moment
from .offence import DisconnectReason, RefusedConnect
from .post import Post
from .quotas import AccountQuotas, ConnectionQuotas, ConnectRates
from .router import Router
from .sessions import Sessions

_UNAUTHORIZED: Final = frozenset({"connect_not_allowed", "will_not_allowed"})
"""Causes of a refusal that are a lifecycle event: those of a client that the authorizer let in and the policy did not
(AWS page "Lifecycle events")."""


class Arrivals:
    """Takes CONNECT packets. The settings are those of `Broker`; `quotas` are None where no rate holds."""

    __slots__ = (
        "_account",
        "_answers",
        "_choices",
        "_connect_rates",
        "_connections",
        "_faults",
        "_lifecycle",
        "_new_uuid",
        "_post",
        "_quotas",
        "_region",
        "_router",
        "_sessions",
    )

    def __init__(
        self,
        connections: Connections,
        sessions: Sessions,
        router: Router,
        answers: Answers,
        post: Post,
        faults: Faults,
        lifecycle: Lifecycle,
        *,
        region: str,
        account: str,
        quotas: AccountQuotas | None,
        choices: Choices,
        new_uuid: Callable[[], str],
    ) -> None:
        self._connections = connections
        self._sessions = sessions
        self._router = router
        self._answers = answers
        self._post = post
        self._faults = faults
        self._lifecycle = lifecycle
        self._region = region
        self._account = account
        self._quotas = quotas
        self._choices = choices
        self._new_uuid = new_uuid
        self._connect_rates = ConnectRates()

    @property
    def rates(self) -> int:
        """How many client ids are remembered for the rate of CONNECT."""
        return len(self._connect_rates)

    def forget(self, now: float) -> None:
        """Forget what the rate of CONNECT needs no more."""
        self._connect_rates.forget(now)

    def take(self, connection: int, packet: Connect, grant: Grant, moment: Moment, effects: list[Effect]) -> None:
        """Take the first CONNECT of a connection."""
        try:
            admission = self._admit(packet, grant, connection, moment, effects)
        except RefusedConnect as refusal:
            self.refuse(connection, packet, refusal, effects)
            if refusal.cause in _UNAUTHORIZED and packet.client_id:
                self._lifecycle.connect_failed(packet.client_id, grant, moment, effects)
            return
        client_id = admission.client_id
        old = self._sessions.get(client_id)
        if old is not None and old.connection is not None:
            explanation = f"client {client_id!r} connected again, as connection {connection}: the newcomer stays"
            self._connections.kick(old.connection, DisconnectReason.DUPLICATE_CLIENTID, explanation, moment, effects)
        expiry = admission.session_expiry_seconds
        session, present = self._sessions.open(packet, client_id, expiry, effects)
        presence = self._lifecycle.presence(client_id, grant, moment)
        live = LiveConnection(
            connection,
            packet,
            session=session,
            presence=presence,
            permissions=admission.permissions,
            keep_alive_seconds=admission.keep_alive_seconds,
            quotas=None if self._quotas is None else ConnectionQuotas(self._quotas),
            now=moment.now,
        )
        self._connections.add(live, grant.disconnect_after_seconds, moment)
        self._post.send(live, replace(admission.acknowledgement, session_present=present), moment, effects)
        connected = Connected(connection, client_id, live.principal_id, live.protocol, live.keep_alive_seconds, present)
        effects.append(Happened(connected))
        self._router.resume(live, moment, effects)
        self._lifecycle.connected(presence, moment, effects)

    def refuse(self, connection: int, packet: Connect, refusal: RefusedConnect, effects: list[Effect]) -> None:
        """Refuse a CONNECT: CONNACK for MQTT 5, if there is a code; a hang-up without a word for 3.1.1."""
        reason_code: int | None = None
        if packet.version is Version.MQTT5 and refusal.reason_code is not None:
            acknowledgement = self._answers.refusal(packet, refusal.reason_code)
            if acknowledgement is not None:
                reason_code = refusal.reason_code
                effects.append(Send(connection, acknowledgement))
        effects.append(HangUp(connection))
        effects.append(Happened(Refused(connection, packet.client_id, refusal.cause, reason_code, refusal.explanation)))
        self._connections.turn_away(connection)

    def _admit(
        self, packet: Connect, grant: Grant, connection: int, moment: Moment, effects: list[Effect]
    ) -> Admission:
        """Accept a CONNECT or raise `RefusedConnect`."""

        def report(client_id: str, decision: Decision) -> None:
            event = Decided(
                connection, client_id, decision.action, decision.resource, decision.allowed, decision.explanation
            )
            effects.append(Happened(event))

        self._check_faults(packet)
        self._check_rate(packet, moment)
        admission = admit(
            packet,
            grant,
            region=self._region,
            account=self._account,
            session_expiry_seconds=self._sessions.granted_expiry(packet),
            choices=self._choices,
            new_uuid=self._new_uuid,
            report=report,
        )
        if packet.will is not None and not self._sessions.has_room_for_will(admission.client_id, packet.will):
            raise RefusedConnect(
                ReasonCode.QUOTA_EXCEEDED,
                "too_many_wills",
                "the endpoint keeps no more wills: those of all clients together would take more bytes than it has for "
                "them, and that of a client that is away counts until its delay is over",
            )
        limit = number_of(packet, Property.MAXIMUM_PACKET_SIZE)
        if limit is not None and len(encode(admission.acknowledgement, packet.version)) > limit:
            raise RefusedConnect(
                ReasonCode.UNSPECIFIED_ERROR,  # AWS's list for CONNACK has no 149
                "maximum_packet_size",
                f"the client's Maximum Packet Size of {limit} bytes is less than a CONNACK has",
            )
        return admission

    def _check_faults(self, packet: Connect) -> None:
        fault = self._faults.take(("answer", "throttle"), "CONNECT", packet.client_id)
        if fault is None:
            return
        if fault.action == "throttle":
            raise RefusedConnect(ReasonCode.QUOTA_EXCEEDED, "connect_rate", "a fault throttles the CONNECT")
        explanation = f"a fault refuses the CONNECT with reason code {fault.reason_code}"
        raise RefusedConnect(ReasonCode(fault.reason_code), "fault", explanation)

    def _check_rate(self, packet: Connect, moment: Moment) -> None:
        if self._quotas is None:
            return
        if not self._quotas.connects.take(moment.now):
            raise RefusedConnect(
                ReasonCode.QUOTA_EXCEEDED,
                "connect_rate",
                f"more than {CONNECTS_PER_SECOND} clients connected within a second, which is AWS IoT Core's rate for "
                "an account that has not asked for more",
            )
        # An empty client id is assigned another one each time.
        if packet.client_id and not self._connect_rates.take(packet.client_id, moment.now):
            raise RefusedConnect(
                ReasonCode.QUOTA_EXCEEDED,
                "connect_rate",
                f"client {packet.client_id!r} connected twice within a second: AWS IoT Core allows one CONNECT per "
                "second and client id",
            )
