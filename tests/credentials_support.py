"""What the tests of credentials and settings share: any credentials that are legal, and all that an error can show."""

from __future__ import annotations

import base64
import contextlib
import pickle
from collections.abc import Iterator
from typing import Any, TypedDict

from hypothesis import strategies as st

from iot_customauth_client import Credentials
from iot_customauth_client.limits import RESERVED_PARAMETERS


class Fields(TypedDict, total=False):
    """The arguments of `Credentials`."""

    username: str
    password: bytes
    authorizer: str
    token_key_name: str
    token: str
    signature: str
    parameters: dict[str, str]


def _is_noncharacter(character: str) -> bool:
    return ord(character) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(character) <= 0xFDEF


any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
usernames = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="?").filter(lambda c: not _is_noncharacter(c)),
    max_size=60,
).filter(lambda text: not text or text.strip("*") != "")
parameter_values = any_text.filter(lambda text: not text or text.strip("*") != "")
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
authorizers = st.text(_LETTERS + "=,@", min_size=1, max_size=128)
token_key_names = st.text(_LETTERS, min_size=1, max_size=128).filter(lambda t: t.lower() not in RESERVED_PARAMETERS)
tokens = any_text.filter(lambda text: text.strip("*") != "")
signatures = st.tuples(st.binary(min_size=1, max_size=256), st.booleans()).map(
    lambda drawn: base64.b64encode(drawn[0]).decode().rstrip("=" if drawn[1] else "")
)
passwords = st.binary(max_size=60).filter(lambda data: not data or data.strip(b"*") != b"")
_NAMES = any_text.filter(lambda text: text and text.lower() not in RESERVED_PARAMETERS)


@st.composite
def credential_fields(draw: st.DrawFn) -> Fields:
    """Draw the fields of any legal credentials; what is not drawn is not there."""
    fields = Fields()
    if draw(st.booleans()):
        fields["username"] = draw(usernames)
    if draw(st.booleans()):
        fields["password"] = draw(passwords)
    if draw(st.booleans()):
        fields["authorizer"] = draw(authorizers)
    key = ""
    if draw(st.booleans()):
        key = fields["token_key_name"] = draw(token_key_names)
        fields["token"] = draw(tokens)
        if draw(st.booleans()):
            fields["signature"] = draw(signatures)
    pairs = st.tuples(_NAMES.filter(lambda name: name.lower() != key.lower()), parameter_values)
    found = draw(st.lists(pairs, max_size=4, unique_by=lambda pair: pair[0].lower()))
    if found:
        fields["parameters"] = dict(found)
    return fields


all_credentials = credential_fields().map(lambda fields: Credentials(**fields))


def expected_parameters(fields: Fields) -> list[tuple[str, str]]:
    """Return what a server must read, in the documented order."""
    expected: list[tuple[str, str]] = []
    if "authorizer" in fields:
        expected.append(("x-amz-customauthorizer-name", fields["authorizer"]))
    if "signature" in fields:
        expected.append(("x-amz-customauthorizer-signature", fields["signature"]))
    if "token" in fields:
        expected.append((fields["token_key_name"], fields["token"]))
    return expected + list(fields.get("parameters", {}).items())


def all_shown_by(error: BaseException) -> str:
    """Return all text that an error, and every error it drags along, can show to a log or a crash reporter."""
    return "\n".join(_shown_by(error, set()))


def _shown_by(error: BaseException | None, seen: set[int]) -> Iterator[str]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    for name in ("object", "doc", "filename"):  # of UnicodeError, TOMLDecodeError, OSError
        yield repr(getattr(error, name, None))
    list_errors: Any = getattr(error, "errors", None)  # pydantic's ValidationError holds the input
    if callable(list_errors):
        yield repr(list_errors())
    with contextlib.suppress(pickle.PicklingError, TypeError, AttributeError):
        yield repr(pickle.dumps(error))
    yield from _shown_by(error.__cause__, seen)
    yield from _shown_by(error.__context__, seen)
