"""What the command serves: a TOML file, overridden by flags, as one checked value.

::

    local.toml ──read──> tables ──┐
                                  ├──merge──> LocalConfig (paths resolved, authorizers made)
    flags ────────────────────────┘

The file can say all that the flags can, with underscores. Its paths are relative to itself, those of flags to the
working directory. A key that is not known is refused with the nearest one that is: a typing mistake must never leave a
default in force.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .._suggest import unknown
from ..errors import ConfigurationError
from ..files import read_document
from ..limits import DEFAULT_SESSION_EXPIRY_SECONDS, MAX_SESSION_EXPIRY_SECONDS
from .authorizer_targets import split_function
from .authorizers import LocalAuthorizer, Status, as_authorizers, check_authorizer_name
from .choices import CHOICE_NAMES, Choices, read_choices
from .command import Command
from .domain_configuration import DomainConfiguration
from .domains import Domains
from .doors import ServedNames
from .invoke_url import is_url
from .place import Place
from .words import told_of

LogFormat: TypeAlias = Literal["text", "json"]

DEFAULT_PORT = 8_443
"""The command's port; 443 needs root."""

_TABLES = ("endpoint", "authorizers", "domains", "choices")
_TABLES_OF_TABLES = ("authorizers", "domains")

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)

_Text: TypeAlias = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
"""A path, or an address: with a NUL in it even asking whether it is there raises, and an empty path is a directory."""

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class EndpointTable(BaseModel):
    """`[endpoint]`, and the flags: each key is a flag with underscores, `hostnames` is `--hostname` repeated.

    `refused_subscribe_311`, `session_expiry_seconds` and the limits for one address are no flags: see `LocalEndpoint`.
    """

    model_config = _STRICT

    host: _Text = "127.0.0.1"
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65_535)
    hostnames: list[str] = Field(default=["localhost"], min_length=1)
    cert_dir: _Text | None = None
    default_authorizer: str | None = None
    region: str | None = None
    account: str | None = None
    ready_file: _Text | None = None
    refused_subscribe_311: Literal["hang_up", "suback"] = "hang_up"
    quotas: Literal["off", "aws"] = "off"
    session_expiry_seconds: int = Field(default=DEFAULT_SESSION_EXPIRY_SECONDS, ge=1, le=MAX_SESSION_EXPIRY_SECONDS)
    max_connections_per_address: int | None = Field(default=None, ge=1)
    max_half_open_per_address: int | None = Field(default=None, ge=1)
    log_format: LogFormat = "text"
    show_secrets: bool = False


class AuthorizerTable(BaseModel):
    """`[authorizers.NAME]`; `public_keys` are PEM files. Either `function` or `command` is there."""

    model_config = _STRICT

    function: _Text | None = None
    command: list[str] | None = None
    signing_disabled: bool = False
    token_key_name: str | None = None
    public_keys: list[_Text] = []
    status: Status = "ACTIVE"
    enable_caching_for_http: bool = False


class DomainTable(BaseModel):
    """`[domains.NAME]`: the fields of `DomainConfiguration`, which checks what stands in them."""

    model_config = _STRICT

    domain_name: str
    default_authorizer: str | None = None
    allow_authorizer_override: bool | None = None
    authentication_type: str = "DEFAULT"
    application_protocol: str = "DEFAULT"
    status: str = "ENABLED"


