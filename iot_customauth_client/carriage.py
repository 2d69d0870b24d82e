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

The query of an upgrade or a publish is the same query, behind the `?` of the URL. Headers take the same names and
values **raw**: base64 with `+`, `/` and `=` stands there as it is, since nothing decodes a header. What a header
cannot hold (control characters, anything but ASCII, a space at either end, a name that is no token of HTTP or that
HTTP itself reads) is refused: headers have no escape, and each server would make something else of it.

Which carrier takes what:

=====================================  =================================  ====================================
carrier                                authorizer, signature, token, ...  base user name and password
=====================================  =================================  ====================================
CONNECT (TLS or WebSocket)             query of the user name             CONNECT
upgrade, in headers or query           headers or query                   CONNECT, without a query
HTTPS publish, in headers or query     headers or query                   none: refused
=====================================  =================================  ====================================

An upgrade's CONNECT keeps the base user name and the password because they have no other place, and because products
are known to send a user name there beside header credentials; without either, CONNECT has neither.

The readers undo this; the local endpoint runs `read_username` and `read_query`, on which the others stand: the query
of a user name begins at the *last* `?`, that of a URL at the first one; parts are separated by `&`, each name and value
is percent-decoded once, and `+` stays `+`; a header is found whatever the case of its name. For all that `Credentials`
accepts and a carrier takes, reading what was written gives the same values back.

This file does no I/O, knows no client library, and must never log or show a value: all reprs give sizes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from .errors import ConfigurationError
from .limits import MAX_PASSWORD_BYTES, MAX_USERNAME_BYTES, RESERVED_PARAMETERS

NAME_PARAMETER, SIGNATURE_PARAMETER = RESERVED_PARAMETERS

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # token of RFC 9110, section 5.6.2
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_HTTP_HEADERS = frozenset(
    {
        *("connection", "content-encoding", "content-length", "expect", "host", "http2-settings", "keep-alive"),
        *("proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)
"""Headers that HTTP reads itself (RFC 9110): a parameter of such a name would change the request."""
_HTTP_PREFIXES = ("sec-websocket-", "x-amz-mqtt5-")
"""Headers of the upgrade (RFC 6455) and of MQTT 5 properties (AWS IoT developer guide, "HTTPS")."""


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


class _Parameters:
    """What is asked of the names and values that a server has read, wherever they came."""

    __slots__ = ()
    parameters: tuple[tuple[str, str], ...]

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


@dataclass(frozen=True, slots=True, repr=False)
class ReadUsername(_Parameters):
    """What a server reads from an MQTT user name.

    `query` is the raw text after the last `?`, or `None` if there is no `?`; `parameters` are its parts, decoded, in
    the order in which they came.
    """

    base: str
    query: str | None
    parameters: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"ReadUsername(base={redact_text(self.base)}, parameters={len(self.parameters)})"


@dataclass(frozen=True, slots=True, repr=False)
class ReadPath(_Parameters):
    """What a server reads from the target of an HTTP request.

    `path` is what stands before the first `?`, as it was sent; `query` is the raw text after it, or `None` if there is
    no `?`; `parameters` are its parts, decoded, in the order in which they came.
    """

    path: str
    query: str | None
    parameters: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"ReadPath(path={self.path!r}, parameters={len(self.parameters)})"


@dataclass(frozen=True, slots=True, repr=False)
class ReadHeaders(_Parameters):
    """The headers of an HTTP request, names in lower case, in the order in which they came."""

    parameters: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"ReadHeaders({len(self.parameters)} headers)"

    def get(self, name: str) -> str | None:
        """Return the first value of the header `name`, in any case, or `None`."""
        name = name.lower()
        return next((value for key, value in self.parameters if key == name), None)


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


def write_companion(raw: RawCredentials) -> ConnectFields:
    """Return the CONNECT that goes with credentials in the upgrade: base user name and password, without a query.

    Raises `ConfigurationError` as `write_connect` does.
    """
    return write_connect(RawCredentials(username=raw.username, password=raw.password))


def write_headers(raw: RawCredentials) -> tuple[tuple[str, str], ...]:
    """Return the headers, names and raw values, for a WebSocket upgrade or an HTTPS publish.

    Raises `ConfigurationError` for a name or value that a header cannot carry as it is.
    """
    headers = query_parameters(raw)
    for name, value in headers:
        _check_header(name, value)
    return headers


def write_path(path: str, raw: RawCredentials) -> str:
    """Return `path` with the credentials as its query, for a WebSocket upgrade or an HTTPS publish.

    `path` is encoded already; a query it has is continued. Raises `ConfigurationError` if the credentials' part would
    be longer than a user name may be (`limits.MAX_USERNAME_BYTES`).
    """
    query = write_query(query_parameters(raw))
    _check_size("query", len(query), MAX_USERNAME_BYTES, "token or parameters")
    if not query:
        return path
    return f"{path}{'&' if '?' in path else '?'}{query}"


def check_http(raw: RawCredentials) -> None:
    """Raise `ConfigurationError` for what an HTTPS publish has no place for: user name and password."""
    if raw.username or raw.password is not None:
        raise ConfigurationError(
            "an HTTPS publish has no place for a user name or a password: there is no CONNECT",
            code="credentials_not_for_https",
            phase="configuration",
            what_to_do="pass what your authorizer reads as parameters, for example "
            'Credentials(parameters={"user": ..., "secret": ...}): it finds them in the headers or the query',
        )


def _check_header(name: str, value: str) -> None:
    problem = None
    shown = shown_name(name, value)
    if not _HEADER_NAME.fullmatch(name):
        problem = f"the parameter name {shown} cannot be the name of a header"
    elif name.lower() in _HTTP_HEADERS or name.lower().startswith(_HTTP_PREFIXES):
        problem = f"the parameter {shown} has the name of a header that HTTP or the service reads itself"
    elif not value.isascii():
        problem = f"the value of {shown} holds characters that are not ASCII, which a header cannot carry"
    elif value != value.strip(" "):
        problem = f"the value of {shown} begins or ends with a space, which a header loses"
    elif value and not _HEADER_VALUE.fullmatch(value):
        problem = f"the value of {shown} holds control characters or line breaks, which a header cannot carry"
    elif len(value) > MAX_USERNAME_BYTES:
        problem = f"the value of {shown} has {len(value)} characters, at most {MAX_USERNAME_BYTES} can be sent"
    if problem is not None:
        raise ConfigurationError(
            problem,
            code="credentials_not_for_headers",
            phase="configuration",
            what_to_do='send the credentials with credentials_in="query", which carries any text, or over MQTT with '
            'credentials_in="connect"',
        )


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


def read_path(target: str) -> ReadPath:
    """Split the target of an HTTP request, `/mqtt?name=value`, at its first `?`."""
    path, mark, query = target.partition("?")
    return ReadPath(path, query, read_query(query)) if mark else ReadPath(path, None, ())


def read_headers(headers: Iterable[tuple[str, str]]) -> ReadHeaders:
    """Read the headers of an HTTP request: names in any case, values without the white space around them."""
    return ReadHeaders(tuple((name.lower(), value.strip(" \t")) for name, value in headers))


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


def redact_path(path: str) -> str:
    """Return the target of an HTTP request with the values of its query hidden."""
    path, mark, query = path.partition("?")
    return f"{path}?{redact_query(query)}" if mark else path


def redact_headers(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return credentials' headers with their values hidden: the authorizer's name and the header names stay."""
    return tuple(
        (shown_name(name, value), value if name == NAME_PARAMETER else redact_text(value)) for name, value in headers
    )


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
