"""What a device authenticates with: raw values, checked where they are written, shown to nobody.

`Credentials` takes values as the user has them; encoding is `carriage.py`'s business. What can only fail later, with
a service that hangs up without a word, is refused here, each with what to pass instead: half of a token, key name and
signature; a signature that is base64url, wrapped or already percent-encoded; a base user name with a `?`; a secret
that is nothing but asterisks because it went through a redacted dump.

Secrets: `repr`, `str`, errors and JSON dumps show sizes only. `model_dump(mode="python")`, pickle and the attributes
themselves do hold the secrets; and where a `Credentials` is a field of somebody else's pydantic model, that model's
validation errors may show what was passed in.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from unicodedata import category

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FieldSerializationInfo,
    PrivateAttr,
    SecretBytes,
    SecretStr,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from ._suggest import unknown
from ._validation import refuse
from .carriage import RawCredentials, read_username, redact_bytes, redact_text, shown_name
from .errors import ConfigurationError
from .limits import (
    AUTHORIZER_NAME_PATTERN,
    MAX_SIGNATURE_CHARACTERS,
    MAX_TOKEN_CHARACTERS,
    RESERVED_PARAMETERS,
    TOKEN_KEY_NAME_PATTERN,
)

_SIGNATURE = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ASTERISKS = "is nothing but asterisks: it came through a redacted dump, pass the value itself"
_ENCODED = "pass the raw value: it is percent-encoded for you, exactly once"


class Parameters(Mapping[str, str]):
    """Further query parts, in order: a mapping that cannot change and does not show its values."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, str] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, name: str) -> str:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))  # equal mappings are equal in any order

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{shown_name(*item)}: {redact_text(item[1])}" for item in self._items.items()) + "}"


