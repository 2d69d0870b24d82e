"""The domains of an endpoint: which of its domain configurations a client meets, and what that one speaks.

The service finds the domain configuration by SNI. One of them, `iot:Data-ATS`, is the default endpoint: it answers for
the endpoint's `hostnames`, and neither its type nor its protocol can be changed. The others answer for one name each:

    application_protocol    what is spoken inside TLS                 ALPN                 ports behind a proxy
    DEFAULT                 the table of `doors.py`                   selects the door     443
    SECURE_MQTT             MQTT                                      any, or none         443, 8883
    MQTT_WSS                HTTP, and of it the upgrade to MQTT       any, or none         443
    HTTPS                   HTTP, and of it publishing by POST        any, or none         443, 8443

The `x-amzn-` names stand for client certificates. They are "any" only where the authentication type is CUSTOM_AUTH;
with the type DEFAULT they still select certificates, which are not served here.

Pure: values in, a value out. An exact name comes before a wildcard among the `hostnames`. Never here: a domain that
answers for another one's name.
Source: AWS pages "What is a domain configuration?" and "Device communication protocols". They say that type and
protocol replace the choice by port and ALPN; which ports and ALPN names each combination takes is not documented.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .._suggest import unknown
from ..errors import ConfigurationError
from ..limits import SERVICE_PORT
from .domain_configuration import (
    ApplicationProtocol,
    AuthenticationType,
    DomainConfiguration,
    DomainStatus,
    check_domain_configuration_name,
)
from .doors import Alert, Door, ServedNames, TurnAway, choose_door, door_by_alpn, looks_like_host_name, shown
from .events import DEFAULT_DOMAIN
from .http_answers import HttpRefusal, refused
from .http_names import PUBLISH_PATH, WEBSOCKET_PATH


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain configuration as the endpoint uses it.

    default_authorizer: who is asked when a client names nobody: the domain's, else the account's, if there is one.
    may_name: whether a client may name another one.
    """

    name: str = DEFAULT_DOMAIN
    domain_name: str = ""
    default_authorizer: str | None = None
    may_name: bool = True
    authentication_type: AuthenticationType = "DEFAULT"
    application_protocol: ApplicationProtocol = "DEFAULT"
    status: DomainStatus = "ENABLED"

    @property
    def ports(self) -> tuple[int, ...]:
        """The service's ports that it is reached by."""
        return _SPOKEN[self.application_protocol].ports

    def choose_door(self, server_name: str, alpn: Sequence[str], served: ServedNames) -> Door | TurnAway:
        """Decide what a client gets that has come to this domain."""
        if self.status != "ENABLED":
            return TurnAway(
                "domain_disabled",
                Alert.UNRECOGNIZED_NAME,
                f"domain configuration `{self.name}` ({self.domain_name}) is {self.status}: set its status to ENABLED",
            )
        door = _SPOKEN[self.application_protocol].door
        if door is None or (self.authentication_type == "DEFAULT" and _is_for_certificates(alpn)):
            return choose_door(server_name, alpn, served)
        return door

    def refuse_http(self) -> HttpRefusal | None:
        """Refuse a request where no HTTP is spoken; None where it is."""
        if _SPOKEN[self.application_protocol].door is not Door.MQTT:
            return None
        return refused(404, "domain_protocol", f"{self._speaks}, and {_OTHER_PROTOCOL['http_with_mqtt_alpn']}")

    def refuse_route(self, path: str) -> HttpRefusal | None:
        """Refuse a request on a path that this domain does not serve; None if it serves it."""
        if self.application_protocol == "HTTPS" and path == WEBSOCKET_PATH:
            return refused(
                404,
                "domain_protocol",
                f"{self._speaks}; for MQTT over WebSocket connect to a domain configuration with MQTT_WSS or DEFAULT",
            )
        if self.application_protocol == "MQTT_WSS" and path.startswith(PUBLISH_PATH):
            return refused(
                404,
                "domain_protocol",
                f"{self._speaks}; to publish over HTTPS connect to a domain configuration with HTTPS or DEFAULT",
            )
        return None

    def explain(self, turn_away: TurnAway) -> TurnAway:
        """Put it into this domain's words that a client spoke another protocol than its door's.

        The words of the doors are about ALPN, which does not select here.
        """
        came = _OTHER_PROTOCOL.get(turn_away.cause)
        if came is None or self.application_protocol == "DEFAULT":
            return turn_away
        return TurnAway("domain_protocol", turn_away.alert, f"{self._speaks}, and {came}")

    @property
    def _speaks(self) -> str:
        spoken = _SPOKEN[self.application_protocol]
        return (
            f"domain configuration `{self.name}` has application protocol {self.application_protocol}: {spoken.words}"
        )


@dataclass(frozen=True, slots=True)
class _Spoken:
    door: Door | None
    ports: tuple[int, ...]
    words: str


_SPOKEN: Final[Mapping[ApplicationProtocol, _Spoken]] = {
    "DEFAULT": _Spoken(None, (SERVICE_PORT,), ""),
    "SECURE_MQTT": _Spoken(Door.MQTT, (SERVICE_PORT, 8_883), "it speaks MQTT inside TLS, no WebSocket and no HTTPS"),
    "MQTT_WSS": _Spoken(Door.HTTP, (SERVICE_PORT,), "it speaks MQTT over WebSocket (GET /mqtt) and nothing else"),
    "HTTPS": _Spoken(Door.HTTP, (SERVICE_PORT, 8_443), "it takes publishes over HTTPS (POST /topics/TOPIC) only"),
}
_OTHER_PROTOCOL: Final = {
    "http_with_mqtt_alpn": "HTTP came: is WebSocket or HTTPS switched on in the client?",
    "mqtt_without_alpn": "MQTT came without HTTP: MQTT inside TLS needs SECURE_MQTT, or DEFAULT and ALPN `mqtt`",
    "not_http": "what came is not HTTP",
}


