"""Why nothing allowed it: the Allow statement that comes closest, and what separates it from the request.

Only refused requests come here. The usual mistakes are tried one by one, as a table: the request or the pattern is
changed as if the mistake had not been made, and if they then fit, that was it. Nothing found here changes a
decision. The work is bounded, because a device may repeat a refused request for ever.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .context import Context
from .patterns import Pattern
from .policy_document import VERSION_WITH_VARIABLES, PolicyDocument, Statement

_KINDS = ("topic", "topicfilter", "client")
_FIELDS = ("", "partition", "service", "region", "account")
_MOST_TRIED = 12


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An Allow statement with its place and one of its resource patterns."""

    document: PolicyDocument
    statement: Statement
    place: str
    pattern: str


@dataclass(frozen=True, slots=True)
class _Request:
    """The refused request, its ARN cut into the first five fields and the rest."""

    action: str
    resource: str
    head: tuple[str, ...]
    kind: str
    name: str
    context: Context


def nearest(policies: Sequence[PolicyDocument], action: str, resource: str, context: Context) -> str:
    """Return one sentence about the statement that nearly allowed it, or an empty string."""
    if not policies:
        return "there is no policy document"
    places = [
        (document, statement, f"statement {s + 1} of document {d + 1}")
        for d, document in enumerate(policies)
        for s, statement in enumerate(document.statements)
        if statement.effect == "Allow"
    ]
    if not places:
        return "the documents hold no Allow statement"
    lowered = action.lower()
    about_action = [place for place in places if place[1].covers_action(lowered)]
    for _, statement, place in about_action:
        if blocked := _blocked(statement, place, resource, context):
            return blocked
    candidates = [
        _Candidate(document, statement, place, pattern.source)
        for document, statement, place in about_action
        if not statement.not_resources
        for pattern in statement.resources
    ]
    candidates.sort(key=lambda candidate: _likeness(candidate.pattern, resource), reverse=True)
    *head, tail = resource.split(":", 5)
    kind, _, name = tail.partition("/")
    request = _Request(action, resource, tuple(head), kind, name, context)
    for candidate in candidates[:_MOST_TRIED]:
        for explain in _MISTAKES:
            if sentence := explain(candidate, request):
                return f"nearest: {candidate.place} {sentence}"
    for _, statement, place in places:
        if _names_resource(statement, request) and not statement.covers_action(lowered):
            listed = ", ".join(pattern.source for pattern in statement.actions)
            rule = "leaves out" if statement.not_actions else "allows only"
            return f"nearest: {place} names this resource, but {rule} {listed}"
    if candidates:
        return f"nearest: {candidates[0].place} allows {_short(candidates[0].pattern, request)}"
    return "" if about_action else f"no Allow statement names {action}"


def _blocked(statement: Statement, place: str, resource: str, context: Context) -> str:
    """Explain a statement that is about the request but for its conditions or its variables."""
    covered = statement.covers_resource(resource, context)
    if covered is False:
        return ""
    failed = [c.describe(context) for c in statement.conditions if c.holds(context) is not True]
    if failed:
        return f"{place} would allow it, but its condition does not hold: {', '.join(failed)}"
    names = sorted({name for pattern in statement.resources for name in pattern.missing(context.variables)})
    variables = ", ".join(f"${{{name}}}" for name in names)
    return (
        f"{place} might allow it, but {variables} has no value; "
        "only ${iot:ClientId} (not on HTTPS) and ${aws:SourceIp} have one with custom authentication"
    )


def _names_resource(statement: Statement, request: _Request) -> bool:
    """Say whether a pattern that is not for everything covers the resource."""
    return not statement.not_resources and any(
        not f":{pattern.source}".endswith(":*") and pattern.match(request.resource, request.context.variables)
        for pattern in statement.resources
    )


def _another_kind(candidate: _Candidate, request: _Request) -> str:
    for kind in _KINDS:
        if kind != request.kind and _fits(candidate, request, resource=_arn(request.head, f"{kind}/{request.name}")):
            allowed = _short(candidate.pattern, request)
            return f"allows {allowed}, but {request.action} is checked against {request.kind}/, not {kind}/"
    return ""


def _kind_left_out(candidate: _Candidate, request: _Request) -> str:
    *head, tail = candidate.pattern.split(":", 5)
    if len(head) != 5 or not _fits(candidate, request, pattern=_arn(head, f"{request.kind}/{tail}")):
        return ""
    return f"allows {tail}: write {request.kind}/{tail}"


def _another_place(candidate: _Candidate, request: _Request) -> str:
    """Another region, account or partition."""
    *head, tail = candidate.pattern.split(":", 5)
    if len(head) != 5 or not _fits(candidate, request, pattern=_arn(request.head, tail)):
        return ""
    differing = [
        f"{name} {wanted or '(empty)'} instead of {given or '(empty)'}"
        for name, wanted, given in zip(_FIELDS, head, request.head, strict=False)
        if not Pattern.parse(wanted).match(given, request.context.variables)
    ]
    return f"allows it for {', '.join(differing)}" if differing else ""


def _mqtt_wildcard(candidate: _Candidate, request: _Request) -> str:
    widened = candidate.pattern.replace("+", "*").replace("#", "*")
    if widened == candidate.pattern or not _fits(candidate, request, pattern=widened):
        return ""
    allowed = _short(candidate.pattern, request)
    return f"allows {allowed}, but + and # are ordinary characters in a policy: write *"


def _another_case(candidate: _Candidate, request: _Request) -> str:
    pattern = Pattern.parse(candidate.pattern, fold=True, variables=_has_variables(candidate))
    if not pattern.match(request.resource.lower(), request.context.variables):
        return ""
    return f"allows {_short(candidate.pattern, request)}, which differs only in upper and lower case"


def _no_variables(candidate: _Candidate, request: _Request) -> str:
    if _has_variables(candidate):
        return ""
    if not Pattern.parse(candidate.pattern).match(request.resource, request.context.variables):
        return ""
    allowed = _short(candidate.pattern, request)
    return f'allows {allowed}, but without "Version": "{VERSION_WITH_VARIABLES}" a variable is plain text'


_MISTAKES: tuple[Callable[[_Candidate, _Request], str], ...] = (
    _no_variables,
    _another_kind,
    _kind_left_out,
    _another_place,
    _mqtt_wildcard,
    _another_case,
)


def _fits(candidate: _Candidate, request: _Request, *, pattern: str = "", resource: str = "") -> bool:
    tried = Pattern.parse(pattern or candidate.pattern, variables=_has_variables(candidate))
    return tried.match(resource or request.resource, request.context.variables) is True


def _has_variables(candidate: _Candidate) -> bool:
    return candidate.document.version == VERSION_WITH_VARIABLES


def _arn(head: Sequence[str], tail: str) -> str:
    return ":".join((*head, tail))


def _short(pattern: str, request: _Request) -> str:
    """Leave out what the pattern and the request have in common before the kind of resource."""
    *head, tail = pattern.split(":", 5)
    alike = zip(head, request.head, strict=False)
    if len(head) == 5 and all(Pattern.parse(part).match(given, {}) for part, given in alike):
        return tail
    return pattern


def _likeness(left: str, right: str) -> int:
    """Count the characters that two ARNs share at the start and at the end of what follows the account."""
    left, right = left.split(":", 5)[-1], right.split(":", 5)[-1]
    return _shared(zip(left, right, strict=False)) + _shared(zip(reversed(left), reversed(right), strict=False))


def _shared(pairs: Iterator[tuple[str, str]]) -> int:
    count = 0
    for a, b in pairs:
        if a != b:
            break
        count += 1
    return count
