"""What the local endpoint knows about an authorizer: the fields of AWS's authorizer resource, and its function.

A `LocalAuthorizer` is the description, checked when it is made: whatever could only fail later, at three in the
morning, is refused here with the sentence that says what to write instead. What its function may be is in
`authorizer_targets.py`, how it is found in `authorizer_files.py`, how it is run in `authorizer_calls.py`.

Nothing here calls the function or reads its file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from .. import limits
from .._suggest import unknown
from ..errors import ConfigurationError
from .authorizer_targets import AuthorizerFunction, PythonFile, Target, read_target
from .command import Command
from .invoke_url import InvokeUrl
from .signatures import load_public_keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

Status: TypeAlias = Literal["ACTIVE", "INACTIVE"]

_NAME = re.compile(limits.AUTHORIZER_NAME_PATTERN, re.ASCII)
_KEY_NAME = re.compile(limits.TOKEN_KEY_NAME_PATTERN)


@dataclass(frozen=True, slots=True)
class LocalAuthorizer:
    """One authorizer of a local endpoint, with the fields that `aws iot create-authorizer` has.

    Args:
        function: what AWS runs as the Lambda function. One of
            a callable that takes `(event, context)`;
            a Python file as `"FILE.py"` or `"FILE.py:function"` (`lambda_handler` if it is not named), which is read
            again when it changes, and whose path stands from the working directory;
            a Lambda Invoke URL as `"http://host:port/2015-03-31/functions/NAME/invocations"`;
            a command as a list of strings, which reads the event from its stdin and prints the result, both JSON.
        url, command: the last two by name, in place of `function`.
        working_directory: in which a command runs; by default the endpoint's own.
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

    function: AuthorizerFunction | str | Path | Sequence[str] | None = None
    url: str | None = field(default=None, kw_only=True)
    command: Sequence[str] | None = field(default=None, kw_only=True)
    working_directory: Path | None = field(default=None, kw_only=True)
    signing_disabled: bool = field(default=False, kw_only=True)
    token_key_name: str | None = field(default=None, kw_only=True)
    public_keys: tuple[str | bytes | Path, ...] = field(default=(), kw_only=True, repr=False)
    status: Status = field(default="ACTIVE", kw_only=True)
    enable_caching_for_http: bool = field(default=False, kw_only=True)
    loaded_keys: tuple[RSAPublicKey, ...] = field(init=False, repr=False, compare=False)
    """`public_keys` as objects to verify with."""
    target: Target = field(init=False, repr=False, compare=False)
    """What is called, read from `function`, `url` or `command`."""

    def __post_init__(self) -> None:
        target = self._read_target()
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
                " for an authorizer without signatures set signing_disabled to true"
            )
        # A frozen value is completed with object.__setattr__, as dataclasses' own __init__ does.
        object.__setattr__(self, "public_keys", keys)
        object.__setattr__(self, "loaded_keys", load_public_keys(keys))
        object.__setattr__(self, "target", target)

    def _read_target(self) -> Target:
        given = [each for each in (self.function, self.url, self.command) if each is not None]
        if len(given) != 1:
            raise ConfigurationError(
                "an authorizer calls one thing: give a function (a callable, FILE.py[:function] or an Invoke URL), or"
                f" a url, or a command; {len(given)} were given"
            )
        if self.url is not None:
            target: Target = InvokeUrl.parse(self.url)
        elif self.command is not None:
            target = Command.of(self.command, self.working_directory)
        else:
            target = read_target(given[0], working_directory=self.working_directory)
        if self.working_directory is not None and not isinstance(target, Command):
            raise ConfigurationError("working_directory is for an authorizer that is a command")
        return target

    @property
    def function_name(self) -> str:
        """The name that the function's `context` shows: the callable's, the file's, the URL's or the program's."""
        target = self.target
        if isinstance(target, PythonFile | InvokeUrl | Command):
            return target.function_name
        return str(getattr(target, "__name__", type(target).__name__))


def as_authorizers(
    given: Mapping[str, LocalAuthorizer | AuthorizerFunction], *, default: str | None
) -> dict[str, LocalAuthorizer]:
    """Check the names and wrap bare callables, which means signing disabled.

    Raises `ConfigurationError` for a name that the service would not take, for what is neither an authorizer nor
    callable, for more authorizers than an account has (10), and for a `default` that is not among them.
    """
    if len(given) > limits.MAX_AUTHORIZERS:
        raise ConfigurationError(
            f"{len(given)} authorizers: an account of AWS has at most {limits.MAX_AUTHORIZERS}; let one function serve"
            " several kinds of credentials, or start another endpoint"
        )
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
