"""Conditions of policy statements: a table of operators, and the rules for several values, none, and unknown ones.

The rules are IAM's (AWS pages "IAM JSON policy elements: Condition operators" and "Set operators for multi-valued
context keys"): the values written in a policy are alternatives; a negated operator holds if none of them fits; a
key that is absent fails an operator, satisfies a negated one, and satisfies `...IfExists`; `ForAllValues:` holds
for no values, `ForAnyValue:` does not.

To these one answer is added, None for "cannot be judged": an operator or key that is not known here, or a variable
without a value. It must never become True on the way out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .context import Context
from .patterns import Kind, Pattern, Token, all_of, any_of, negated, tokenize

Operand = Callable[[str, Mapping[str, str]], bool | None]
"""Compares a value of the request with one value of the policy; the mapping holds the policy variables."""


class BadOperand(ValueError):
    """A value in a policy that its operator cannot work with; the text says why."""


def _exact(source: str, variables: bool) -> Operand:
    return Pattern.parse(source, wildcards=False, variables=variables).match


def _ignoring_case(source: str, variables: bool) -> Operand:
    pattern = Pattern.parse(source, wildcards=False, variables=variables, fold=True)
    return lambda value, known: pattern.match(value.lower(), known)


def _like(source: str, variables: bool) -> Operand:
    return Pattern.parse(source, variables=variables).match


def _arn(source: str, variables: bool) -> Operand:
    """Compare part by part: a wildcard in an ARN condition does not reach over a colon of the first five."""
    if source == "*":
        return lambda _value, _known: True
    parts = [Pattern(source, tuple(part)) for part in _split_arn(tokenize(source, variables=variables))]
    if len(parts) != 6:
        raise BadOperand("is not an ARN; for a topic write arn:aws:iot:REGION:ACCOUNT:topic/TOPIC")

    def compare(value: str, known: Mapping[str, str]) -> bool | None:
        actual = value.split(":", 5)
        if len(actual) != 6:
            return False
        return all_of(part.match(text, known) for part, text in zip(parts, actual, strict=True))

    return compare


def _split_arn(tokens: tuple[Token, ...]) -> list[list[Token]]:
    """Split at the first five colons that stand in the text itself: `${iot:ClientId}` holds one that does not."""
    parts: list[list[Token]] = [[]]
    for kind, text in tokens:
        if kind is not Kind.TEXT:
            parts[-1].append((kind, text))
            continue
        first, *others = text.split(":", 6 - len(parts))
        parts[-1].append((kind, first))
        parts.extend([(kind, other)] for other in others)
    return parts


def _address(source: str, _variables: bool) -> Operand:
    from ipaddress import ip_address, ip_network  # loaded only by policies that need it

    try:
        network = ip_network(source, strict=False)
    except ValueError:
        raise BadOperand("is neither an IP address nor a range such as 203.0.113.0/24") from None

    def compare(value: str, _known: Mapping[str, str]) -> bool | None:
        try:
            address = ip_address(value)
        except ValueError:
            return None
        mapped = getattr(address, "ipv4_mapped", None)  # a dual-stack socket shows IPv4 clients as ::ffff:a.b.c.d
        return (mapped or address) in network

    return compare


def _boolean(source: str, _variables: bool) -> Operand:
    wanted = source.lower()
    if wanted not in ("true", "false"):
        raise BadOperand("is not a truth value; write true or false")
    return lambda value, _known: value.lower() == wanted


_OPERATORS: dict[str, tuple[Callable[[str, bool], Operand], bool]] = {
    # name: (how a value of the policy is compared, negated)
    "StringEquals": (_exact, False),
    "StringNotEquals": (_exact, True),
    "StringEqualsIgnoreCase": (_ignoring_case, False),
    "StringNotEqualsIgnoreCase": (_ignoring_case, True),
    "StringLike": (_like, False),
    "StringNotLike": (_like, True),
    "ArnEquals": (_arn, False),  # IAM: behaves exactly as ArnLike
    "ArnLike": (_arn, False),
    "ArnNotEquals": (_arn, True),
    "ArnNotLike": (_arn, True),
    "IpAddress": (_address, False),
    "NotIpAddress": (_address, True),
    "Bool": (_boolean, False),
}

_COMBINE = {"ForAllValues": all_of, "ForAnyValue": any_of}


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """One operator with one key, compiled.

    operands is empty if the operator is not known here; then nothing can be judged.
    """

    operator: str
    key: str
    quantifier: str
    if_exists: bool
    negative: bool
    operands: tuple[Operand, ...]

    @classmethod
    def compile(cls, operator: str, key: str, values: tuple[str, ...], *, variables: bool) -> "Condition":
        """Compile one entry of a Condition block.

        Raises BadOperand if a known operator cannot work with one of the values.
        """
        quantifier, _, name = operator.rpartition(":")
        base = name.removesuffix("IfExists")
        known = _OPERATORS.get(base) if not quantifier or quantifier in _COMBINE else None
        if known is None:
            return cls(operator, key, quantifier, False, False, ())
        compile_operand, negative = known
        operands = tuple(compile_operand(value, variables) for value in values)
        return cls(operator, key, quantifier, base != name, negative, operands)

    def holds(self, context: Context) -> bool | None:
        """Judge the request; None if that is not possible."""
        values = context.values(self.key)
        if not self.operands or values is None:
            return None
        if not values:
            return self._holds_for_an_absent_key()
        combine = _COMBINE.get(self.quantifier)
        if combine is None and len(values) > 1:
            return None  # IAM defines several values only for ForAllValues and ForAnyValue
        return (combine or all_of)(self._fits(value, context.variables) for value in values)

    def describe(self, context: Context) -> str:
        """Name the condition and, if it cannot be judged, the reason."""
        text = f"{self.operator} on {self.key}"
        if not self.operands:
            return f"{text} (this operator is not known here)"
        if context.values(self.key) is None:
            return f"{text} (this key is not known here)"
        return text

    def _holds_for_an_absent_key(self) -> bool:
        if self.if_exists or self.quantifier == "ForAllValues":
            return True
        return self.negative and self.quantifier != "ForAnyValue"

    def _fits(self, value: str, variables: Mapping[str, str]) -> bool | None:
        fits = any_of(operand(value, variables) for operand in self.operands)
        return negated(fits) if self.negative else fits
