"""How credentials travel: raw values in; what goes on the wire out; and what a server reads from it, back again.

The idea
--------
AWS IoT Core takes the same six values through five carriers: the user name and password of the MQTT CONNECT packet
(over TLS or inside WebSocket), the headers or the query of a WebSocket upgrade, and the headers or the query of an
HTTPS publish. Three of the five are a *query string* with the same names, so every rule of encoding is one rule, and
it stands here once:

=====================================  ==================================================================
part                                   how it is written
=====================================  ==================================================================
base user name                         as it is, UTF-8: authorizers compare it as it stands
`?`                                    only if a query follows
`x-amz-customauthorizer-name`          first, if an authorizer is named
`x-amz-customauthorizer-signature`     second, if there is a signature
the token key name                     third, if there is a token
further parameters                     last, in the order given
every name and value of the query      percent-encoded once, all but `A-Z a-z 0-9 - . _ ~`, hence ASCII
password                               beside the user name, as bytes, not encoded
=====================================  ==================================================================

Nothing is sent that the caller did not give. The order is that of AWS's page on custom authentication; the service
takes any.

The reader (`read_username`, `read_query`) is what the local endpoint runs: the query begins at the *last* `?`, parts
are separated by `&`, each name and value is percent-decoded once, and `+` stays `+`. For all that `Credentials`
accepts, reading what was written gives the same values back.

This file does no I/O, knows no client library, and must never log or show a value: all reprs give sizes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from .errors import ConfigurationError
from .limits import MAX_PASSWORD_BYTES, MAX_USERNAME_BYTES, RESERVED_PARAMETERS

NAME_PARAMETER, SIGNATURE_PARAMETER = RESERVED_PARAMETERS

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True, slots=True, repr=False)
class RawCredentials:
    """The values themselves, not encoded and not hidden: what stands between `Credentials` and a carrier."""

    username: str = ""
    password: bytes | None = None
    authorizer: str | None = None
    signature: str | None = None
    token_key_name: str | None = None
    token: str | None = None
    parameters: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return "RawCredentials(<hidden>)"


@dataclass(frozen=True, slots=True, repr=False)
class ConnectFields:
    """User name and password of a CONNECT packet; `None` means that the field is absent."""

    username: str | None
    password: bytes | None

    def __repr__(self) -> str:
        shown = None if self.username is None else redact_username(self.username)
        return f"ConnectFields(username={shown!r}, password={redact_bytes(self.password)})"


@dataclass(frozen=True, slots=True, repr=False)
class ReadUsername:
    """What a server reads from an MQTT user name.

    `query` is the raw text after the last `?`, or `None` if there is no `?`; `parameters` are its parts, decoded, in
    the order in which they came.
    """

    base: str
    query: str | None
    parameters: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"ReadUsername(base={redact_text(self.base)}, parameters={len(self.parameters)})"

    def get(self, name: str) -> str | None:
        """Return the first value of the parameter `name`, or `None`."""
        return next((value for key, value in self.parameters if key == name), None)

    @property
    def authorizer(self) -> str | None:
        """The authorizer's name, if one was sent."""
        return self.get(NAME_PARAMETER)

    @property
    def signature(self) -> str | None:
        """The signature, if one was sent."""
        return self.get(SIGNATURE_PARAMETER)

    @property
    def repeated(self) -> tuple[str, ...]:
        """Parameter names that came more than once."""
        names = [name for name, _ in self.parameters]
        return tuple(sorted({name for name in names if names.count(name) > 1}))


# -- writing ------------------------------------------------------------------------------------------------------


def query_parameters(raw: RawCredentials) -> tuple[tuple[str, str], ...]:
    """Return the names and values, not encoded, that every carrier with a query or headers sends, in order."""
    parts: list[tuple[str, str]] = []
    if raw.authorizer is not None:
        parts.append((NAME_PARAMETER, raw.authorizer))
    if raw.signature is not None:
        parts.append((SIGNATURE_PARAMETER, raw.signature))
    if raw.token_key_name is not None and raw.token is not None:
        parts.append((raw.token_key_name, raw.token))
    parts.extend(raw.parameters)
    return tuple(parts)


def write_query(parameters: tuple[tuple[str, str], ...]) -> str:
    """Encode names and values, each once, to `name=value&name=value`."""
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parameters)


def write_connect(raw: RawCredentials) -> ConnectFields:
    """Return the user name and password for a CONNECT packet.

    Raises `ConfigurationError` if one of them is longer than can be sent (`limits.MAX_USERNAME_BYTES`,
    `limits.MAX_PASSWORD_BYTES`).
    """
    query = write_query(query_parameters(raw))
    username: str | None = f"{raw.username}?{query}" if query else raw.username
    if not username:
        username = None  # awscrt sends none for an empty one, whatever it is given
    _check_size("MQTT user name", len((username or "").encode()), MAX_USERNAME_BYTES, "token or parameters")
    _check_size("password", len(raw.password or b""), MAX_PASSWORD_BYTES, "password")
    return ConnectFields(username, raw.password)


def _check_size(what: str, size: int, allowed: int, shorten: str) -> None:
    if size > allowed:
        raise ConfigurationError(
            f"the {what} would have {size} bytes, at most {allowed} can be sent: use a shorter {shorten}",
            code="credentials_too_long",
            phase="configuration",
        )


# -- reading ------------------------------------------------------------------------------------------------------


def read_username(username: str) -> ReadUsername:
    """Split an MQTT user name as the service does: at the last `?`."""
    base, mark, query = username.rpartition("?")
    if not mark:
        return ReadUsername(username, None, ())
    return ReadUsername(base, query, read_query(query))


def read_query(query: str) -> tuple[tuple[str, str], ...]:
    """Return the decoded names and values of a query string without its `?`.

    A part without `=` has an empty value; empty parts are left out; what is not UTF-8 after decoding becomes U+FFFD.
    """
    parts = (part.partition("=") for part in query.split("&") if part)
    return tuple((_decode(name), _decode(value)) for name, _, value in parts)


def _decode(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")


# -- hiding -------------------------------------------------------------------------------------------------------


def redact_text(text: str | None) -> str:
    """Say how long a secret text is."""
    return "None" if text is None else f"<{len(text)} characters>"


def redact_bytes(data: bytes | None) -> str:
    """Say how long a secret is."""
    return "None" if data is None else f"<{len(data)} bytes>"


def redact_username(username: str) -> str:
    """Return an MQTT user name with its values hidden: the authorizer's name and the parameter names stay.

    A name is shown only if it looks like one and has a value: a token that was pasted after the `?` is not a name.
    """
    base, mark, query = username.rpartition("?")
    if not mark:
        return redact_text(username)
    return f"{redact_text(base)}?{redact_query(query)}"


def redact_query(query: str) -> str:
    """Return a query string (without its `?`) with its values hidden, as `redact_username` does."""
    return "&".join(_redact_part(*part.partition("=")) for part in query.split("&"))


def shown_name(name: str, value: str) -> str:
    """Return a parameter's name if it may be shown: a token that was pasted after the `?` is not a name.

    A name has at most 32 letters, digits, `-` and `_`, and a value (base64 ends with `=`, which looks like none).
    """
    named = name in RESERVED_PARAMETERS or (_PLAIN_NAME.fullmatch(name) and value.strip("="))
    return name if named else redact_text(name)


def _redact_part(name: str, sign: str, value: str) -> str:
    if name == NAME_PARAMETER:
        return f"{name}{sign}{value}"
    shown = shown_name(name, value)
    return f"{shown}={redact_text(value)}" if shown == name else redact_text(f"{name}{sign}{value}")
