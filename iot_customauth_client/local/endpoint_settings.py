"""What a local endpoint was told to be, checked and complete, as one value that never changes.

`LocalEndpoint` makes it from its arguments, which are documented there, and hands it to the server each time it starts.
Nothing is opened here: what may fail because of the machine fails at `start`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, get_args

from .._suggest import unknown
from ..errors import ConfigurationError
from ..limits import MAX_SESSION_EXPIRY_SECONDS
from .authorizer_targets import AuthorizerFunction
from .authorizers import LocalAuthorizer, as_authorizers
from .choices import DEFAULT_CHOICES, Choices
from .dialogue import RefusedSubscribe311
from .domain_configuration import DomainConfiguration
from .domains import Domains
from .place import Place
from .quotas import Quotas

if TYPE_CHECKING:
    from ..clock import Clock

_MAX_PORT: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """The checked arguments of `LocalEndpoint`."""

    authorizers: Mapping[str, LocalAuthorizer]
    host: str
    port: int
    hostnames: tuple[str, ...]
    domains: Domains
    cert_dir: Path | None
    place: Place
    refused_subscribe_311: RefusedSubscribe311
    quotas: Quotas
    session_expiry_seconds: int
    choices: Choices
    max_connections_per_address: int | None
    max_half_open_per_address: int | None
    clock: Clock | None
    show_secrets: bool

    @classmethod
    def checked(
        cls,
        authorizers: Mapping[str, LocalAuthorizer | AuthorizerFunction],
        *,
        default_authorizer: str | None,
        host: str,
        port: int,
        hostnames: Sequence[str],
        domains: Mapping[str, DomainConfiguration] | None,
        cert_dir: str | os.PathLike[str] | None,
        region: str | None,
        account: str | None,
        refused_subscribe_311: RefusedSubscribe311,
        quotas: Quotas,
        session_expiry_seconds: int,
        choices: Choices | None,
        max_connections_per_address: int | None,
        max_half_open_per_address: int | None,
        clock: Clock | None,
        show_secrets: bool,
    ) -> Self:
        """Return the value for what a user gave. Raises `ConfigurationError` for what cannot work."""
        _check_kinds(host, port, hostnames, choices)
        hostnames = tuple(hostnames)
        named = as_authorizers(authorizers, default=default_authorizer)
        served = Domains(hostnames, domains, default_authorizer)
        served.check_authorizers(named)
        place = Place.find(region, account, hostnames)
        _check_word("refused_subscribe_311", refused_subscribe_311, get_args(RefusedSubscribe311))
        _check_word("quotas", quotas, get_args(Quotas))
        if type(session_expiry_seconds) is not int or not 1 <= session_expiry_seconds <= MAX_SESSION_EXPIRY_SECONDS:
            raise ConfigurationError(
                f"session_expiry_seconds is {session_expiry_seconds!r}: the service keeps a session for 1 to"
                f" {MAX_SESSION_EXPIRY_SECONDS:,} s"
            )
        _check_at_least_one("max_connections_per_address", max_connections_per_address)
        _check_at_least_one("max_half_open_per_address", max_half_open_per_address)
        return cls(
            authorizers=named,
            host=host,
            port=port,
            hostnames=hostnames,
            domains=served,
            # Absolute: who reads `ca_file`, or finds it in the ready file, may work in another directory.
            cert_dir=None if cert_dir is None else Path(cert_dir).absolute(),
            place=place,
            refused_subscribe_311=refused_subscribe_311,
            quotas=quotas,
            session_expiry_seconds=session_expiry_seconds,
            choices=DEFAULT_CHOICES if choices is None else choices,
            max_connections_per_address=max_connections_per_address,
            max_half_open_per_address=max_half_open_per_address,
            clock=clock,
            show_secrets=show_secrets,
        )

    @property
    def first_hostname(self) -> str:
        """The name to connect by: the first one that is no pattern, if there is one."""
        return next((name for name in self.hostnames if not name.startswith("*")), self.hostnames[0])

    @property
    def further_domains(self) -> dict[str, str]:
        """The domain configurations besides the default one: the name of each, and the host name it answers for."""
        return {domain.name: domain.domain_name for domain in self.domains if domain is not self.domains.default}


def _check_kinds(host: object, port: object, hostnames: object, choices: object) -> None:
    """Refuse what Python would take for something else: one name for many of one letter, None for every address."""
    if not isinstance(host, str):
        raise ConfigurationError(f'host is {host!r}: write an address as text, such as "127.0.0.1"')
    if type(port) is not int or not 0 <= port <= _MAX_PORT:
        raise ConfigurationError(f"port is {port!r}: it must be a whole number from 0 (any free one) to {_MAX_PORT:,}")
    if isinstance(hostnames, str):
        raise ConfigurationError(f"hostnames is one text: write a list, [{hostnames!r}]")
    if choices is not None and not isinstance(choices, Choices):
        raise ConfigurationError(f"choices is a {type(choices).__name__}: pass Choices(...)")


def _check_word(name: str, value: str, words: tuple[str, ...]) -> None:
    if value not in words:
        raise ConfigurationError(unknown(name, value, words))


def _check_at_least_one(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise ConfigurationError(f"{name} is {value}: at least 1, or leave it out")