class Domains:
    """All domains of an endpoint, and the names they answer for.

    hostnames: of the default endpoint; `*.` as first label is allowed. configurations: by name. default_authorizer: the
    account's, which counts at the default endpoint and in every configuration without one of its own.

    Raises `ConfigurationError` for a name that the service would not take, and for two that answer for one host name.
    """

    def __init__(
        self,
        hostnames: Sequence[str],
        configurations: Mapping[str, DomainConfiguration] | None = None,
        default_authorizer: str | None = None,
    ) -> None:
        self.default: Final = Domain(default_authorizer=default_authorizer)
        self._by_name: dict[str, Domain] = {}
        given = configurations or {}
        defaults = ServedNames(hostnames)
        for name, configuration in given.items():
            domain = _domain(name, configuration, default_authorizer)
            other = self._by_name.get(domain.domain_name)
            if other is not None or domain.domain_name in defaults.names:
                owner = "the endpoint's hostnames" if other is None else f"domain configuration {other.name!r}"
                raise ConfigurationError(
                    f"domain configuration {name!r}: domain_name {domain.domain_name} is served by {owner} already, and"
                    " a client is told apart by its host name alone; give each a name of its own"
                )
            self._by_name[domain.domain_name] = domain
        self.served: Final = ServedNames((*defaults.names, *self._by_name))

    def __iter__(self) -> Iterator[Domain]:
        yield self.default
        yield from self._by_name.values()

    def check_authorizers(self, authorizers: Collection[str]) -> None:
        """Raise `ConfigurationError` if a domain's default authorizer is not among these."""
        for domain in self:
            if domain.default_authorizer is not None and domain.default_authorizer not in authorizers:
                wrong = unknown("default authorizer", domain.default_authorizer, authorizers)
                raise ConfigurationError(f"domain configuration {domain.name!r}: {wrong}")

    def named(self, name: str) -> Domain:
        """Return a domain configuration by its name. Raises `ConfigurationError` if there is none of it."""
        by_name = {domain.name: domain for domain in self._by_name.values()}
        if name not in by_name:
            raise ConfigurationError(unknown("domain configuration", name, by_name))
        return by_name[name]

    def find(self, host_name: str) -> Domain | None:
        """Return the domain that answers for a host name; None if none does."""
        exact = self._by_name.get(host_name.lower())
        if exact is not None:
            return exact
        return self.default if host_name in self.served else None

    def choose(
        self, server_name: str | None, alpn: Sequence[str], *, name_in_host: bool = False
    ) -> tuple[Domain, Door] | TurnAway:
        """Decide which domain and which door a client gets that offers this server name (SNI) and these ALPN names.

        name_in_host: let in without SNI who comes for HTTP; it is the default domain's until `by_host` has found his.
        """
        if server_name is None and name_in_host and door_by_alpn(alpn) is Door.HTTP:
            return self.default, Door.HTTP
        domain = None if server_name is None else self.find(server_name)
        if server_name is None or domain is None:
            door = choose_door(server_name, alpn, self.served)  # it has the words for both
            domain = self.default
        else:
            door = domain.choose_door(server_name, alpn, self.served)
        return door if isinstance(door, TurnAway) else (domain, door)

    def by_host(self, hosts: Sequence[str]) -> Domain | HttpRefusal:
        """Return the domain that a request without SNI is for, by its Host headers, each `name` or `name:port`."""
        if len(hosts) != 1:
            return refused(
                403, "host_missing", "neither SNI nor one Host header: the service finds the account by them"
            )
        name = _without_port(hosts[0])
        domain = self.find(name)
        if domain is None:
            named = shown([name]) if looks_like_host_name(name) else f"<{len(name)} characters>"
            return refused(
                403,
                "host_unknown",
                f"there is no SNI, and the Host header names {named}, which is not served here; served: {self.served}",
            )
        door = domain.choose_door(name, (), self.served)
        if isinstance(door, TurnAway):
            return refused(403, door.cause, door.explanation)
        return domain.refuse_http() or domain

    def ports(self, host_name: str) -> tuple[int, ...]:
        """Return the service's ports that a host name is reached by."""
        return (self.find(host_name) or self.default).ports

    def other_host(self, domain: Domain, host: str) -> str | None:
        """Say that a Host header names another domain than SNI did; None if it does not.

        host: `name` or `name:port`, as it was sent. What is not served at all is not compared.
        """
        name = _without_port(host)
        meant = self.find(name)
        if meant is None or meant is domain:
            return None
        return (
            f"the Host header names {shown([name])} (domain configuration `{meant.name}`), but SNI named domain"
            f" configuration `{domain.name}`: the service documents that it reads one or the other, not which wins;"
            " here SNI does, send the same name in both"
        )


def _without_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if port.isdigit() else host


def _domain(name: str, configuration: object, account_default: str | None) -> Domain:
    check_domain_configuration_name(name)
    if not isinstance(configuration, DomainConfiguration):
        raise ConfigurationError(
            f"domain configuration {name!r} is a {type(configuration).__name__}: pass a DomainConfiguration"
        )
    return Domain(
        name,
        configuration.domain_name,
        configuration.default_authorizer or account_default,
        configuration.allow_authorizer_override is not False,
        configuration.authentication_type,
        configuration.application_protocol,
        configuration.status,
    )


def _is_for_certificates(alpn: Sequence[str]) -> bool:
    return any(name.startswith("x-amzn-") for name in alpn) and "mqtt" not in alpn and "http/1.1" not in alpn