TableT = TypeVar("TableT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """All that `iot-customauth local` needs to know. Paths are absolute or relative to the working directory."""

    host: str
    port: int
    hostnames: tuple[str, ...]
    cert_dir: Path | None
    default_authorizer: str | None
    region: str | None
    account: str | None
    ready_file: Path | None
    refused_subscribe_311: Literal["hang_up", "suback"]
    quotas: Literal["off", "aws"]
    session_expiry_seconds: int
    max_connections_per_address: int | None
    max_half_open_per_address: int | None
    log_format: LogFormat
    show_secrets: bool
    choices: Choices
    authorizers: Mapping[str, LocalAuthorizer] = field(repr=False)
    domains: Mapping[str, DomainConfiguration] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flags:
    """What was given on the command line; `None` and empty mean that it was not."""

    host: str | None = None
    port: int | None = None
    hostnames: Sequence[str] = ()
    cert_dir: Path | None = None
    default_authorizer: str | None = None
    region: str | None = None
    account: str | None = None
    ready_file: Path | None = None
    quotas: str | None = None
    log_format: str | None = None
    show_secrets: bool = False
    authorizers: Sequence[str] = ()
    """Each `NAME=FILE.py`, `NAME=FILE.py:function` or `NAME=http://...`."""


def configure(file: Path | None, flags: Flags) -> LocalConfig:
    """Read the file, if there is one, let the flags override it, and check the whole.

    Raises `ConfigurationError`: one sentence that names the file, the table and the key. What is returned has passed
    every check of `LocalEndpoint`'s arguments.
    """
    document = {} if file is None else _read(file)
    where = "" if file is None else f"{file}, "
    directory = Path() if file is None else file.parent
    table = dict(_table(document, "endpoint", where))
    for name in ("cert_dir", "ready_file"):
        if isinstance(table.get(name), str) and table[name]:
            table[name] = str(directory / table[name])
    _check(EndpointTable, table, f"{where}[endpoint]")  # before the flags: a mistake in the file is the file's
    given = _given(flags)
    merged = _check(EndpointTable, table | given, "command line")
    place = {name: "command line" if name in given else f"{where}[endpoint]" for name in EndpointTable.model_fields}
    with told_of(f"{place['hostnames']}: hostnames"):
        ServedNames(merged.hostnames)
    with told_of(place["region"]):
        Place.find(merged.region, None, ())
    with told_of(place["account"]):
        Place.find(None, merged.account, ())

    authorizers: dict[str, LocalAuthorizer] = {}
    for name, entry, entry_place in _entries(document, "authorizers", AuthorizerTable, where):
        authorizers[name] = _authorizer(name, entry, directory, entry_place)
    for text in flags.authorizers:
        name, function = split_authorizer_flag(text)
        table = {"function": function, "signing_disabled": True}
        authorizers[name] = _authorizer(name, table, Path(), f"--authorizer {name}")
    with told_of(f"{where}[authorizers]"):
        as_authorizers(authorizers, default=None)
    with told_of(place["default_authorizer"]):
        as_authorizers(authorizers, default=merged.default_authorizer)
    chosen = _table(document, "choices", where)
    with told_of(f"{where}[choices]"):
        for name in chosen:
            if name not in CHOICE_NAMES:
                raise ConfigurationError(_unknown("key", name, CHOICE_NAMES))
        choices = read_choices(chosen)
    return LocalConfig(
        host=merged.host,
        port=merged.port,
        hostnames=tuple(merged.hostnames),
        cert_dir=None if merged.cert_dir is None else Path(merged.cert_dir),
        default_authorizer=merged.default_authorizer,
        region=merged.region,
        account=merged.account,
        ready_file=None if merged.ready_file is None else Path(merged.ready_file),
        refused_subscribe_311=merged.refused_subscribe_311,
        quotas=merged.quotas,
        session_expiry_seconds=merged.session_expiry_seconds,
        max_connections_per_address=merged.max_connections_per_address,
        max_half_open_per_address=merged.max_half_open_per_address,
        log_format=merged.log_format,
        show_secrets=merged.show_secrets,
        choices=choices,
        authorizers=authorizers,
        domains=_domains(document, merged, authorizers, where),
    )


def split_authorizer_flag(text: str) -> tuple[str, str]:
    """Split `NAME=FILE.py[:function]` or `NAME=URL`.

    Both sides may hold `=`: the first split that leads to a file or a URL counts.

    Raises `ConfigurationError` if there is no `=`, or the name is none that the service would take.
    """
    places = [index for index, character in enumerate(text) if character == "="]
    if not places:
        raise ConfigurationError(f"--authorizer {text!r}: write NAME=FILE.py or NAME=FILE.py:function, or NAME=URL")
    best = next((place for place in places if _is_function(text[place + 1 :])), places[0])
    name = text[:best]
    with told_of("--authorizer"):
        check_authorizer_name(name)
    return name, text[best + 1 :]


def _is_function(function: str) -> bool:
    if is_url(function):
        return True
    try:
        return split_function(function)[0].is_file()
    except (ConfigurationError, OSError):  # an OSError: what stands there is far too long for a file's name
        return False


def _authorizer(name: str, entry: Mapping[str, Any], directory: Path, where: str) -> LocalAuthorizer:
    table = _check(AuthorizerTable, entry, where)
    with told_of(where):
        check_authorizer_name(name)
        return LocalAuthorizer(
            None if table.function is None else _function(table.function, directory),
            command=table.command,
            working_directory=None if table.command is None else _command_directory(table.command, directory),
            signing_disabled=table.signing_disabled,
            token_key_name=table.token_key_name,
            public_keys=tuple(directory / key for key in table.public_keys),
            status=table.status,
            enable_caching_for_http=table.enable_caching_for_http,
        )


def _domains(
    document: Mapping[str, Any], endpoint: EndpointTable, authorizers: Mapping[str, LocalAuthorizer], where: str
) -> dict[str, DomainConfiguration]:
    """Read the domain configurations, and check each by itself and all together."""
    domains: dict[str, DomainConfiguration] = {}
    for name, entry, place in _entries(document, "domains", DomainTable, where):
        table = _check(DomainTable, entry, place)
        with told_of(place):
            domains[name] = DomainConfiguration(**table.model_dump())
    with told_of(f"{where}[domains]"):
        Domains(endpoint.hostnames, domains, endpoint.default_authorizer).check_authorizers(authorizers)
    return domains


def _function(text: str, directory: Path) -> str:
    """Return the function as `LocalAuthorizer` takes it; a file's path stands from the TOML file."""
    if is_url(text):
        return text
    path, function_name = split_function(text)
    path = directory / path
    try:
        found = path.is_file()
    except OSError as error:  # a directory that may not be read, a name that is too long
        raise ConfigurationError(f"function: {path} cannot be read: {error.strerror}") from error
    if not found:
        raise ConfigurationError(f"function: there is no file {path}")
    return f"{path}:{function_name}"


def _command_directory(command: list[str], directory: Path) -> Path:
    """Return where a command runs: beside the TOML file, so that the paths among its arguments stand from there."""
    problem = Command.of(command, directory).problem()
    if problem is not None:
        raise ConfigurationError(f"command: {problem}")
    return directory


def _read(file: Path) -> dict[str, Any]:
    document = read_document(file)
    for name, value in document.items():
        if name not in _TABLES:
            what = "table" if isinstance(value, dict) else "key"
            raise ConfigurationError(f"{file}: {_unknown(what, name, _TABLES)}")
    return document


def _table(document: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where}`{name}` must be a table: write {_head(name)}")
    return table


def _entries(
    document: Mapping[str, Any], kind: str, model: type[BaseModel], where: str
) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Give each of the tables `[kind.NAME]` with its name and its place."""
    for name, entry in _table(document, kind, where).items():
        if not isinstance(entry, dict):
            if name in model.model_fields:
                raise ConfigurationError(f"{where}[{kind}]: {name!r} belongs in {_head(kind)}")
            head, first = f"[{kind}.{_key(name)}]", next(iter(model.model_fields))
            raise ConfigurationError(f'{where}{head} is not a table: write {head}, and below it {first} = "..."')
        yield name, entry, f"{where}[{kind}.{_key(name)}]"


def _head(table: str) -> str:
    return f"[{table}.NAME], once for each" if table in _TABLES_OF_TABLES else f"[{table}]"


def _given(flags: Flags) -> dict[str, object]:
    given: dict[str, object] = {}
    for each in fields(flags):
        value = getattr(flags, each.name)
        if each.name == "authorizers" or value is None or value is False or value == ():
            continue
        if isinstance(value, Path):
            value = str(value)
        given[each.name] = list(value) if each.name == "hostnames" else value
    return given


def _check(model: type[TableT], table: Mapping[str, Any], where: str) -> TableT:
    for name in table:
        if name not in model.model_fields:
            raise ConfigurationError(f"{where}: {_unknown('key', name, model.model_fields)}")
    try:
        return model(**table)
    except ValidationError as error:
        raise ConfigurationError(f"{where}: {_problems(error)}") from None


def _key(name: str) -> str:
    """Write a key as it stands in the head of a table: quoted, on one line, unless it is letters and digits."""
    return name if _BARE_KEY.fullmatch(name) else repr(name)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    for table, names in (("endpoint", EndpointTable.model_fields), ("choices", CHOICE_NAMES)):
        if name in names:
            return f"unknown {what} {name!r}: it belongs in [{table}]"
    if name in _TABLES:
        return f"unknown {what} {name!r}: it is a table of its own, write {_head(name)}"
    return unknown(what, name, known)


def _problems(error: ValidationError) -> str:
    """Say what is wrong with the values, in the words of a TOML file."""
    problems: list[str] = []
    for item in error.errors(include_input=False, include_url=False):
        key = "".join(f", item {part + 1}," if isinstance(part, int) else part for part in item["loc"])
        words = _TOML_WORDS.get(item["type"], item["msg"]).format(**item.get("ctx", {}))
        problems.append(f"{key} {words}" if item["type"] in _TOML_WORDS else f"{key}: {words}")
    return "; ".join(problems)


_TOML_WORDS: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "string_type": 'must be a text in quotes: "..."',
    "int_type": "must be a whole number, without quotes",
    "bool_type": "must be true or false, without quotes",
    "list_type": 'must be a list of texts: ["...", "..."]',
    "too_short": "must not be empty",
    "string_pattern_mismatch": "must not be empty, and must not hold control characters",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
}
"""For what pydantic finds, by its word for it."""
