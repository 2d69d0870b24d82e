"""What a user says about a domain configuration: the fields of AWS's resource that custom authentication depends on.

A `DomainConfiguration` is the description, checked when it is made. What this endpoint could only pretend to do
(client certificates, SigV4) is refused here, with the way to go instead; it must never be taken and left undone. How
the configurations of an endpoint stand side by side is in `domains.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Literal, TypeAlias, get_args

from .. import limits
from ..errors import ConfigurationError
from .authorizers import check_authorizer_name
from .doors import check_host_name
from .words import told_of

AuthenticationType: TypeAlias = Literal["DEFAULT", "CUSTOM_AUTH", "CUSTOM_AUTH_X509", "AWS_X509", "AWS_SIGV4"]
"""As in the API; the last three are refused."""
ApplicationProtocol: TypeAlias = Literal["DEFAULT", "SECURE_MQTT", "MQTT_WSS", "HTTPS"]
"""As in the API."""
DomainStatus: TypeAlias = Literal["ENABLED", "DISABLED"]
"""As in the API."""

_NAME = re.compile(limits.DOMAIN_CONFIGURATION_NAME_PATTERN, re.ASCII)
_RESERVED_PREFIX: Final = "iot:"

_NOT_SERVED: Final = {
    "CUSTOM_AUTH_X509": (
        "it asks for a client certificate and then for the authorizer, which is told the certificate, and the service"
        " takes it with application_protocol SECURE_MQTT or HTTPS only; this endpoint asks for no client"
        ' certificates. To test the authorizer alone, write "CUSTOM_AUTH"; for the certificate, connect to AWS IoT Core'
        " with awsiotsdk"
    ),
    "AWS_X509": (
        "it is for client certificates, and no authorizer is asked; this endpoint serves custom authentication only."
        ' Write "CUSTOM_AUTH" or "DEFAULT"; for certificates, connect to AWS IoT Core with awsiotsdk'
    ),
    "AWS_SIGV4": (
        "it is for requests that are signed with AWS credentials, and no authorizer is asked; this endpoint serves"
        ' custom authentication only. Write "CUSTOM_AUTH" or "DEFAULT"; for SigV4, connect to AWS IoT Core with'
        " awsiotsdk"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainConfiguration:
    """One domain configuration of a local endpoint, with the fields that `aws iot create-domain-configuration` has.

    It is selected by the server name (SNI) that a client sends, which must equal `domain_name`.

    Args:
        domain_name: the host name, 1 to 253 characters; neither an IP address nor a wildcard.
        default_authorizer: the authorizer that is asked when a client names none; it comes before the account's
            default. The API's `authorizerConfig.defaultAuthorizerName`.
        allow_authorizer_override: whether a client may name another one. Needed when `default_authorizer` is given,
            as in the API. What a name counts that may not be given is not documented: `Choices.disallowed_override`.
        authentication_type: `"DEFAULT"`, by port and ALPN as at the default endpoint; or `"CUSTOM_AUTH"`, which no
            ALPN name changes where `application_protocol` is given too.
        application_protocol: `"DEFAULT"`, by ALPN as at the default endpoint; or nothing but `"SECURE_MQTT"` (MQTT in
            TLS), `"MQTT_WSS"` (MQTT over WebSocket) or `"HTTPS"` (publishing), whatever ALPN is offered.
        status: a `"DISABLED"` one turns every client away. The API's `domainConfigurationStatus`.

    Raises:
        ConfigurationError: (also a ValueError) a value that the service would not take, or one of
            `"CUSTOM_AUTH_X509"`, `"AWS_X509"`, `"AWS_SIGV4"`, which are not served here.

    Source: *API*, CreateDomainConfiguration and UpdateDomainConfiguration; AWS pages "What is a domain configuration?"
    and "Custom authentication with X.509 client certificates".
    """

    domain_name: str
    default_authorizer: str | None = None
    allow_authorizer_override: bool | None = None
    authentication_type: AuthenticationType = "DEFAULT"
    application_protocol: ApplicationProtocol = "DEFAULT"
    status: DomainStatus = "ENABLED"

    def __post_init__(self) -> None:
        # A frozen value is completed with object.__setattr__, as dataclasses' own __init__ does.
        object.__setattr__(self, "domain_name", _checked_domain_name(self.domain_name))
        for name, value, allowed in (
            ("authentication_type", self.authentication_type, get_args(AuthenticationType)),
            ("application_protocol", self.application_protocol, get_args(ApplicationProtocol)),
            ("status", self.status, get_args(DomainStatus)),
        ):
            if value not in allowed:
                # All of them: the nearest to MQTT is MQTT_WSS, which is seldom what was meant.
                raise ConfigurationError(f"unknown {name} {str(value)!r}: known: {', '.join(allowed)}")
        if self.authentication_type in _NOT_SERVED:
            raise ConfigurationError(
                f"authentication_type {self.authentication_type}: {_NOT_SERVED[self.authentication_type]}"
            )
        self._check_authorizer_config()

    def _check_authorizer_config(self) -> None:
        if self.allow_authorizer_override not in (None, True, False):
            raise ConfigurationError(
                f"allow_authorizer_override is {self.allow_authorizer_override!r}: write true or false"
            )
        if self.default_authorizer is not None:
            with told_of("default_authorizer"):
                check_authorizer_name(self.default_authorizer)
            if self.allow_authorizer_override is None:
                raise ConfigurationError(
                    "default_authorizer is given without allow_authorizer_override: the API wants both; true lets a"
                    " client name another authorizer, false does not"
                )
        elif self.allow_authorizer_override is False:
            raise ConfigurationError(
                "allow_authorizer_override is false without default_authorizer: nobody could say which authorizer is"
                " asked; name the default one too"
            )


def check_domain_configuration_name(name: str) -> None:
    """Raise `ConfigurationError` unless the service would take `name` (*API*: `[\\w.-]+`; `IoT:` is its own)."""
    if name.lower().startswith(_RESERVED_PREFIX):
        raise ConfigurationError(
            f"domain configuration name {name!r}: names that begin with `IoT:` are the service's own; the default"
            " endpoint is configured by `hostnames` and `default_authorizer` of the endpoint, and its type and protocol"
            " cannot be changed"
        )
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"domain configuration name {name!r}: 1 to 128 letters, digits and `_ . -` are allowed"
        )


def _checked_domain_name(name: object) -> str:
    if not isinstance(name, str):
        raise ConfigurationError(f"domain_name is {name!r}: write a host name, as text")
    with told_of("domain_name"):
        canonical = check_host_name(name)
    if canonical.startswith("*"):
        raise ConfigurationError(
            f"domain_name {name!r}: a domain configuration has one host name; a `*.` is for the endpoint's hostnames"
        )
    try:
        ip_address(canonical)
    except ValueError:
        return canonical
    raise ConfigurationError(f"domain_name {name!r} is an IP address: SNI carries host names only (RFC 6066 section 3)")
