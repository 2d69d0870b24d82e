"""Policies: patterns, documents, decisions, and the results of authorizers.

An input is a kind, and bytes from which a pattern, a document or a result is built; or the JSON text of a document.
Promises:

- nothing is raised but `MalformedPolicy` and `InvalidResult`, each in lines without control characters;
- a pattern matches exactly what a plain, slow matcher says, and a pattern of many stars takes no time;
- one more Deny never allows more, one more Allow never less; the order of the statements does not matter;
- a decision is explained in one line, and reading the compact text of a document again decides the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from functools import cache
from typing import Final

from iot_customauth_client.authorizer.context import Context
from iot_customauth_client.authorizer.patterns import Kind, Pattern, tokenize
from iot_customauth_client.authorizer.policy import Decision, evaluate
from iot_customauth_client.authorizer.policy_document import MalformedPolicy, PolicyDocument
from iot_customauth_client.authorizer.result import InvalidResult, validate_result

from .dice import InputDice, chance, pick
from .mutation import mutate
from .target import Outcome, Target, ensure

_HEAD: Final = "arn:aws:iot:eu-west-1:123456789012:"
_ACTIONS: Final = ("iot:Connect", "iot:Publish", "iot:Receive", "iot:Subscribe", "iot:RetainPublish", "IOT:publish")
_ACTION_PATTERNS: Final = (
    *_ACTIONS,
    "*",
    "iot:*",
    "iot:P*",
    "s3:Get*",
    "iot:?ublish",
    "iot:${iot:ClientId}",
    "iot",
    "",
)
_NAMES: Final = ("a", "a/b", "client_id", "*", "é", "+", "#", "a" * 300, "${iot:ClientId}", "a\nb", "")
_TAILS: Final = (
    *("topic/a", "topic/*", "topicfilter/a/*", "client/${iot:ClientId}", "topic/${iot:ClientId}/?", "topic/${nothing}"),
    *("client/*", "topic/${*}", "topic/${", "*", "topic/+", "topic/a*b*c*d*e*", "topic/${iot:ClientId}${iot:ClientId}"),
    *("a", "topic/" + "*a" * 40, "topic/" + "?*" * 60, "topic/${aws:SourceIp}"),
)
_RESOURCES: Final = (
    *(_HEAD + tail for tail in _TAILS),
    *(
        "*",
        "arn:aws:iot:*:*:topic/a",
        "arn:aws:iot:us-east-1:1:topic/a",
        "arn:",
        "topic/a",
        "arn:aws:iot:eu-west-1:topic/a",
    ),
)
_OPERATORS: Final = (
    *("StringEquals", "StringNotEquals", "StringLike", "ArnEquals", "ArnNotLike", "IpAddress", "NotIpAddress", "Bool"),
    *(
        "ForAllValues:StringEquals",
        "ForAnyValue:StringLike",
        "StringEqualsIfExists",
        "StringEqualsIgnoreCase",
        "Nonsense",
    ),
    *("ForSomeValues:StringEquals", "NumericEquals", "Null"),
)
_KEYS: Final = (
    "iot:ClientId",
    "iot:ConnectAttributes",
    "iot:LastWillTopic",
    "aws:SourceIp",
    "aws:nothing",
    "IOT:CLIENTID",
)
_VALUES: Final[tuple[object, ...]] = (
    *(
        "a",
        "client_id",
        "*",
        "LastWill",
        "PersistentConnect",
        _HEAD + "topic/a",
        "192.0.2.0/24",
        "::1",
        "true",
        5,
        True,
        None,
    ),
    *("${iot:ClientId}", "arn:aws:iot:*:*:topic/${iot:ClientId}", "192.0.2.0/99", 1e308, -0.0, "é" * 50),
)
_CONTEXTS: Final = (
    Context("client_id", "192.0.2.1"),
    Context("*", None),
    Context(None, "2001:db8::1"),
    Context("a", "::ffff:192.0.2.1", frozenset({"LastWill", "PersistentConnect"}), _HEAD + "topic/a"),
    Context("+", "not an address", frozenset({"LastWill"}), "arn:"),
)


def make(seed: random.Random) -> bytes:
    """Choices for a pattern, a document or a result; or the text of a document, most often damaged."""
    if seed.random() < 0.2:
        document = json.dumps(_document(InputDice(seed.randbytes(60)))).encode()
        return b"\xff" + (mutate(document, seed) if seed.random() < 0.8 else document)
    return bytes((seed.randrange(255),)) + seed.randbytes(seed.choice((8, 24, 60, 200)))


def run(data: bytes) -> Outcome:
    """Build what the input says, and try it."""
    if len(data) < 2:
        return Outcome("too short")
    if data[0] == 0xFF:
        return _run_text(data[1:].decode("utf-8", "surrogateescape"))
    dice = InputDice(data[1:])
    match data[0] % 4:
        case 0:
            return _run_pattern(dice)
        case 1:
            return _run_result(dice)
        case _:
            return _run_document(dice)


# -- patterns ----------------------------------------------------------------------------------------------------------


def _run_pattern(dice: InputDice) -> Outcome:
    alphabet = pick(dice, ("*a", "*ab", "*?a", "*?ab", "*${}a:", "a"))
    source = "".join(pick(dice, alphabet) for _ in range(dice.below(24)))
    text = "".join(pick(dice, "aab") for _ in range(dice.below(24)))
    variables = chance(dice, 50)
    pattern = Pattern.parse(source, variables=variables)
    known = {"a": pick(dice, ("", "a", "*", "ab", "?"))}
    answer = pattern.match(text, known)
    ensure(answer == _plainly(source, text, known, variables=variables), "a pattern matches what a plain matcher says")
    if chance(dice, 2):
        long = Pattern.parse((source or "*a") * 100)
        ensure(long.match(text * 200, known) in (True, False, None), "a long pattern has an answer")
        stars = Pattern.parse("*a" * 300 + "*b")
        ensure(stars.match("a" * 30_000, {}) is False, "many stars have an answer")
    return Outcome(f"pattern {answer}")


def _plainly(source: str, text: str, known: Mapping[str, str], *, variables: bool) -> bool | None:
    """Match by the definition: every way is tried, each once."""
    tokens: list[tuple[Kind, str]] = []
    unknown = False
    for kind, token in tokenize(source, variables=variables):
        if kind is Kind.VARIABLE:
            value = known.get(token.lower())
            unknown = unknown or value is None
            tokens += [(Kind.ANY, "*")] if value is None else [(Kind.TEXT, each) for each in value]
        elif kind is Kind.TEXT:
            tokens += [(Kind.TEXT, each) for each in token]
        else:
            tokens.append((kind, token))

    @cache
    def fits(token: int, at: int) -> bool:
        if token == len(tokens):
            return at == len(text)
        kind, wanted = tokens[token]
        if kind is Kind.ANY:
            return fits(token + 1, at) or (at < len(text) and fits(token, at + 1))
        if at == len(text) or (kind is Kind.TEXT and text[at] != wanted):
            return False
        return fits(token + 1, at + 1)

    if not fits(0, 0):
        return False
    return None if unknown else True


# -- documents ---------------------------------------------------------------------------------------------------------


def _some(dice: InputDice, items: tuple[object, ...]) -> object:
    if chance(dice, 60):
        return pick(dice, items)
    return [pick(dice, items) for _ in range(dice.below(4))]


def _statement(dice: InputDice, effect: str | None = None) -> dict[str, object]:
    effect = effect or pick(dice, ("Allow", "Allow", "Deny", "Deny", "allow"))
    statement: dict[str, object] = {"Effect": effect}
    statement["Action" if chance(dice, 85) else "NotAction"] = _some(
        dice, _ACTION_PATTERNS[: 7 if chance(dice, 90) else 99]
    )
    statement["Resource" if chance(dice, 85) else "NotResource"] = _some(
        dice, _RESOURCES[: 18 if chance(dice, 90) else 99]
    )
    if chance(dice, 30):
        blocks: dict[str, object] = {}
        for _ in range(1 + dice.below(2)):
            blocks[pick(dice, _OPERATORS)] = {pick(dice, _KEYS): _some(dice, _VALUES)}
        statement["Condition"] = blocks
    if chance(dice, 5):
        statement[pick(dice, ("Sid", "Principal", "effect", "Sid"))] = pick(dice, ("x", 1, None, "a\nb", {}))
    return statement


def _document(dice: InputDice) -> dict[str, object]:
    statements = [_statement(dice) for _ in range(1 + dice.below(3))]
    document: dict[str, object] = {"Version": pick(dice, ("2012-10-17",) * 8 + ("2008-10-17", "2012"))}
    document["Statement"] = statements[0] if len(statements) == 1 and chance(dice, 50) else statements
    if chance(dice, 3):
        document[pick(dice, ("Id", "id", "Statements"))] = pick(dice, ("x", 7, []))
    return document


def _parse(value: object) -> PolicyDocument | None:
    try:
        return PolicyDocument.parse(value)
    except MalformedPolicy as error:
        _check_line(str(error))
        return None


def _run_document(dice: InputDice) -> Outcome:
    documents = [each for each in (_parse(_document(dice)) for _ in range(1 + dice.below(2))) if each is not None]
    if not documents:
        return Outcome("document malformed")
    requests = [
        (
            pick(dice, _ACTIONS),
            pick(
                dice,
                (_HEAD + pick(dice, ("topic/", "topicfilter/", "client/")) + pick(dice, _NAMES), pick(dice, _NAMES)),
            ),
            pick(dice, _CONTEXTS),
        )
        for _ in range(3)
    ]
    more = {
        effect: _parse({"Version": "2012-10-17", "Statement": _statement(dice, effect)}) for effect in ("Allow", "Deny")
    }
    label = "document"
    for action, resource, context in requests:
        decision = evaluate(documents, action, resource, context)
        _check_decision(decision)
        ensure(
            evaluate(documents[::-1], action, resource, context).allowed == decision.allowed, "order does not matter"
        )
        again = [PolicyDocument.parse(each.text) for each in documents]
        ensure(evaluate(again, action, resource, context) == decision, "the text of a document decides the same")
        if (deny := more["Deny"]) is not None:
            stricter = evaluate([*documents, deny], action, resource, context)
            ensure(decision.allowed or not stricter.allowed, "one more Deny never allows more")
        if (allow := more["Allow"]) is not None:
            wider = evaluate([allow, *documents], action, resource, context)
            ensure(wider.allowed or not decision.allowed, "one more Allow never allows less")
        label = decision.effect if decision.effect != "implicit deny" else f"implicit deny, {_hint(decision)}"
    return Outcome(label)


def _check_decision(decision: Decision) -> None:
    ensure(decision.allowed == (decision.effect == "allow"), "the effect says whether it is allowed")
    _check_line(decision.explanation)


def _hint(decision: Decision) -> str:
    _, _, hint = decision.explanation.partition("; ")
    return " ".join(word for word in hint.split() if word.isalpha())[:40]


def _check_line(text: str) -> None:
    ensure(text.isprintable(), "what is explained is one line")
    ensure(len(text) < 6_000, "an explanation is bounded")


def _run_text(text: str) -> Outcome:
    document = _parse(text)
    if document is None:
        return Outcome("text malformed")
    decision = evaluate([document], "iot:Publish", _HEAD + "topic/a", _CONTEXTS[0])
    _check_decision(decision)
    return Outcome(f"text {decision.effect}")


# -- results -----------------------------------------------------------------------------------------------------------

_ODD: Final[tuple[object, ...]] = (
    None,
    0,
    1,
    -1,
    10**400,
    1.5,
    float("nan"),
    True,
    "x",
    "",
    b"x",
    [],
    {},
    [[]],
    "a-b",
    "é",
)


def _run_result(dice: InputDice) -> Outcome:
    result: dict[object, object] = {
        "isAuthenticated": pick(dice, (True, True, True, True, False, *_ODD)),
        "principalId": pick(dice, ("principal", "p" * 128, "p" * 129, *_ODD)),
        "policyDocuments": [_document(dice) for _ in range(1 + dice.below(3))],
        "disconnectAfterInSeconds": pick(dice, (300, 86_400, 299, *_ODD)),
        "refreshAfterInSeconds": pick(dice, (300, 86_400, 86_401, *_ODD)),
    }
    for _ in range(dice.below(3)):
        key = pick(dice, (*result, 7, None, "context"))
        if chance(dice, 50):
            result.pop(key, None)
        else:
            result[key] = pick(dice, _ODD)
    if chance(dice, 10):
        result["policyDocuments"] = [json.dumps(_document(dice), indent=dice.below(4)) + " " * dice.below(5_000)]
    value: object = result if chance(dice, 97) else pick(dice, _ODD)
    try:
        taken = validate_result(value)
    except InvalidResult as error:
        for problem in error.problems:
            _check_line(problem)
        return Outcome(f"result invalid in {min(len(error.problems), 4)} ways")
    if taken.is_authenticated:
        ensure(taken.principal_id.isalnum() and taken.principal_id.isascii(), "a principal id is letters and digits")
        ensure(bool(taken.policies), "who is let in has policies")
        for seconds in (taken.disconnect_after_seconds, taken.refresh_after_seconds):
            ensure(300 <= seconds <= 86_400 and type(seconds) is int, "seconds are within their range")
    return Outcome("result taken" if taken.is_authenticated else "result denies")


POLICY: Final = Target(
    "policy",
    0.06,
    make,
    run,
    tuple(
        f"authorizer/{name}.py"
        for name in ("conditions", "context", "near_miss", "patterns", "policy", "policy_document", "result")
    ),
)
