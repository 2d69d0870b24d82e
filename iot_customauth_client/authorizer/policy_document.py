"""Policy documents as the authorizer returns them, read strictly and compiled once.

Strict, because a misspelt `Conditions` that is passed over would widen what a device may do. Everything that IAM's
grammar does not know is refused with the path of the place (AWS page "Grammar of the IAM JSON policy language").

`Version` decides about variables (AWS page "IAM JSON policy elements: Version"): only in `2012-10-17` is
`${iot:ClientId}` a variable. In `2008-10-17`, which is also what a missing version means, it is plain text.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NoReturn, cast

from .conditions import BadOperand, Condition
from .context import Context
from .patterns import Pattern, all_of, any_of, negated

Effect = Literal["Allow", "Deny"]

VERSION_WITH_VARIABLES = "2012-10-17"
VERSION_WITHOUT_VARIABLES = "2008-10-17"

_NO_VARIABLES: dict[str, str] = {}
_DOCUMENT_ELEMENTS = ("Version", "Id", "Statement")
_STATEMENT_ELEMENTS = ("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition")


class MalformedPolicy(ValueError):
    """A policy document that cannot be read.

    path: the place, such as `Statement[1].Effect`; empty for the document itself.
    problem: what is wrong there and what to write instead.
    """

    def __init__(self, path: str, problem: str) -> None:
        path = path if path.isprintable() else ascii(path)[1:-1]  # it holds names out of the document
        super().__init__(f"{path}: {problem}" if path else f"the policy document {problem}")
        self.path = path
        self.problem = problem


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """One statement, compiled. `not_actions` and `not_resources` say that the lists name what is *not* covered."""

    effect: Effect
    sid: str | None
    actions: tuple[Pattern, ...]
    not_actions: bool
    resources: tuple[Pattern, ...]
    not_resources: bool
    conditions: tuple[Condition, ...]

    def covers_action(self, lower_action: str) -> bool:
        """Say whether the statement is about this action, which must come in lower case."""
        for pattern in self.actions:
            if pattern.match(lower_action, _NO_VARIABLES):
                return not self.not_actions
        return self.not_actions

    def covers_resource(self, resource: str, context: Context) -> bool | None:
        """Say whether the statement is about this resource; None if that hangs on a variable without a value."""
        answer = any_of(pattern.match(resource, context.variables) for pattern in self.resources)
        return negated(answer) if self.not_resources else answer

    def conditions_hold(self, context: Context) -> bool | None:
        """Say whether all conditions hold; None if that cannot be judged."""
        return all_of(condition.holds(context) for condition in self.conditions)

    def applies(self, lower_action: str, resource: str, context: Context) -> bool | None:
        """Say whether the statement is about this request; None if it may be or not."""
        if not self.covers_action(lower_action):
            return False
        covered = self.covers_resource(resource, context)
        if covered is False or not self.conditions:
            return covered
        return all_of((covered, self.conditions_hold(context)))


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """A policy document: its compact JSON text, and the statements compiled from it.

    Two documents are equal if their texts are.
    """

    text: str
    version: str = field(repr=False, compare=False)
    statements: tuple[Statement, ...] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, value: object) -> "PolicyDocument":
        """Read a document from an object, as a Lambda function returns it, or from JSON text.

        Raises MalformedPolicy with the path of the first fault.
        """
        text, data = _as_json(value)
        document = _object(data, "", _DOCUMENT_ELEMENTS)
        version = document.get("Version", VERSION_WITHOUT_VARIABLES)
        if version not in (VERSION_WITH_VARIABLES, VERSION_WITHOUT_VARIABLES):
            raise MalformedPolicy("Version", f'must be "{VERSION_WITH_VARIABLES}"')
        if not isinstance(document.get("Id", ""), str):
            raise MalformedPolicy("Id", "must be a string")
        variables = version == VERSION_WITH_VARIABLES
        found = document.get("Statement")
        if isinstance(found, list):
            if not found:
                raise MalformedPolicy("Statement", "must hold at least one statement")
            entries = [(f"Statement[{index}]", entry) for index, entry in enumerate(cast("list[object]", found))]
        else:
            entries = [("Statement", found)]
        statements = tuple(_statement(entry, path, variables) for path, entry in entries)
        return cls(text, str(version), statements)


def _as_json(value: object) -> tuple[str, object]:
    """Return the compact text of a document and plain JSON data, whatever it came as."""
    try:
        written = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        data: object = json.loads(written, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")), data
    except MalformedPolicy:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        kind = "text that is not valid JSON" if isinstance(value, str) else "something that JSON cannot express"
        raise MalformedPolicy("", f"is {kind} ({type(error).__name__})") from None


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise MalformedPolicy("", f"gives {_shown(twice)} twice in one object: only one of them would count")
    return found


def _no_constant(name: str) -> NoReturn:
    raise MalformedPolicy("", f"holds {name}, which is not JSON")


def _object(value: object, path: str, allowed: Sequence[str]) -> dict[str, object]:
    if not isinstance(value, dict):
        raise MalformedPolicy(path, f"must be a JSON object, not {_kind(value)}")
    members = cast("dict[str, object]", value)
    for name in members:
        if name not in allowed:
            meant = next((known for known in allowed if known.lower() == name.lower()), None)
            advice = f"write {meant}" if meant else f"known here: {', '.join(allowed)}"
            raise MalformedPolicy(_join(path, _shown(name)), f"is not an element of a policy; {advice}")
    return members


def _statement(value: object, path: str, variables: bool) -> Statement:
    members = _object(value, path, _STATEMENT_ELEMENTS)
    effect = members.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise MalformedPolicy(f"{path}.Effect", 'must be "Allow" or "Deny"')
    sid = members.get("Sid")
    if sid is not None and not isinstance(sid, str):
        raise MalformedPolicy(f"{path}.Sid", f"must be a string, not {_kind(sid)}")
    actions = _one_of(members, path, "Action")
    resources = _one_of(members, path, "Resource")
    return Statement(
        effect=effect,
        sid=sid,
        actions=_patterns(members[actions], f"{path}.{actions}", _action_fault, fold=True, variables=False),
        not_actions=actions != "Action",
        resources=_patterns(members[resources], f"{path}.{resources}", _resource_fault, variables=variables),
        not_resources=resources != "Resource",
        conditions=_conditions(members.get("Condition", {}), f"{path}.Condition", variables),
    )


def _one_of(members: dict[str, object], path: str, name: str) -> str:
    """Return which of the two elements, `Action` or `NotAction`, is given."""
    given = [element for element in (name, f"Not{name}") if element in members]
    if len(given) != 1:
        fault = "both are given" if given else "neither is given"
        raise MalformedPolicy(f"{path}.{name}", f"exactly one of {name} and Not{name} must stand here; {fault}")
    return given[0]


def _patterns(
    value: object, path: str, fault: Callable[[str], str | None], *, fold: bool = False, variables: bool
) -> tuple[Pattern, ...]:
    patterns: list[Pattern] = []
    for place, text in _items(value, path):
        if not isinstance(text, str):
            raise MalformedPolicy(place, f"must be a string, not {_kind(text)}")
        if problem := fault(text):
            raise MalformedPolicy(place, problem)
        patterns.append(Pattern.parse(text, fold=fold, variables=variables))
    return tuple(patterns)


def _items(value: object, path: str) -> list[tuple[str, object]]:
    """Return the path and value of every entry of "a value or a list of values"."""
    if not isinstance(value, list):
        return [(path, value)]
    if not value:
        raise MalformedPolicy(path, "must not be an empty list")
    return [(f"{path}[{index}]", entry) for index, entry in enumerate(cast("list[object]", value))]


def _action_fault(text: str) -> str | None:
    service, colon, name = text.partition(":")
    if text == "*" or (service and name):
        return None
    if colon:
        return f'{_shown(text)} is not an action; write for example "iot:Publish"'
    if not text:
        return 'is empty; write "iot:Publish"'
    return f'{_shown(text)} lacks the service; write "iot:{_shown(text)[1:-1]}"'


def _resource_fault(text: str) -> str | None:
    if text == "*" or text.startswith("arn:"):
        return None
    return f'{_shown(text)} is neither an ARN nor "*"; write for example "arn:aws:iot:REGION:ACCOUNT:topic/my-topic"'


def _conditions(value: object, path: str, variables: bool) -> tuple[Condition, ...]:
    conditions: list[Condition] = []
    for operator, block in _members(value, path):
        for key, operands in _members(block, f"{path}.{operator}"):
            place = f"{path}.{operator}.{key}"
            texts = tuple(_condition_text(entry, where) for where, entry in _items(operands, place))
            try:
                conditions.append(Condition.compile(operator, key, texts, variables=variables))
            except BadOperand as error:
                raise MalformedPolicy(place, f"a value {error}") from None
    return tuple(conditions)


def _members(value: object, path: str) -> list[tuple[str, object]]:
    if not isinstance(value, dict):
        raise MalformedPolicy(path, f"must be a JSON object, not {_kind(value)}")
    return list(cast("dict[str, object]", value).items())


def _condition_text(value: object, path: str) -> str:
    """Return a condition value as text: IAM's grammar knows strings, numbers and truth values."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise MalformedPolicy(path, f"must be a string, number or truth value, not {_kind(value)}")


def _kind(value: object) -> str:
    """Name a JSON value's kind for a person."""
    names: dict[type, str] = {dict: "an object", list: "a list", str: "a string", bool: "a truth value"}
    return "nothing" if value is None else names.get(type(value), "a number")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(text: str) -> str:
    """Quote a text from the document on one line, shortened."""
    return ascii(text if len(text) <= 80 else f"{text[:77]}...")
