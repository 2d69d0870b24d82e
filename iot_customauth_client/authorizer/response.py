"""What an authorizer function answers, built instead of typed: `allow`, `deny` and the policy inside.

Plain dictionaries come out, as Lambda wants them. `allow` checks its own answer, so that a fault shows in the
function's log with the cause, and not only as a client that is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypedDict

from .policy_document import VERSION_WITH_VARIABLES
from .result import DEFAULT_DISCONNECT_AFTER_SECONDS, DEFAULT_REFRESH_AFTER_SECONDS, validate_result

ConditionBlock = Mapping[str, Mapping[str, object]]


class StatementDict(TypedDict):
    """A policy statement as JSON data."""

    Sid: NotRequired[str]
    Effect: Literal["Allow", "Deny"]
    Action: list[str]
    Resource: list[str]
    Condition: NotRequired[ConditionBlock]


class PolicyDict(TypedDict):
    """A policy document as JSON data."""

    Version: str
    Statement: list[StatementDict]


class ResultDict(TypedDict):
    """The answer of an authorizer function as JSON data."""

    isAuthenticated: bool
    principalId: NotRequired[str]
    policyDocuments: NotRequired[list[PolicyDict]]
    disconnectAfterInSeconds: NotRequired[int]
    refreshAfterInSeconds: NotRequired[int]


def statement(
    effect: Literal["Allow", "Deny"],
    actions: str | Sequence[str],
    resources: str | Sequence[str],
    *,
    condition: ConditionBlock | None = None,
    sid: str | None = None,
) -> StatementDict:
    """Build one policy statement; a single action or resource may be given as it is."""
    built: StatementDict = {"Effect": effect, "Action": _listed(actions), "Resource": _listed(resources)}
    if sid is not None:
        built["Sid"] = sid
    if condition is not None:
        built["Condition"] = condition
    return built


def document(*statements: StatementDict) -> PolicyDict:
    """Build a policy document in which `${iot:ClientId}` and `${aws:SourceIp}` work."""
    return {"Version": VERSION_WITH_VARIABLES, "Statement": list(statements)}


def allow(
    *,
    principal_id: str,
    policy: PolicyDict | Sequence[PolicyDict],
    disconnect_after_seconds: int = DEFAULT_DISCONNECT_AFTER_SECONDS,
    refresh_after_seconds: int = DEFAULT_REFRESH_AFTER_SECONDS,
) -> ResultDict:
    """Build the answer that lets a client in, to do what the policy allows.

    principal_id: 1 to 128 characters out of a-z, A-Z and 0-9.
    policy: one document, or up to 10.
    disconnect_after_seconds: 300 to 86,400; the service ends the connection after that.
    refresh_after_seconds: 300 to 86,400; the service asks the function again after that.

    Raises InvalidResult for an answer that the service would not accept.
    """
    documents = [policy] if isinstance(policy, dict) else list(policy)
    result: ResultDict = {
        "isAuthenticated": True,
        "principalId": principal_id,
        "policyDocuments": documents,
        "disconnectAfterInSeconds": disconnect_after_seconds,
        "refreshAfterInSeconds": refresh_after_seconds,
    }
    validate_result(result)
    return result


def deny() -> ResultDict:
    """Build the answer that refuses a client; the service looks at nothing else in it."""
    return {"isAuthenticated": False}


def _listed(texts: str | Sequence[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)
