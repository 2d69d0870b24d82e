"""Asking an authorizer's function on behalf of one connection, and telling the log about it.

One way for CONNECT and for HTTPS requests: the same events, the same redaction, the same grant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ..authorizer.result import AuthorizerResult
from .authentication import Question, Verdict, judge
from .authorizer_calls import Answer
from .effects import Grant
from .events import AuthorizerAnswered, AuthorizerCalled
from .redaction import shown_event

if TYPE_CHECKING:
    from .server import Server


def consult(server: Server, connection: int, question: Question, done: Callable[[Verdict, float], None]) -> None:
    """Have the function called; `done` is given the verdict and the seconds it took, once, from the event loop."""

    def answered(answer: Answer) -> None:
        verdict = judge(question, answer, show_secrets=server.show_secrets, choices=server.choices)
        clamped = verdict.result.clamped if verdict.result else ()
        explanation = verdict.refusal.explanation if verdict.refusal else "; ".join(clamped)
        server.log.append(
            AuthorizerAnswered(
                connection, question.name, verdict.outcome, answer.elapsed_seconds, verdict.shown, explanation
            )
        )
        done(verdict, answer.elapsed_seconds)
        server.flush()

    event = question.event if server.show_secrets else shown_event(question.event)
    server.log.append(AuthorizerCalled(connection, question.name, cast("dict[str, object]", event)))
    server.ask(question, answered, connection=connection)


def make_grant(server: Server, question: Question, result: AuthorizerResult, source_ip: str | None) -> Grant:
    """Return what the function's result allows a client of this address."""
    policies = server.place.fit(result.policies)
    return Grant(
        result.principal_id, policies, source_ip, result.disconnect_after_seconds, server_name=question.server_name
    )
