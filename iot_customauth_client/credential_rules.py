"""What each field of `Credentials` may hold: one function per field, which says what to pass instead.

What could only fail later, with a service that hangs up without a word, is refused here. A function returns the value
that is kept, and raises `ValueError` (or `ConfigurationError`) with words that begin where the field's name ends.
No message may show a value that could be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from unicodedata import category

from pydantic import SecretBytes, SecretStr

from ._validation import text
from .errors import ConfigurationError
from .limits import (
    AUTHORIZER_NAME_PATTERN,
    MAX_SIGNATURE_CHARACTERS,
    MAX_TOKEN_CHARACTERS,
    RESERVED_PARAMETERS,
    TOKEN_KEY_NAME_PATTERN,
)
from .parameters import Parameters

_SIGNATURE = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_ENCODED = "pass the raw value: it is percent-encoded for you, exactly once"


def check_username(value: str) -> str:
    """A base user name travels as it is, so nothing in it may end it or be lost on the way."""
    text(value, "user name")
    _refuse_redacted(value)
    if "?" in value:
        raise ValueError(
            "holds a '?', where the query of the MQTT user name would begin: pass the query's parts by "
            "authorizer=, token= and parameters=, or a finished user name to Credentials.from_username()"
        )
    for character in value:
        if category(character) == "Cc" or ord(character) & 0xFFFE == 0xFFFE or "\ufdd0" <= character <= "\ufdef":
            raise ValueError(f"holds U+{ord(character):04X}, a character that MQTT text should not hold")
    return value


def encode_password(value: object) -> object:
    """A password is bytes; text is sent as UTF-8."""
    return text(value, "password").encode() if isinstance(value, str) else value


def check_password(value: SecretBytes | None) -> SecretBytes | None:
    """Any bytes will do, but not what a dump shows in their place."""
    if value is not None:
        _refuse_redacted(value.get_secret_value().decode("latin-1"))
    return value


def check_authorizer(value: str | None) -> str | None:
    """An authorizer's name, by the service's own pattern."""
    return _check_name(value, AUTHORIZER_NAME_PATTERN, "letters, digits and _ = , @ -")


def check_token_key_name(value: str | None) -> str | None:
    """A token key name, by the service's own pattern, and none of the service's own names."""
    if value is not None and value.lower() in RESERVED_PARAMETERS:
        raise ValueError(f"{value!r} is a name of the service itself: pass the authorizer's own token key name")
    return _check_name(value, TOKEN_KEY_NAME_PATTERN, "letters, digits, _ and -")


def check_token(value: SecretStr | None) -> SecretStr | None:
    """Any text that UTF-8 can carry, not empty, and not longer than the service takes."""
    if value is None:
        return None
    plain = value.get_secret_value()
    _refuse_redacted(plain)
    text(plain, "token")
    if not plain:
        raise ValueError("is empty: leave it out, together with its key name, or pass the token")
    if len(plain) > MAX_TOKEN_CHARACTERS:
        raise ValueError(f"has {len(plain)} characters, the service takes {MAX_TOKEN_CHARACTERS}")
    return value


def check_signature(value: SecretStr | None) -> SecretStr | None:
    """Standard base64, padded or not; what is not is refused by the mistake that was probably made."""
    if value is None:
        return None
    plain = value.get_secret_value()
    _refuse_redacted(plain)
    if not plain:
        raise ValueError("is empty: leave it out, or pass the signature")
    if "%" in plain:
        raise ValueError(f"holds a '%', so it is encoded already: {_ENCODED}")
    if plain.strip() != plain or "\n" in plain or "\r" in plain:
        raise ValueError(
            "holds line breaks or spaces at its ends: base64 for this must be one line (`openssl base64 -A`)"
        )
    if " " in plain:
        raise ValueError("holds spaces: each was probably a '+' before somebody decoded it as a form; pass it with '+'")
    if "-" in plain or "_" in plain:
        raise ValueError(
            "is base64url ('-' or '_' in it): the service takes standard base64; for the third part of a JWT "
            "replace '-' by '+' and '_' by '/', or pass the whole JWT to Credentials.from_jwt()"
        )
    if not _SIGNATURE.fullmatch(plain):
        raise ValueError("is not base64: letters, digits, '+', '/', and up to two '=' at the end")
    if len(plain) > MAX_SIGNATURE_CHARACTERS:
        raise ValueError(f"has {len(plain)} characters, the service takes {MAX_SIGNATURE_CHARACTERS}")
    return value


def check_parameters(value: Mapping[str, str]) -> Parameters:
    """Names that are not the service's own, each once; any text as values."""
    seen: set[str] = set()
    for name, content in value.items():
        text(name, "parameter name")
        text(content, "value of a parameter")
        _refuse_redacted(content)
        if not name:
            raise ValueError("holds an empty name: each parameter needs one")
        if name.lower() in RESERVED_PARAMETERS:
            raise ValueError(f"must not hold {name!r}: pass authorizer= and signature= instead")
        if name.lower() in seen:
            raise ValueError(f"holds {name!r} twice (in upper and lower case): give each parameter once")
        seen.add(name.lower())
    return Parameters(value)


def check_expiry(value: datetime | None) -> datetime | None:
    """A moment that everybody understands in the same way."""
    if value is not None and value.tzinfo is None:
        raise ValueError("has no time zone: pass an aware datetime, for example datetime.now(UTC) + timedelta(...)")
    return value


def check_trio(token_key_name: str | None, token: SecretStr | None, signature: SecretStr | None) -> None:
    """A token and its key name go together; a signature goes with both."""
    if token is not None and token_key_name is None:
        raise ValueError("token: it needs token_key_name=, the authorizer's token key name, to be found by it")
    if token_key_name is not None and token is None:
        raise ValueError("token_key_name: it needs token=, the token that stands under this name")
    if signature is not None and token is None:
        raise ValueError("signature: it needs token= and token_key_name=, the token that was signed")


def expiry(expires_at: datetime | None, expires_in_seconds: float | None) -> datetime | None:
    """Return the moment that was given in one of two ways."""
    if expires_in_seconds is None:
        return expires_at
    if expires_at is not None:
        raise ConfigurationError("give expires_at or expires_in_seconds, not both")
    return datetime.now(UTC) + timedelta(seconds=expires_in_seconds)


def _refuse_redacted(value: str) -> None:
    if value and set(value) == {"*"}:
        raise ValueError("is nothing but asterisks: it came through a redacted dump, pass the value itself")


def _check_name(value: str | None, pattern: str, allowed: str) -> str | None:
    if value is None:
        return None
    if not value:
        raise ValueError("is empty: leave it out, or pass the name")
    if "%" in value:
        raise ValueError(f"holds a '%', so it is encoded already: {_ENCODED}")
    if not re.fullmatch(pattern, value, re.ASCII):
        wrong = "".join(sorted(set(re.sub(pattern[: pattern.index("]") + 1], "", value, flags=re.ASCII))))
        among = f", among them {wrong!r}" if wrong else ""
        raise ValueError(f"is not a name: 1 to 128 {allowed}; it has {len(value)} characters{among}")
    return value
