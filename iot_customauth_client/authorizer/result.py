"""What an authorizer function returned, validated as strictly as the service's documentation reads.

Rules: AWS page "Defining your Lambda function"; sizes: AWS General Reference, "AWS IoT Core quotas". A result that
denies is not looked at any further, because AWS's own samples return zeros and empty lists with it.

`refreshAfterInSeconds` has no documented default. 86,400 is taken, the longest life of a connection: a function
that does not ask to be asked again is not.

All faults are reported at once, each with what to return instead. Of the values only those appear that cannot be
secret: numbers, and single characters of a principal id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_letters, digits
from typing import cast

from iot_customauth_client.limits import (
    MAX_AUTHORIZER_SECONDS,
    MAX_POLICY_CHARACTERS,
    MAX_POLICY_DOCUMENTS,
    MIN_AUTHORIZER_SECONDS,
)

from .policy_document import MalformedPolicy, PolicyDocument

MAX_PRINCIPAL_ID_CHARACTERS = 128
DEFAULT_DISCONNECT_AFTER_SECONDS = MAX_AUTHORIZER_SECONDS
DEFAULT_REFRESH_AFTER_SECONDS = MAX_AUTHORIZER_SECONDS

_PRINCIPAL_ID_CHARACTERS = frozenset(ascii_letters + digits)


class InvalidResult(ValueError):
    """An authorizer's result that the service would not accept; the client is refused.

    problems: every fault found, each a sentence of its own.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"the authorizer's result is invalid ({count}): {'; '.join(problems)}")
        self.problems = problems


@dataclass(frozen=True, slots=True)
class AuthorizerResult:
    """A valid result. If is_authenticated is False, the other fields hold nothing but defaults.

    disconnect_after_seconds: 300 to 86,400; how long the connection may live.
    refresh_after_seconds: 300 to 86,400; after how long the function is asked again.
    clamped: a sentence for each number of seconds that was out of range and is taken as the nearest one within.
    """

    is_authenticated: bool
    principal_id: str = ""
    policies: tuple[PolicyDocument, ...] = ()
    disconnect_after_seconds: int = DEFAULT_DISCONNECT_AFTER_SECONDS
    refresh_after_seconds: int = DEFAULT_REFRESH_AFTER_SECONDS
    clamped: tuple[str, ...] = ()


def validate_result(value: object, *, clamp_seconds: bool = False, documents_as_text: bool = True) -> AuthorizerResult:
    """Validate what an authorizer function returned.

    value: the returned object, as Python or JSON data. Keys other than the five known ones are ignored.
    clamp_seconds: take a number of seconds that is out of range as the nearest one within, instead of refusing it.
    documents_as_text: take a policy document that is JSON text as the object it stands for, instead of refusing it.
    What the service does in these two cases is not documented.

    Raises InvalidResult that lists every problem.
    """
    if not isinstance(value, Mapping):
        raise InvalidResult((_not_an_object(value),))
    result = cast("Mapping[str, object]", value)
    authenticated = result.get("isAuthenticated")
    if authenticated is False:
        return AuthorizerResult(is_authenticated=False)
    problems: list[str] = []
    if authenticated is not True:
        found = "it is missing" if authenticated is None else f"not a value of type {type(authenticated).__name__}"
        problems.append(f"isAuthenticated must be true or false, {found}")
    principal_id = _principal_id(result.get("principalId"), problems)
    policies = _policies(result.get("policyDocuments"), problems, as_text=documents_as_text)
    clamped: list[str] = []
    out_of_range = clamped if clamp_seconds else problems
    disconnect = _seconds(
        result, "disconnectAfterInSeconds", DEFAULT_DISCONNECT_AFTER_SECONDS, problems, out_of_range=out_of_range
    )
    refresh = _seconds(
        result, "refreshAfterInSeconds", DEFAULT_REFRESH_AFTER_SECONDS, problems, out_of_range=out_of_range
    )
    if problems:
        raise InvalidResult(tuple(problems))
    return AuthorizerResult(
        True, principal_id, policies, disconnect, refresh, tuple(f"{each}: the nearest is taken" for each in clamped)
    )


