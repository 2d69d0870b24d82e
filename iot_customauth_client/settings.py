"""Where and how to connect: everything but the credentials, checked before anything is dialled.

`ConnectionSettings` is a frozen value. It never reads the environment by itself; `ConnectionSettings.load` does, and
says where each value came from when one is wrong. Unknown names are refused with the nearest known one, so that a
typing mistake cannot leave a default in force.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self, TypedDict
from unicodedata import category

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from ._suggest import unknown
from ._validation import refuse
from .errors import ConfigurationError
from .limits import ALPN_MQTT, MAX_CLIENT_ID_BYTES, MAX_SESSION_EXPIRY_SECONDS, SERVICE_PORT
from .will import Will

_LABEL = re.compile(r"(?!-)[a-zA-Z0-9_-]{1,63}(?<!-)")


class SettingsDict(TypedDict, total=False):
    """The fields of `ConnectionSettings` but `endpoint` and `client_id`, as keyword arguments of `connect(...)`.

    A test keeps the two equal.
    """

    port: int
    protocol: Literal["mqtt5", "mqtt311"]
    transport: Literal["tls", "websocket"]
    credentials_in: Literal["connect", "headers", "query"]
    alpn: str | None
    ca_file: Path | str | None
    keep_alive_seconds: int
    session_expiry_seconds: int
    will: Will | None
    http_proxy: SecretStr | str | None
    connect_timeout_seconds: float
    disconnect_after_seconds: float | None
    renew_leeway_seconds: float
    when_refused: Literal["retry", "stop"]
    max_publishes_per_second: int | Literal["aws"] | None
    tcp_keep_alive_seconds: int | None
    send_sdk_metrics: bool


class ConnectionSettings(BaseModel):
    """Where and how to connect.

    - `endpoint`: the host name of the account's data endpoint, `xxxxxxxxxxxx-ats.iot.<region>.amazonaws.com`, or of
      a custom domain. It is also what is sent as SNI. No scheme, port, path or trailing dot.
    - `client_id`: 1 to 128 bytes of UTF-8, not beginning with `$`; needed by the time of connecting. The authorizer's
      policy must allow `iot:Connect` for it, and a second connection with it evicts the first.
    - `port`: 443; custom authentication is served on no other port of the service.
    - `protocol`: `"mqtt5"` or `"mqtt311"`. Only MQTT 5 can say *not authorized*.
    - `transport`: `"tls"`, MQTT straight on TLS, or `"websocket"`, MQTT in a WebSocket at `/mqtt`, for networks that
      let nothing but HTTPS out. The service ends a WebSocket after 24 h.
    - `credentials_in`: `"connect"`, in the user name and password of CONNECT; with `transport="websocket"` also
      `"headers"` or `"query"`, in the upgrade request: then CONNECT has base user name and password only.
    - `alpn`: `"auto"` is what the service needs: `mqtt` with `transport="tls"`, no name with `"websocket"`; `None`,
      or `"none"` in a file, offers no name; another text offers that one.
    - `ca_file`: PEM file to trust instead of the system's authorities.
    - `keep_alive_seconds`: 0 to 65,535; the service applies 30 to 1,200 and takes 0 for 1,200.
    - `session_expiry_seconds`: how long the service keeps session and subscriptions of a client that is gone, 0 to
      604,800; 0 asks for a clean session. The service keeps 3,600 at most unless the account was given more.
    - `will`: the last will, or `None`.
    - `http_proxy`: `http://[user:password@]host:port`, `"env"` to follow `HTTPS_PROXY` and `NO_PROXY`, or `None`.
    - `connect_timeout_seconds`: for one attempt, from dialling to CONNACK; more than the authorizer's 5 s.
    - `disconnect_after_seconds`: the authorizer's `disconnectAfterInSeconds`, which the service never tells a device;
      the connection is renewed `renew_leeway_seconds` before it is over. `None`: not known.
    - `when_refused`: what follows when the endpoint refuses a connection that had been up before: `"retry"` goes on,
      between 60 s and 1 h apart (a function's outage looks exactly like a denial), `"stop"` closes with the error.
    - `max_publishes_per_second`: `"aws"` keeps to the service's 100 a second and 512 KiB a second towards host names of
      AWS, and to nothing elsewhere; a number sets another rate; `None`: no limit. The service discards what is over.
    - `tcp_keep_alive_seconds`: idle time after which TCP probes the peer, or `None` for none.
    - `send_sdk_metrics`: let awscrt append its `SDK=...` metrics to the user name that the authorizer sees.

    Raises `ConfigurationError`, which lists everything that is wrong.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True, validate_default=False
    )

    endpoint: str
    client_id: str | None = None
    port: int = Field(default=SERVICE_PORT, ge=1, le=65_535)
    protocol: Literal["mqtt5", "mqtt311"] = "mqtt5"
    transport: Literal["tls", "websocket"] = "tls"
    credentials_in: Literal["connect", "headers", "query"] = "connect"
    alpn: str | None = "auto"
    ca_file: Path | None = None
    keep_alive_seconds: int = Field(default=60, ge=0, le=65_535)
    session_expiry_seconds: int = Field(default=3_600, ge=0, le=MAX_SESSION_EXPIRY_SECONDS)
    will: Will | None = None
    http_proxy: SecretStr | None = None
    connect_timeout_seconds: float = Field(default=15.0, gt=0, le=600, allow_inf_nan=False)
    disconnect_after_seconds: float | None = Field(default=None, gt=0, le=604_800, allow_inf_nan=False)
    renew_leeway_seconds: float = Field(default=60.0, ge=0, le=3_600, allow_inf_nan=False)
    when_refused: Literal["retry", "stop"] = "retry"
    max_publishes_per_second: int | Literal["aws"] | None = "aws"
    tcp_keep_alive_seconds: int | None = Field(default=None, ge=1, le=32_767)
    send_sdk_metrics: bool = False

    def __init__(self, **values: Any) -> None:
        check_names(values)
        try:
            super().__init__(**values)
        except ValidationError as error:
            refusal = refuse(error, code="settings_invalid")
        else:
            return
        raise refusal  # out here, so that its __context__ is not pydantic's error, which holds the values

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith("_"):  # pydantic's own refusal shows the value
            raise ConfigurationError(f"{name} cannot be changed: use replace()")
        super().__setattr__(name, value)

    @classmethod
    def load(cls, file: str | Path | None = None, **overrides: Any) -> Self:
        """Read settings from arguments, the environment and a TOML file; the first that gives a value wins.

        Environment: `IOT_CUSTOMAUTH_ENDPOINT`, `IOT_CUSTOMAUTH_CLIENT_ID` and so on, `IOT_CUSTOMAUTH_WILL__TOPIC` for
        a part. File: the table `[connection]`; `ca_file` is relative to the file. Raises `ConfigurationError`.
        """
        from .settings_sources import gather

        check_names(overrides)
        return cls(**gather(cls, None if file is None else Path(file), overrides))

    def replace(self, **changes: Any) -> Self:
        """Return new settings with some values changed, checked like all."""
        check_names(changes)
        return type(self)(**{name: getattr(self, name) for name in self.model_fields_set} | changes)

    @property
    def alpn_name(self) -> str | None:
        """The ALPN name to offer, or `None`."""
        if self.alpn == "auto":
            return ALPN_MQTT if self.transport == "tls" else None
        return self.alpn

    # -- the rules ----------------------------------------------------------------------------------------------------

    @field_validator("endpoint", mode="after")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        host = _host_of(value)
        if not host:
            raise ValueError("must be a host name")
        if host != value:
            raise ValueError(f"must be the bare host name: write {host!r}")
        return value

    @field_validator("client_id", mode="after")
    @classmethod
    def _check_client_id(cls, value: str | None) -> str | None:
        if value is not None:
            _check_client_id(value)
        return value

    @field_validator("alpn", mode="after")
    @classmethod
    def _check_alpn(cls, value: str | None) -> str | None:
        if value == "none":  # TOML and the environment have no None
            return None
        if value is not None and not (value.isascii() and 1 <= len(value) <= 255 and ";" not in value):
            raise ValueError("must be 'auto', None, or one ALPN name of 1 to 255 ASCII characters")
        return value

    @field_validator("max_publishes_per_second", mode="before")
    @classmethod
    def _read_no_rate(cls, value: object) -> object:
        return None if value == "none" else value  # TOML and the environment have no None

    @field_validator("max_publishes_per_second", mode="after")
    @classmethod
    def _check_rate(cls, value: int | Literal["aws"] | None) -> int | Literal["aws"] | None:
        if isinstance(value, int) and value < 1:
            raise ValueError('must be 1 or more, "aws", or None (in a file "none") for no limit')
        return value

    @model_validator(mode="after")
    def _check_transport(self) -> Self:
        if self.transport == "tls" and self.credentials_in != "connect":
            raise ValueError(
                f'credentials_in: {self.credentials_in!r} needs transport="websocket": MQTT straight on TLS has no '
                'upgrade request, its credentials travel in CONNECT (credentials_in="connect")'
            )
        if self.transport == "websocket" and self.alpn == ALPN_MQTT:
            raise ValueError(
                f"alpn: {ALPN_MQTT!r} selects MQTT straight on TLS, and the service then never answers the upgrade to "
                'WebSocket (AWS\'s page asks for it; its own SDKs had to take it out): leave alpn at "auto"'
            )
        return self

    @field_validator("http_proxy", mode="after")
    @classmethod
    def _check_http_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            from .proxy import check_proxy

            check_proxy(value.get_secret_value())
        return value