class Credentials(BaseModel):
    """The credentials of one device, as raw values: see the constructors `from_...`.

    - `username`: the base user name, at most what fits beside the rest; no `?`, no control characters; may be empty.
    - `password`: `str` (sent as UTF-8) or `bytes`; the authorizer gets it base64-encoded.
    - `authorizer`: the authorizer's name; leave it out if the account or the domain has a default one.
    - `token_key_name`, `token`: the parameter that the authorizer reads its token from, and the token (up to 6,144
      characters). `signature`: standard base64 of the RSA signature of the token, for authorizers with signing.
    - `parameters`: further query parts that some authorizers read.
    - `expires_at`: when the credentials end, an aware datetime; `None`: never.

    Raises `ConfigurationError` for anything that cannot work. Frozen; equal by value.
    Source: AWS IoT developer guide, "Connecting to AWS IoT Core by using custom authentication".
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True, defer_build=True
    )

    username: str = Field(default="", repr=False)
    password: SecretBytes | None = None
    authorizer: str | None = None
    token_key_name: str | None = None
    token: SecretStr | None = None
    signature: SecretStr | None = None
    parameters: Mapping[str, str] = Parameters()
    expires_at: datetime | None = None

    _expires_monotonic: float | None = PrivateAttr(default=None)

    def __init__(self, **values: Any) -> None:
        for name in values:
            if name not in type(self).model_fields:
                raise ConfigurationError(unknown("credentials field", name, type(self).model_fields))
        try:
            super().__init__(**values)
        except ValidationError as error:
            refusal = refuse(error, code="credentials_invalid")
        else:
            return
        raise refusal  # out here, so that its __context__ is not pydantic's error, which holds the values

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_"):  # pydantic's own refusal shows the value
            raise ConfigurationError(f"{name} cannot be changed: make new Credentials")
        super().__setattr__(name, value)

    # -- the ways to have credentials -----------------------------------------------------------------------------

    @classmethod
    def from_password(
        cls,
        username: str,
        password: str | bytes,
        *,
        authorizer: str | None = None,
        parameters: Mapping[str, str] | None = None,
        expires_at: datetime | None = None,
        expires_in_seconds: float | None = None,
    ) -> Self:
        """Make credentials of a user name and a password, for an authorizer that checks them."""
        return cls(
            username=username,
            password=password,
            authorizer=authorizer,
            parameters=parameters or {},
            expires_at=_expiry(expires_at, expires_in_seconds),
        )

    @classmethod
    def from_signed_token(
        cls,
        token: str,
        signature: str,
        *,
        token_key_name: str,
        authorizer: str | None = None,
        username: str = "",
        password: str | bytes | None = None,
        parameters: Mapping[str, str] | None = None,
        expires_at: datetime | None = None,
        expires_in_seconds: float | None = None,
    ) -> Self:
        """Make credentials of a token and its signature, for an authorizer with signing enabled.

        `signature` is standard base64 of the RSASSA-PKCS1-v1_5 SHA-256 signature over the exact token, padded or
        not, without line breaks; `token_key_name` is the authorizer's own.
        """
        return cls(
            username=username,
            password=password,
            authorizer=authorizer,
            token_key_name=token_key_name,
            token=token,
            signature=signature,
            parameters=parameters or {},
            expires_at=_expiry(expires_at, expires_in_seconds),
        )

    @classmethod
    def from_bearer_token(
        cls,
        token: str,
        *,
        token_key_name: str,
        authorizer: str | None = None,
        username: str = "",
        password: str | bytes | None = None,
        parameters: Mapping[str, str] | None = None,
        expires_at: datetime | None = None,
        expires_in_seconds: float | None = None,
    ) -> Self:
        """Make credentials of a token alone, for an authorizer with signing disabled."""
        return cls(
            username=username,
            password=password,
            authorizer=authorizer,
            token_key_name=token_key_name,
            token=token,
            parameters=parameters or {},
            expires_at=_expiry(expires_at, expires_in_seconds),
        )

    @classmethod
    def from_username(
        cls,
        username: str,
        password: str | bytes | None = None,
        *,
        token_key_name: str | None = None,
        expires_at: datetime | None = None,
        expires_in_seconds: float | None = None,
    ) -> Self:
        """Make credentials of a finished MQTT user name, `base?x-amz-customauthorizer-name=...&...`.

        Its query is decoded, and encoded anew when it is sent. With a signature and exactly one further parameter,
        that one is the token; with more, say which by `token_key_name`. Without a signature, `token_key_name` may
        name the token too; what is not named stays in `parameters`.
        """
        read = read_username(_text(username, "user name"))
        if read.repeated:
            raise ConfigurationError(
                f"the user name gives {_shown_names(read.parameters, read.repeated)} more than once: "
                "give each parameter once",
                code="credentials_repeated_parameter",
            )
        parts = dict(read.parameters)
        authorizer, signature = (parts.pop(name, None) for name in RESERVED_PARAMETERS)
        if token_key_name is None and signature is not None:
            token_key_name = _only_parameter(parts)
        if token_key_name is not None and token_key_name not in parts:
            raise ConfigurationError(
                f"the user name has no parameter {token_key_name!r}, the token key name",
                code="credentials_incomplete",
                what_to_do=f"the parameters it has besides name and signature: {_shown_names(parts.items())}",
            )
        token = parts.pop(token_key_name) if token_key_name is not None else None
        return cls(
            username=read.base,
            password=password,
            authorizer=authorizer,
            token_key_name=token_key_name,
            token=token,
            signature=signature,
            parameters=parts,
            expires_at=_expiry(expires_at, expires_in_seconds),
        )

    @classmethod
    def load(cls, file: str | Path) -> Self:
        """Read the table `[credentials]` of a TOML file.

        Its keys are the fields of this class, and `username_file`, `password_file`, `token_file`, `signature_file`,
        which name a file that holds the value: a path relative to the TOML file, or one that begins with
        `$CREDENTIALS_DIRECTORY/` (systemd). One trailing newline of such a file is dropped; a password is read as
        bytes. Raises `ConfigurationError` for a missing or unreadable file, a missing table, or bad values.
        """
        from .files import read_secrets, read_table

        path = Path(file)
        table = read_table(path, "credentials")
        return cls(**read_secrets(table, path.parent, ("username", "password", "token", "signature")))

    # -- what was given ---------------------------------------------------------------------------------------------

    @field_validator("password", mode="before")
    @classmethod
    def _encode_password(cls, value: object) -> object:
        return _text(value, "password").encode() if isinstance(value, str) else value

    @field_validator("password", "token", "signature", mode="after")
    @classmethod
    def _refuse_redacted(cls, value: SecretBytes | SecretStr | None) -> SecretBytes | SecretStr | None:
        plain = value.get_secret_value() if value is not None else None
        if plain and set(plain) in ({"*"}, {ord("*")}):
            raise ValueError(_ASTERISKS)
        return value

    @field_validator("username", mode="after")
    @classmethod
    def _check_username(cls, value: str) -> str:
        _text(value, "user name")
        if value and not value.strip("*"):
            raise ValueError(_ASTERISKS)
        if "?" in value:
            raise ValueError(
                "holds a '?', where the query of the MQTT user name would begin: pass the query's parts by "
                "authorizer=, token= and parameters=, or a finished user name to Credentials.from_username()"
            )
        for character in value:
            if category(character) == "Cc" or ord(character) & 0xFFFE == 0xFFFE or "\ufdd0" <= character <= "\ufdef":
                raise ValueError(f"holds U+{ord(character):04X}, a character that MQTT text should not hold")
        return value

    @field_validator("authorizer", mode="after")
    @classmethod
    def _check_authorizer(cls, value: str | None) -> str | None:
        return _check_name(value, AUTHORIZER_NAME_PATTERN, "letters, digits and _ = , @ -")

    @field_validator("token_key_name", mode="after")
    @classmethod
    def _check_token_key_name(cls, value: str | None) -> str | None:
        if value is not None and value.lower() in RESERVED_PARAMETERS:
            raise ValueError(f"{value!r} is a name of the service itself: pass the authorizer's own token key name")
        return _check_name(value, TOKEN_KEY_NAME_PATTERN, "letters, digits, _ and -")

    @field_validator("token", mode="after")
    @classmethod
    def _check_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        plain = _text(value.get_secret_value(), "token")
        if not plain:
            raise ValueError("is empty: leave it out, together with its key name, or pass the token")
        if len(plain) > MAX_TOKEN_CHARACTERS:
            raise ValueError(f"has {len(plain)} characters, the service takes {MAX_TOKEN_CHARACTERS}")
        return value

    @field_validator("signature", mode="after")
    @classmethod
    def _check_signature(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _check_signature_text(value.get_secret_value())
        return value

    @field_validator("parameters", mode="after")
    @classmethod
    def _check_parameters(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        seen: set[str] = set()
        for name, text in value.items():
            _text(name, "parameter name")
            _text(text, "parameter's value")
            if not name:
                raise ValueError("holds an empty name: each parameter needs one")
            if text and not text.strip("*"):
                raise ValueError(f"{shown_name(name, text)} {_ASTERISKS}")
            if name.lower() in RESERVED_PARAMETERS:
                raise ValueError(f"must not hold {name!r}: pass authorizer= and signature= instead")
            if name.lower() in seen:
                raise ValueError(f"holds {name!r} twice (in upper and lower case): give each parameter once")
            seen.add(name.lower())
        return Parameters(value)

    @field_validator("expires_at", mode="after")
    @classmethod
    def _check_expiry(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("has no time zone: pass an aware datetime, for example datetime.now(UTC) + timedelta(...)")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        _check_trio(self)
        if self.token_key_name is not None and self.token_key_name.lower() in map(str.lower, self.parameters):
            raise ValueError(f"parameters: {self.token_key_name!r} is the token key name already: give it once")
        return self

    def model_post_init(self, _context: object, /) -> None:
        """Note the lifetime on the monotonic clock: a device's wall clock may be set after this."""
        if self.expires_at is not None:
            left = (self.expires_at - datetime.now(UTC)).total_seconds()
            self._expires_monotonic = time.monotonic() + left

    # -- what leaves ------------------------------------------------------------------------------------------------

    def reveal(self) -> RawCredentials:
        """Return the raw values, secrets included, for `carriage.py`."""
        return RawCredentials(
            username=self.username,
            password=None if self.password is None else self.password.get_secret_value(),
            authorizer=self.authorizer,
            signature=None if self.signature is None else self.signature.get_secret_value(),
            token_key_name=self.token_key_name,
            token=None if self.token is None else self.token.get_secret_value(),
            parameters=tuple(self.parameters.items()),
        )

    def expired(self, monotonic: float) -> bool:
        """Tell whether the lifetime is over at this monotonic time (seconds)."""
        return self._expires_monotonic is not None and monotonic >= self._expires_monotonic

    @field_serializer("username", "parameters")
    def _hide(self, value: str | Mapping[str, str], info: FieldSerializationInfo) -> object:
        if not info.mode_is_json():
            return value if isinstance(value, str) else dict(value)
        if isinstance(value, str):
            return "**********" if value else ""
        return {shown_name(*item): "**********" for item in value.items()}

    def __eq__(self, other: object) -> bool:
        # By value: two that were made at different moments of the monotonic clock are equal.
        if not isinstance(other, Credentials):
            return NotImplemented
        return (self.reveal(), self.expires_at) == (other.reveal(), other.expires_at)

    def __hash__(self) -> int:
        return hash((self.reveal(), self.expires_at))

    def __repr__(self) -> str:
        shown: dict[str, str] = {}
        if self.username:
            shown["username"] = redact_text(self.username)
        if self.password is not None:
            shown["password"] = redact_bytes(self.password.get_secret_value())
        if self.authorizer is not None:
            shown["authorizer"] = repr(self.authorizer)
        if self.token_key_name is not None and self.token is not None:
            shown["token_key_name"] = repr(self.token_key_name)
            shown["token"] = redact_text(self.token.get_secret_value())
        if self.signature is not None:
            shown["signature"] = redact_text(self.signature.get_secret_value())
        if self.parameters:
            shown["parameters"] = repr(self.parameters)
        if self.expires_at is not None:
            shown["expires_at"] = self.expires_at.isoformat()
        return f"Credentials({', '.join(f'{name}={value}' for name, value in shown.items())})"

    __str__ = __repr__

    def __setstate__(self, state: dict[Any, Any]) -> None:
        # Another process has another monotonic clock: count the lifetime anew from the wall clock.
        super().__setstate__(state)
        self.model_post_init(None)


