"""The decision: may this client do this, by these documents? And which statement says so.

IAM's rule (AWS page "Policy evaluation logic"): an explicit Deny wins, else an Allow is needed, else it is denied.

What cannot be judged never grants. A condition with an operator or key that is not known here, a variable without
a value (`${iot:Connection.Thing.ThingName}` has none with custom authentication), an address nobody told: an Allow
that hangs on it does not apply, a Deny that hangs on it does. A statement that is ruled out by something else that
is certain stays ruled out. For Deny this is stricter than IAM, which passes over a statement with an unresolved
variable: better a refusal that explains itself than a grant that the service would not give.

This runs for every message in and out, so documents come compiled and an allowed request formats one short text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .context import Context
from .near_miss import nearest
from .policy_document import PolicyDocument, Statement

Outcome = Literal["allow", "explicit deny", "implicit deny"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policies say about one request.

    document and statement are indexes, counted from 0, of the statement that decided; None for an implicit deny.
    explanation is one line for a person, which counts from 1.
    """

    allowed: bool
    action: str
    resource: str
    effect: Outcome
    document: int | None
    statement: int | None
    explanation: str


def evaluate(policies: Sequence[PolicyDocument], action: str, resource: str, context: Context) -> Decision:
    """Decide whether the client may do this.

    action: such as `iot:Publish`; its case does not matter.
    resource: an ARN, see `topic_arn`, `topicfilter_arn` and `client_arn`; its case matters.

    Never raises, whatever the texts are.
    """
    lowered = action.lower()
    allowed: tuple[int, int] | None = None
    for d, document in enumerate(policies):
        for s, statement in enumerate(document.statements):
            if statement.effect == "Allow":
                if allowed is None and statement.applies(lowered, resource, context):
                    allowed = d, s
            else:
                verdict = statement.applies(lowered, resource, context)
                if verdict is not False:
                    explanation = _denied_by(statement, d, s, action, resource, context, certain=verdict is True)
                    return Decision(False, action, resource, "explicit deny", d, s, explanation)
    if allowed is not None:
        d, s = allowed
        explanation = f"allowed by {_name(policies[d].statements[s], d, s)}"
        return Decision(True, action, resource, "allow", d, s, explanation)
    explanation = f"denied: no statement allows {_shown(action)} on {_shown(resource)}"
    if hint := nearest(policies, action, resource, context):
        explanation = f"{explanation}; {_shown(hint, limit=600)}"
    return Decision(False, action, resource, "implicit deny", None, None, explanation)


def _denied_by(
    statement: Statement, d: int, s: int, action: str, resource: str, context: Context, *, certain: bool
) -> str:
    text = f"denied: {_name(statement, d, s)} denies {_shown(action)} on {_shown(resource)}"
    if certain:
        return text
    doubts = [c.describe(context) for c in statement.conditions if c.holds(context) is None]
    doubts += [f"${{{name}}} has no value" for p in statement.resources for name in p.missing(context.variables)]
    doubt = _shown("; ".join(dict.fromkeys(doubts)))
    return f"{text}; it hangs on what cannot be judged, and then a Deny applies: {doubt}"


def _name(statement: Statement, d: int, s: int) -> str:
    sid = f" (Sid {_shown(statement.sid)})" if statement.sid else ""
    return f"statement {s + 1} of document {d + 1}{sid}"


def _shown(text: str, limit: int = 300) -> str:
    """Keep a text from outside on one line and within bounds: it goes into logs."""
    if len(text) > limit:
        text = f"{text[: limit - 3]}..."
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
