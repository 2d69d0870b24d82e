"""One CONNECT on its way through the authorizer, and what the log is told about it.

::

    begin ──refusal──────────────────────────────> the broker refuses
      └──question──> the function ──verdict──refusal──┘
                                        └──────────> granted(packet, grant)

The client may leave while the function runs, or have to: then its answer is written down and goes nowhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from .. import limits
from ..carriage import redact_username
from .authentication import Question, Refusal, Verdict
from .codec import Connect
from .consultation import consult, make_grant
from .domains import Domain
from .effects import Grant
from .events import ConnectReceived, Refused, Warned
from .live_connection import protocol_name
from .peers import Eviction
from .presented import HttpPart, MqttPart, Presented

if TYPE_CHECKING:
    from .server import Server

Granted = Callable[[Connect, Grant], None]


class ConnectAttempt:
    """The CONNECT of one connection.

    domain: that the client has come to.
    server_name, source_ip: of the connection, for the event and the policy.
    http: the upgrade that came before, if MQTT travels in WebSocket.
    is_there: says whether the client still is.
    evicted: says why the endpoint ended the connection, if it needed its place.
    granted: is called when the authorizer lets the client in, before the policy is asked.
    """

    def __init__(
        self,
        server: Server,
        connection: int,
        packet: Connect,
        *,
        domain: Domain,
        server_name: str | None,
        source_ip: str | None,
        http: HttpPart | None,
        is_there: Callable[[], bool],
        evicted: Callable[[], Eviction | None],
        granted: Granted,
    ) -> None:
        self._server: Final = server
        self._connection: Final = connection
        self._packet: Final = packet
        self._domain: Final = domain
        self._authentication: Final = server.authentication_of(domain)
        self._presented: Final = Presented(
            server_name,
            http,
            MqttPart(packet.username, packet.password, packet.client_id),
            plus_is_space=server.choices.plus_in_query == "space",
        )
        self._source_ip: Final = source_ip
        self._is_there: Final = is_there
        self._evicted: Final = evicted
        self._granted: Final = granted
        self._given_up = False

    def begin(self) -> None:
        """Check what comes before the function, then have it called."""
        self._tell_connect()
        question = self._authentication.question(self._presented, connection_id=str(uuid.uuid4()))
        if isinstance(question, Refusal):
            self._refuse(question)
            return
        consult(
            self._server,
            self._connection,
            question,
            lambda verdict, elapsed_seconds: self._judged(question, verdict, elapsed_seconds),
        )

    def give_up(self, cause: str, explanation: str) -> None:
        """Refuse the client without a word to it; the caller ends the connection."""
        self._given_up = True
        self._server.log.append(Refused(self._connection, self._packet.client_id, cause, None, explanation))

    def _judged(self, question: Question, verdict: Verdict, elapsed_seconds: float) -> None:
        if self._given_up:
            return
        if not self._is_there():
            self._tell_left(elapsed_seconds)
        elif verdict.result is not None:
            self._granted(self._packet, make_grant(self._server, question, verdict.result, self._source_ip))
            self._server.keep_asking(self._connection, question, verdict.result, self._source_ip)
        elif verdict.refusal is not None:
            self._refuse(verdict.refusal)

    def _refuse(self, refusal: Refusal) -> None:
        server = self._server
        server.perform(
            server.broker.refuse(self._connection, self._packet, cause=refusal.cause, explanation=refusal.explanation)
        )

    def _tell_connect(self) -> None:
        server, packet, username = self._server, self._packet, self._packet.username
        if username is not None and not server.show_secrets:
            username = redact_username(username)
        server.log.append(
            ConnectReceived(
                self._connection,
                packet.client_id,
                protocol_name(packet.version),
                username,
                self._authentication.wanted(self._presented),
                packet.keep_alive_seconds,
                packet.clean_start,
                packet.will.topic if packet.will else None,
                "tls" if self._presented.http is None else "websocket",
                self._domain.name,
            )
        )
        told = self._told_at_upgrade()
        for warning in self._authentication.warnings(self._presented):
            if warning not in told:
                server.log.append(Warned(self._connection, *warning))

    def _told_at_upgrade(self) -> list[tuple[str, str]]:
        """Return the warnings that the upgrade alone had; CONNECT may add to what it presented, never change it."""
        presented = self._presented
        return [] if presented.http is None else self._authentication.warnings(replace(presented, mqtt=None))

    def _tell_left(self, elapsed_seconds: float) -> None:
        eviction = self._evicted()
        if eviction is not None:
            explanation = f"the endpoint closed the connection while the authorizer ran: {eviction.explanation}"
            self.give_up(eviction.cause, explanation)
            return
        limit = limits.AUTHORIZER_TIMEOUT_SECONDS
        explanation = (
            f"the client closed the connection before the authorizer answered, {elapsed_seconds:.1f} s after its"
            f" CONNECT; the authorizer may take {limit:g} s, so a client must wait longer than that"
        )
        self.give_up("client_left", explanation)