# -- the rules ------------------------------------------------------------------------------------------------------


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"the {what} must be a str, not {type(value).__name__}")
    if _SURROGATE.search(value):  # no try of encode(): its error would hold the value
        raise ConfigurationError(f"the {what} holds a lone surrogate, which UTF-8 cannot carry")
    return value


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


def _check_signature_text(text: str) -> None:
    """Refuse what cannot be a signature, by the mistake that was probably made. Never shows the text."""
    if not text:
        raise ValueError("is empty: leave it out, or pass the signature")
    if "%" in text:
        raise ValueError(f"holds a '%', so it is encoded already: {_ENCODED}")
    if text.strip() != text or "\n" in text or "\r" in text:
        raise ValueError(
            "holds line breaks or spaces at its ends: base64 for this must be one line (`openssl base64 -A`)"
        )
    if " " in text:
        raise ValueError("holds spaces: each was probably a '+' before somebody decoded it as a form; pass it with '+'")
    if "-" in text or "_" in text:
        raise ValueError(
            "is base64url ('-' or '_' in it): the service takes standard base64; for the third part of a JWT "
            "replace '-' by '+' and '_' by '/'"
        )
    if not _SIGNATURE.fullmatch(text):
        raise ValueError("is not base64: letters, digits, '+', '/', and up to two '=' at the end")
    if len(text) > MAX_SIGNATURE_CHARACTERS:
        raise ValueError(f"has {len(text)} characters, the service takes {MAX_SIGNATURE_CHARACTERS}")


