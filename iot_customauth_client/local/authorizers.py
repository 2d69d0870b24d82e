"""What the local endpoint knows about an authorizer: the fields of AWS's authorizer resource, and its function.

A `LocalAuthorizer` is the description, checked when it is made: whatever could only fail later, at three in the
morning, is refused here with the sentence that says what to write instead. How its function is found is in
`authorizer_files.py`, how it is run in `authorizer_calls.py`.

Nothing here calls the function or reads its file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from .. import limits
from .._suggest import unknown
from ..errors import ConfigurationError
from .signatures import load_public_keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

AuthorizerFunction: TypeAlias = Callable[..., object]
"""`function(event, context) -> result`, as AWS Lambda calls it: `event` a dict, `result` what `json.dumps` takes."""

Status: TypeAlias = Literal["ACTIVE", "INACTIVE"]

DEFAULT_FUNCTION_NAME = "lambda_handler"
"""The function that is called in a file when none is named: AWS's own default."""

_NAME = re.compile(limits.AUTHORIZER_NAME_PATTERN, re.ASCII)
_KEY_NAME = re.compile(limits.TOKEN_KEY_NAME_PATTERN)


@dataclass(frozen=True, slots=True)
class LocalAuthorizer:
    """One authorizer of a local endpoint, with the fields that `aws iot create-authorizer` has.

    Args:
        function: what AWS runs as the Lambda function: a callable that takes `(event, context)`, or a Python file as
            `"FILE.py"` or `"FILE.py:function"` (`lambda_handler` if it is not named). A file is read again when it
            changes. Relative paths stand from the working directory.
        signing_disabled: when true no signature is asked for. The default is the service's: signing is on, and then
            `token_key_name` and at least one public key are needed.
        token_key_name: the name of the parameter that carries the token, 1 to 128 of `a-z A-Z 0-9 _ -`.
        public_keys: RSA public keys of at least 2,048 bits, each the path of a PEM file or its text. A signature has
            to fit one of them.
        status: an `INACTIVE` authorizer refuses everybody.
        enable_caching_for_http: part of the resource; it concerns HTTPS requests only, never MQTT.

    Raises:
        ConfigurationError: (also a ValueError) what was given could never work; the message says what to write.

    Source: *API*, CreateAuthorizer.
    """

    function: AuthorizerFunction | str | Path
    signing_disabled: bool = field(default=False, kw_only=True)
    token_key_name: str | None = field(default=None, kw_only=True)
    public_keys: tuple[str | bytes | Path, ...] = field(default=(), kw_only=True, repr=False)
    status: Status = field(default="ACTIVE", kw_only=True)
    enable_caching_for_http: bool = field(default=False, kw_only=True)
    loaded_keys: tuple[RSAPublicKey, ...] = field(init=False, repr=False, compare=False)
    """`public_keys` as objects to verify with."""

    def __post_init__(self) -> None:
        if not callable(self.function):
            split_function(self.function)
        if self.token_key_name is not None and not _KEY_NAME.fullmatch(self.token_key_name):
            raise ConfigurationError(
                f"token key name {self.token_key_name!r}: 1 to 128 letters, digits, `_` and `-` are allowed"
            )
        if self.token_key_name in limits.RESERVED_PARAMETERS:
            raise ConfigurationError(f"token key name {self.token_key_name!r} is reserved by the service")
        if self.status not in get_args(Status):
            raise ConfigurationError(unknown("status", self.status, get_args(Status)))
        keys = (self.public_keys,) if isinstance(self.public_keys, str | bytes | Path) else tuple(self.public_keys)
        if not self.signing_disabled and (self.token_key_name is None or not keys):
            raise ConfigurationError(
                "signing is on (the service's default), which needs token_key_name and at least one of public_keys;"
                " pass signing_disabled=True for an authorizer without signatures"
            )
        # A frozen value is completed with object.__setattr__, as dataclasses' own __init__ does.
        object.__setattr__(self, "public_keys", keys)
        object.__setattr__(self, "loaded_keys", load_public_keys(keys))

    @property
    def function_name(self) -> str:
        """The name that the function's `context` shows: the file's or the callable's."""
        if callable(self.function):
            return str(getattr(self.function, "__name__", type(self.function).__name__))
        path, _ = split_function(self.function)
        return path.stem


def split_function(text: str | Path) -> tuple[Path, str]:
    """Split `FILE.py[:function]` into the file and the function's name.

    Raises `ConfigurationError` when it is neither.
    """
    written = str(text)
    path, colon, name = written.rpartition(":")
    if written.endswith(".py"):
        return Path(written), DEFAULT_FUNCTION_NAME
    if not colon or not path.endswith(".py") or not name.isidentifier():
        raise ConfigurationError(f"authorizer function {written!r}: write FILE.py or FILE.py:function_name")
    return Path(path), name


def as_authorizers(
    given: Mapping[str, LocalAuthorizer | AuthorizerFunction], *, default: str | None
) -> dict[str, LocalAuthorizer]:
    """Check the names and wrap bare callables, which means signing disabled.

    Raises `ConfigurationError` for a name that the service would not take, for what is neither an authorizer nor
    callable, and for a `default` that is not among them.
    """
    authorizers: dict[str, LocalAuthorizer] = {}
    for name, authorizer in given.items():
        check_authorizer_name(name)
        if isinstance(authorizer, LocalAuthorizer):
            authorizers[name] = authorizer
        elif callable(authorizer):
            authorizers[name] = LocalAuthorizer(authorizer, signing_disabled=True)
        else:
            raise ConfigurationError(
                f"authorizer {name!r} is a {type(authorizer).__name__}: pass a function(event, context), or a"
                ' LocalAuthorizer("FILE.py", signing_disabled=True)'
            )
    if default is not None and default not in authorizers:
        raise ConfigurationError(unknown("default authorizer", default, authorizers))
    return authorizers


def check_authorizer_name(name: str) -> None:
    """Raise `ConfigurationError` unless the service would take `name` for an authorizer (*API*: `[\\w=,@-]+`)."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"authorizer name {name!r}: 1 to 128 letters, digits and `_ = , @ -` are allowed")
