"""One CONNECT on its way through the authorizer, and what the log is told about it.

::

    begin ──refusal──────────────────────────────> the broker refuses
      └──question──> the function ──answer──> judged ──refusal──┘
                                                 └──────────> granted(packet, grant)

The client may leave while the function runs: then its answer is written down and goes nowhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from .. import limits
from ..carriage import redact_username
from .authentication import Question, Refusal, judge
from .authorizer_calls import Answer
from .codec import Connect
from .effects import Grant
from .events import AuthorizerAnswered, AuthorizerCalled, ConnectReceived, Refused
from .live_connection import protocol_name
from .redaction import shown_event

if TYPE_CHECKING:
    from .server import Server

Granted = Callable[[Connect, Grant], None]


class ConnectAttempt:
    """The CONNECT of one connection.

    server_name, source_ip: of the connection, for the event and the policy.
    is_there: says whether the client still is.
    granted: is called when the authorizer lets the client in, before the policy is asked.
    """

    def __init__(
        self,
        server: Server,
        connection: int,
        packet: Connect,
        *,
        server_name: str | None,
        source_ip: str | None,
        is_there: Callable[[], bool],
        granted: Granted,
    ) -> None:
        self._server: Final = server
        self._connection: Final = connection
        self._packet: Final = packet
        self._server_name: Final = server_name
        self._source_ip: Final = source_ip
        self._is_there: Final = is_there
        self._granted: Final = granted

    def begin(self) -> None:
        """Check what comes before the function, then have it called."""
        server, packet = self._server, self._packet
        self._tell_connect()
        question = server.authentication.question(
            packet, server_name=self._server_name, connection_id=str(uuid.uuid4())
        )
        if isinstance(question, Refusal):
            self._refuse(question)
            return
        event = question.event if server.show_secrets else shown_event(question.event)
        server.log.append(AuthorizerCalled(self._connection, question.name, cast("dict[str, object]", event)))
        server.ask(question, lambda answer: self._answered(question, answer))

    def _answered(self, question: Question, answer: Answer) -> None:
        server = self._server
        verdict = judge(question, answer, show_secrets=server.show_secrets)
        explanation = verdict.refusal.explanation if verdict.refusal else ""
        server.log.append(
            AuthorizerAnswered(
                self._connection,
                question.name,
                verdict.outcome,
                answer.elapsed_seconds,
                verdict.shown,
                explanation,
            )
        )
        if not self._is_there():
            self._tell_left(answer.elapsed_seconds)
        elif verdict.result is not None:
            policies = server.place.fit(verdict.result.policies)
            self._granted(self._packet, Grant(verdict.result.principal_id, policies, self._source_ip))
        elif verdict.refusal is not None:
            self._refuse(verdict.refusal)
        server.flush()

    def _refuse(self, refusal: Refusal) -> None:
        server = self._server
        server.perform(
            server.broker.refuse(self._connection, self._packet, cause=refusal.cause, explanation=refusal.explanation)
        )

    def _tell_connect(self) -> None:
        packet, username = self._packet, self._packet.username
        if username is not None and not self._server.show_secrets:
            username = redact_username(username)
        self._server.log.append(
            ConnectReceived(
                self._connection,
                packet.client_id,
                protocol_name(packet.version),
                username,
                self._server.authentication.wanted(packet.username),
                packet.keep_alive_seconds,
                packet.clean_start,
                packet.will.topic if packet.will else None,
            )
        )

    def _tell_left(self, elapsed_seconds: float) -> None:
        limit = limits.AUTHORIZER_TIMEOUT_SECONDS
        explanation = (
            f"the client closed the connection before the authorizer answered, {elapsed_seconds:.1f} s after its"
            f" CONNECT; the authorizer may take {limit:g} s, so a client must wait longer than that"
        )
        self._server.log.append(Refused(self._connection, self._packet.client_id, "client_left", None, explanation))