def _check_trio(credentials: Credentials) -> None:
    token, key, signature = credentials.token, credentials.token_key_name, credentials.signature
    if token is not None and key is None:
        raise ValueError("token: it needs token_key_name=, the authorizer's token key name, to be found by it")
    if key is not None and token is None:
        raise ValueError("token_key_name: it needs token=, the token that stands under this name")
    if signature is not None and token is None:
        raise ValueError("signature: it needs token= and token_key_name=, the token that was signed")


def _only_parameter(parts: Mapping[str, str]) -> str:
    if len(parts) != 1:
        raise ConfigurationError(
            "the user name has a signature, but which parameter is the token cannot be told: pass token_key_name=",
            code="credentials_incomplete",
            what_to_do=f"the parameters it has besides name and signature: {_shown_names(parts.items())}",
        )
    return next(iter(parts))


def _shown_names(items: Iterable[tuple[str, str]], only: tuple[str, ...] | None = None) -> str:
    shown = {shown_name(name, value) for name, value in items if only is None or name in only}
    return ", ".join(sorted(shown)) or "none"


def _expiry(expires_at: datetime | None, expires_in_seconds: float | None) -> datetime | None:
    if expires_in_seconds is None:
        return expires_at
    if expires_at is not None:
        raise ConfigurationError("give expires_at or expires_in_seconds, not both")
    return datetime.now(UTC) + timedelta(seconds=expires_in_seconds)
