"""One call of an authorizer function that does not live in this process: what all kinds of it have in common.

Such a call is made once, on a worker thread of `authorizer_calls.py`, as a Python function is: `call(event, context)`
gives plain JSON data back or raises. What a Python function has not: it can be cut short, from another thread, by
`abort`, so that nothing keeps running for a client that was refused long ago.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..authorizer.event import AuthorizerEvent
    from .lambda_context import LambdaContext

MAX_ANSWER_BYTES: Final = 1024 * 1024
"""Longest answer that is read. The documents of a result have 20,480 characters at most, so this is plenty."""

BACKSTOP_SECONDS: Final = 1.0
"""A call ends by itself so long after its time limit, if `abort` could not end it at the limit."""

_MAX_SHOWN_CHARACTERS: Final = 300


class FunctionFailed(Exception):
    """The call gave no result; `str()` says why in one sentence."""


class InvalidAnswer(FunctionFailed):
    """The call gave an answer that cannot be a result."""


class OutsideCall(ABC):
    """One call; made anew for each event."""

    @abstractmethod
    def __call__(self, event: AuthorizerEvent, context: LambdaContext) -> object:
        """Return what the function answered, as plain JSON data. May take as long as `context` says.

        Raises `FunctionFailed` or `InvalidAnswer`.
        """

    @abstractmethod
    def abort(self) -> None:
        """End the call as soon as possible; from any thread, never waits, may come before, during and after it."""


def read_answer(data: bytes, *, what: str, advice: str) -> object:
    """Read an answer that has to be one JSON value.

    what: the subject of the message, such as "what the command printed"; advice: the end of it.

    Raises `InvalidAnswer`; the message does not quote the answer, which may hold secrets.
    """
    if len(data) > MAX_ANSWER_BYTES:
        raise InvalidAnswer(f"{what} has more than {MAX_ANSWER_BYTES:,} bytes: {advice}")
    if not data.strip():
        raise InvalidAnswer(f"{what} is empty: {advice}")
    try:
        answer: object = json.loads(data)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidAnswer(f"{what} is not JSON{where}: {advice}") from error
    return answer


def one_line(text: str) -> str:
    """Cut a foreign text to what fits into a sentence: one line, no control characters, not long."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= _MAX_SHOWN_CHARACTERS else f"{line[:_MAX_SHOWN_CHARACTERS]}..."