def _not_an_object(value: object) -> str:
    if value is None:
        return "the function returned nothing; is a return statement missing?"
    if isinstance(value, str | bytes):
        return "the function returned text; return the object itself, not its JSON text"
    return f"the function must return an object, not {type(value).__name__}"


def _principal_id(value: object, problems: list[str]) -> str:
    rule = f"1 to {MAX_PRINCIPAL_ID_CHARACTERS} characters out of a-z, A-Z and 0-9"
    if not isinstance(value, str):
        found = "it is missing" if value is None else f"not a value of type {type(value).__name__}"
        problems.append(f"principalId must be a string of {rule}, {found}")
        return ""
    wrong = next(((at, c) for at, c in enumerate(value) if c not in _PRINCIPAL_ID_CHARACTERS), None)
    if wrong is not None:
        at, character = wrong
        problems.append(f"principalId must be {rule}; leave out {character!a}, its character {at + 1}")
    elif not 0 < len(value) <= MAX_PRINCIPAL_ID_CHARACTERS:
        problems.append(f"principalId must be {rule}, not {len(value)}")
    return value


def _policies(value: object, problems: list[str], *, as_text: bool) -> tuple[PolicyDocument, ...]:
    if not isinstance(value, list | tuple):
        found = "it is missing" if value is None else f"not a value of type {type(value).__name__}"
        problems.append(f"policyDocuments must be a list of 1 to {MAX_POLICY_DOCUMENTS} policy documents, {found}")
        return ()
    documents = cast("list[object] | tuple[object, ...]", value)
    if not documents:
        problems.append("policyDocuments is empty: without a document nothing is allowed, not even iot:Connect")
    if len(documents) > MAX_POLICY_DOCUMENTS:
        problems.append(
            f"policyDocuments holds {len(documents)} documents; put them into {MAX_POLICY_DOCUMENTS} or fewer"
        )
    found_documents: list[PolicyDocument] = []
    for index, document in enumerate(documents[:MAX_POLICY_DOCUMENTS]):
        place = f"policyDocuments[{index}]"
        if isinstance(document, str) and not as_text:
            problems.append(f"{place} is text; return the document as an object, not as JSON text")
            continue
        if isinstance(document, str) and not _fits(document, place, problems):
            continue  # too long: not even parsed
        try:
            parsed = PolicyDocument.parse(document)
        except MalformedPolicy as error:
            problems.append(f"{place}.{error}" if error.path else f"{place} {error.problem}")
            continue
        if isinstance(document, str) or _fits(parsed.text, place, problems):
            found_documents.append(parsed)
    return tuple(found_documents)


def _fits(text: str, place: str, problems: list[str]) -> bool:
    size = sum(map(len, text.split()))
    if size <= MAX_POLICY_CHARACTERS:
        return True
    advice = "use wildcards, or spread the statements over several documents"
    problems.append(f"{place} has {size} characters without white space, {MAX_POLICY_CHARACTERS} are allowed: {advice}")
    return False


def _seconds(
    result: Mapping[str, object], key: str, default: int, problems: list[str], *, out_of_range: list[str]
) -> int:
    """Return the number within its range; one that is not is told in `out_of_range`."""
    value = result.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        problems.append(f"{key} must be a whole number, not a value of type {type(value).__name__}")
        return default
    if not MIN_AUTHORIZER_SECONDS <= value <= MAX_AUTHORIZER_SECONDS:
        shown: int | str = value if abs(value) < 10**12 else "a far larger number"
        nearest = max(MIN_AUTHORIZER_SECONDS, min(value, MAX_AUTHORIZER_SECONDS))
        out_of_range.append(f"{key} must be from {MIN_AUTHORIZER_SECONDS} to {MAX_AUTHORIZER_SECONDS}, not {shown}")
        return nearest
    return value
