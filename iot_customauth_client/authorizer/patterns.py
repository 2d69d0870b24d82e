"""Patterns of IAM policies: `*`, `?`, `${variable}` and the literals `${*}`, `${?}`, `${$}`.

A pattern is cut once into tokens. The variables among them are filled in per request, as literal text: a client id
of `*` must not become a wildcard. What results is a `Glob`: pieces of fixed length between the stars. The first
piece must stand at the start, the last at the end, and each one between is taken at its leftmost place, which is
always a best choice. So nothing is ever tried twice per star and `*a*a*a*a*b` costs no more than its length times
that of the text.

Answers have three values: True, False, and None for "it depends on a variable that has no value".

`+` and `#` are ordinary characters (AWS page "Publish/Subscribe policy examples"). The same page warns of one
consequence: a client that may connect as `+` or `#` gets a topic filter with a wildcard out of
`topicfilter/${iot:ClientId}/...`. That is not prevented here, because the service does not; a policy must restrict
`iot:Connect`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a token stands for."""

    TEXT = "text"
    ANY = "any"
    ONE = "one"
    VARIABLE = "variable"


Token = tuple[Kind, str]

_WILDCARDS: dict[str, Token] = {"*": (Kind.ANY, "*"), "?": (Kind.ONE, "?")}
_LITERALS = ("*", "?", "$")


def tokenize(source: str, *, wildcards: bool = True, variables: bool = True) -> tuple[Token, ...]:
    """Cut a pattern into tokens: a variable is its name, `${` without `}` is text."""
    tokens: list[Token] = []
    text: list[str] = []

    def add(token: Token) -> None:
        if text:
            tokens.append((Kind.TEXT, "".join(text)))
            text.clear()
        tokens.append(token)

    at = 0
    while at < len(source):
        if variables and source.startswith("${", at):
            end = source.find("}", at)
            if end < 0:
                variables = False
                continue
            name = source[at + 2 : end]
            if name in _LITERALS:
                text.append(name)
            else:
                add((Kind.VARIABLE, name))
            at = end + 1
            continue
        wildcard = _WILDCARDS.get(source[at]) if wildcards else None
        if wildcard is None:
            text.append(source[at])
        else:
            add(wildcard)
        at += 1
    if text:
        tokens.append((Kind.TEXT, "".join(text)))
    return tuple(tokens)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Text of a fixed length with holes for `?`: (offset, literal) pairs in order, none of them empty."""

    length: int
    literals: tuple[tuple[int, str], ...]

    def stands_at(self, text: str, at: int) -> bool:
        return all(text.startswith(literal, at + offset) for offset, literal in self.literals)

    def find(self, text: str, start: int, end: int) -> int:
        """Return the leftmost place within text[start:end], or -1."""
        latest = end - self.length
        if not self.literals:
            return start if start <= latest else -1
        offset, literal = self.literals[0]
        at = start
        while at <= latest:
            at = text.find(literal, at + offset, end) - offset
            if at < start or at > latest:
                return -1
            if self.stands_at(text, at):
                return at
            at += 1
        return -1


class Glob:
    """A pattern without variables, ready to match."""

    __slots__ = ("_exact", "_pieces", "_shortest")

    def __init__(self, tokens: Iterable[Token]) -> None:
        pieces: list[_Piece] = []
        literals: list[tuple[int, str]] = []
        length = 0
        for kind, text in tokens:
            match kind:
                case Kind.ANY:
                    pieces.append(_Piece(length, tuple(literals)))
                    literals, length = [], 0
                case Kind.ONE:
                    length += 1
                case _ if text:
                    literals.append((length, text))
                    length += len(text)
                case _:
                    pass
        pieces.append(_Piece(length, tuple(literals)))
        self._pieces = tuple(pieces)
        self._shortest = sum(piece.length for piece in pieces)
        texts = "".join(text for _, text in literals)
        self._exact = texts if len(pieces) == 1 and len(texts) == length else None

    def matches(self, text: str) -> bool:
        """Say whether the whole text fits."""
        if self._exact is not None:
            return text == self._exact
        size = len(text)
        if size < self._shortest:
            return False
        first, last = self._pieces[0], self._pieces[-1]
        if len(self._pieces) == 1:
            return size == first.length and first.stands_at(text, 0)
        end = size - last.length
        if not first.stands_at(text, 0) or not last.stands_at(text, end):
            return False
        at = first.length
        for piece in self._pieces[1:-1]:
            at = piece.find(text, at, end)
            if at < 0:
                return False
            at += piece.length
        return True


class Pattern:
    """A pattern as a policy writes it.

    The glob of the last set of variables is kept, and only that one: a policy document belongs to one connection,
    whose client id and address do not change.
    """

    __slots__ = ("_fixed", "_fold", "_kept", "_names", "source", "tokens")

    def __init__(self, source: str, tokens: tuple[Token, ...], *, fold: bool = False) -> None:
        self.source = source
        self.tokens = tokens
        self._fold = fold
        self._names = tuple(text.lower() for kind, text in tokens if kind is Kind.VARIABLE)
        self._fixed = None if self._names else self._fill_in(())[1]
        # One attribute, replaced whole, so that threads never see half of it: (values, glob, all values known).
        self._kept: tuple[tuple[str | None, ...], Glob, bool] | None = None

    @classmethod
    def parse(cls, source: str, *, wildcards: bool = True, variables: bool = True, fold: bool = False) -> "Pattern":
        """Read a pattern. With fold it ignores case, and the text to match must come in lower case."""
        tokens = tokenize(source, wildcards=wildcards, variables=variables)
        return cls(source, tokens, fold=fold)

    def __repr__(self) -> str:
        return f"Pattern({self.source!r})"

    def match(self, text: str, variables: Mapping[str, str]) -> bool | None:
        """Match the whole text; None if it fits only for some value of a variable that has none."""
        if self._fixed is not None:
            return self._fixed.matches(text)
        values = tuple(map(variables.get, self._names))
        kept = self._kept
        if kept is None or kept[0] != values:
            kept = self._kept = self._fill_in(values)
        if not kept[1].matches(text):
            return False
        return True if kept[2] else None

    def missing(self, variables: Mapping[str, str]) -> tuple[str, ...]:
        """Return the names, as written, of the variables that have no value."""
        names = (text for kind, text in self.tokens if kind is Kind.VARIABLE)
        return tuple(name for name in names if name.lower() not in variables)

    def _fill_in(self, values: tuple[str | None, ...]) -> tuple[tuple[str | None, ...], Glob, bool]:
        remaining = iter(values)
        tokens: list[Token] = []
        for kind, text in self.tokens:
            value = next(remaining) if kind is Kind.VARIABLE else text
            if value is None:
                tokens.append((Kind.ANY, "*"))
            else:
                plain = kind in (Kind.TEXT, Kind.VARIABLE)
                tokens.append((Kind.TEXT if plain else kind, value.lower() if self._fold else value))
        return values, Glob(tokens), None not in values


def any_of(answers: Iterable[bool | None]) -> bool | None:
    """Return True if one answer is True, else None if one is unknown, else False."""
    result: bool | None = False
    for answer in answers:
        if answer:
            return True
        if answer is None:
            result = None
    return result


def all_of(answers: Iterable[bool | None]) -> bool | None:
    """Return False if one answer is False, else None if one is unknown, else True."""
    result: bool | None = True
    for answer in answers:
        if answer is None:
            result = None
        elif not answer:
            return False
    return result


def negated(answer: bool | None) -> bool | None:
    """Return the opposite answer; the opposite of unknown is unknown."""
    return None if answer is None else not answer
