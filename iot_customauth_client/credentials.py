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

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FieldSerializationInfo,
    PrivateAttr,
    SecretBytes,
    SecretStr,
    ValidationError,
    field_serializer,
    model_validator,
)

from . import credential_rules as rules
from ._suggest import unknown
from ._validation import refuse, text
from .carriage import RawCredentials, read_username, redact_bytes, redact_text, shown_name
from .errors import ConfigurationError
from .parameters import Parameters
from .query_parts import sort_parts

if TYPE_CHECKING:
    from .settings import ConnectionSettings
    from .signing import KeySource


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

    username: Annotated[str, AfterValidator(rules.check_username)] = Field(default="", repr=False)
    password: Annotated[
        SecretBytes | None, BeforeValidator(rules.encode_password), AfterValidator(rules.check_password)
    ] = None
    authorizer: Annotated[str | None, AfterValidator(rules.check_authorizer)] = None
    token_key_name: Annotated[str | None, AfterValidator(rules.check_token_key_name)] = None
    token: Annotated[SecretStr | None, AfterValidator(rules.check_token)] = None
    signature: Annotated[SecretStr | None, AfterValidator(rules.check_signature)] = None
    parameters: Annotated[Mapping[str, str], AfterValidator(rules.check_parameters)] = Parameters()
    expires_at: Annotated[datetime | None, AfterValidator(rules.check_expiry)] = None

    _longest_seconds: float | None = PrivateAttr(default=None)
    _expires_monotonic: float | None = PrivateAttr(default=None)
    _relative: bool = PrivateAttr(default=False)

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
            expires_at=rules.expiry(expires_at, expires_in_seconds),
        )._counted_from_now(expires_in_seconds)

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
            expires_at=rules.expiry(expires_at, expires_in_seconds),
        )._counted_from_now(expires_in_seconds)

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
            expires_at=rules.expiry(expires_at, expires_in_seconds),
        )._counted_from_now(expires_in_seconds)

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
        read = read_username(text(username, "user name"))
        raw = sort_parts(read.parameters, token_key_name, what="user name", username=read.base)
        made = cls._from_raw(raw, password, rules.expiry(expires_at, expires_in_seconds))
        return made._counted_from_now(expires_in_seconds)

    @classmethod
    def from_jwt(
        cls,
        encoded: str,
        *,
        token_key_name: str,
        authorizer: str | None = None,
        username: str = "",
        password: str | bytes | None = None,
        parameters: Mapping[str, str] | None = None,
        expires_at: datetime | None = None,
        expires_in_seconds: float | None = None,
    ) -> Self:
        """Make credentials of a JWT signed with RS256, for an authorizer with signing enabled.

        Its `header.payload` is the token, its third part the signature. The expiry is the claim `exp`, unless another
        is given; the lifetime ends after `exp - iat` at the latest, since a device's clock may not be set yet. Other
        algorithms are refused: the service cannot verify them. The signature itself is not verified here.
        """
        from .jwt import read_jwt

        given = rules.expiry(expires_at, expires_in_seconds)
        jwt = read_jwt(encoded, with_times=given is None)
        made = cls.from_signed_token(
            jwt.token,
            jwt.signature,
            token_key_name=token_key_name,
            authorizer=authorizer,
            username=username,
            password=password,
            parameters=parameters,
            expires_at=given or jwt.expires_at,
        )
        made._longest_seconds = jwt.longest_seconds
        made._count_lifetime()
        return made._counted_from_now(expires_in_seconds)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        token_key_name: str | None = None,
        expires_at: datetime | None = None,
        expires_in_seconds: float | None = None,
    ) -> tuple[ConnectionSettings, Self]:
        """Make settings and credentials of a finished `wss://host/mqtt?...` or `https://host/topics/...?...` URL.

        Its query is decoded as the service does it (`+` stays `+`), and encoded anew when it is sent; which part is the
        token is told as by `from_username`. The settings have the host and the port, and send the credentials in the
        query of a WebSocket; an HTTPS URL's topic and what it says about its message (`qos`, `contentType` ...) are
        not credentials and left out.
        """
        from .ready_url import read_url
        from .settings import ConnectionSettings

        ready = read_url(url, token_key_name)
        raw = sort_parts(ready.parts, token_key_name, what="URL")
        settings = ConnectionSettings(
            endpoint=ready.host, port=ready.port, transport="websocket", credentials_in="query"
        )
        made = cls._from_raw(raw, None, rules.expiry(expires_at, expires_in_seconds))
        return settings, made._counted_from_now(expires_in_seconds)

    @classmethod
    def load(cls, file: str | Path) -> Self:
        """Read the table `[credentials]` of a TOML file.

        Its keys are the fields of this class, `expires_in_seconds`, and `jwt` in place of token and signature (see
        `from_jwt`); and `username_file`, `password_file`, `token_file`, `signature_file`, `jwt_file`, which name a file
        that holds the value: a path relative to the TOML file, or one that begins with `$CREDENTIALS_DIRECTORY/`
        (systemd). One trailing newline of such a file is dropped; a password is read as bytes. Raises
        `ConfigurationError` for a missing or unreadable file, a missing table, or bad values.
        """
        from .credential_sources import credentials_of
        from .files import read_table

        path = Path(file)
        return credentials_of(cls, read_table(path, "credentials"), path.parent)

    @classmethod
    def of_fields(cls, values: Mapping[str, Any], *, expires_in_seconds: float | None = None) -> Self:
        """Make credentials of the fields of this class by name, as a file or a command gives them."""
        fields = dict(values)
        if expires_in_seconds is not None:
            fields["expires_at"] = rules.expiry(fields.get("expires_at"), expires_in_seconds)
        return cls(**fields)._counted_from_now(expires_in_seconds)

    @classmethod
    def _from_raw(cls, raw: RawCredentials, password: str | bytes | None, expires_at: datetime | None) -> Self:
        return cls(
            username=raw.username,
            password=password,
            authorizer=raw.authorizer,
            token_key_name=raw.token_key_name,
            token=raw.token,
            signature=raw.signature,
            parameters=dict(raw.parameters),
            expires_at=expires_at,
        )

    # -- what was given ---------------------------------------------------------------------------------------------

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        rules.check_trio(self.token_key_name, self.token, self.signature)
        if self.token_key_name is not None and self.token_key_name.lower() in map(str.lower, self.parameters):
            raise ValueError(f"parameters: {self.token_key_name!r} is the token key name already: give it once")
        return self

    def model_post_init(self, _context: object, /) -> None:
        """Note the lifetime on the monotonic clock: a device's wall clock may be set after this."""
        self._count_lifetime()

    def _count_lifetime(self) -> None:
        if self.expires_at is not None:
            left = (self.expires_at - datetime.now(UTC)).total_seconds()
            # While the clock is not set, it stands before the issue, and more seems to be left than there ever was.
            longest = left if self._longest_seconds is None else self._longest_seconds
            self._expires_monotonic = time.monotonic() + min(left, longest)

    def _counted_from_now(self, expires_in_seconds: float | None) -> Self:
        """Note that the lifetime was given as such, and does not depend on anybody's wall clock."""
        self._relative = expires_in_seconds is not None
        return self

    def sign(self, private_key: KeySource, *, password: str | bytes | None = None) -> Self:
        """Return the same credentials with the signature of their token, made with an RSA key of 2,048 bits or more.

        The key is PEM text, bytes, or the path of a file; `password` decrypts it (`signing.sign_token`). Raises
        `ConfigurationError` if there is no token, if there is a signature already, or if the key cannot be used.
        """
        if self.token is None:
            raise ConfigurationError(
                "there is no token to sign: make the credentials by Credentials.from_bearer_token()",
                code="credentials_incomplete",
            )
        if self.signature is not None:
            raise ConfigurationError(
                "the token has a signature already: sign credentials without one, as Credentials.from_bearer_token() "
                "makes them",
                code="credentials_invalid",
            )
        from .signing import sign_token

        signature = sign_token(self.token.get_secret_value(), private_key, password=password)
        # A copy, not new credentials: it keeps the lifetime as it was counted.
        return self.model_copy(update={"signature": SecretStr(signature)})

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

    def lifetime_seconds(self, now: datetime) -> float | None:
        """Return how long they last from now on, `None` for ever; zero or less when they have expired.

        `now` is the wall clock of who asks, an aware datetime. The lesser counts of what is left on that clock, and of
        what was left when they were made; a lifetime that was given by `expires_in_seconds` knows no wall clock.
        """
        if self._expires_monotonic is None or self.expires_at is None:
            return None
        left = self._expires_monotonic - time.monotonic()
        return left if self._relative else min(left, (self.expires_at - now).total_seconds())

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
        self._count_lifetime()