def check_names(values: dict[str, Any]) -> None:
    """Raise `ConfigurationError` for the first name that is no setting, with the nearest one that is."""
    for name in values:
        if name not in ConnectionSettings.model_fields:
            raise ConfigurationError(unknown("setting", name, ConnectionSettings.model_fields), code="unknown_setting")


def _host_of(text: str) -> str:
    """Return the host name in what somebody wrote for an endpoint; an empty text if there is none."""
    before, mark, after = text.strip().partition("://")
    host = after if mark else before
    host = re.split(r"[/?#]", host, maxsplit=1)[0].rpartition("@")[2]
    if re.fullmatch(r".*:\d*", host):
        host = host.rpartition(":")[0]
    host = host.rstrip(".")
    labels = host.split(".")
    return host if len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels) else ""


def _check_client_id(value: str) -> None:
    size = len(value.encode(errors="surrogatepass"))
    if not value:
        raise ValueError("is empty: leave it out, or pass 1 to 128 bytes")
    if size > MAX_CLIENT_ID_BYTES:
        raise ValueError(f"has {size} bytes, AWS IoT Core allows {MAX_CLIENT_ID_BYTES}")
    if value.startswith("$"):
        raise ValueError("begins with '$', which AWS IoT Core keeps for itself")
    for character in value:
        noncharacter = ord(character) & 0xFFFE == 0xFFFE or "\ufdd0" <= character <= "\ufdef"
        if noncharacter or category(character) in ("Cc", "Cs"):
            raise ValueError(f"holds U+{ord(character):04X}, a character that MQTT text should not hold")
