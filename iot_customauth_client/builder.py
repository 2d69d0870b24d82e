"""From settings and credentials to the awscrt objects: ready, with everything right, and unstarted.

Useful alone: whoever wants awscrt's own client takes `ConnectionBuilder(settings, credentials).mqtt5(...)` and goes on
with awscrt's API. The session above uses the same builder. All that cannot work is refused before anything native is
made, and `explain()` shows what will be sent.

Over WebSocket the credentials can travel in the upgrade request instead of CONNECT: `upgrade.py` makes it anew for
every attempt, and asks `carried` for them each time. CONNECT then has base user name and password, which are fixed for
the life of a native object, as they are over TLS.

Three things awscrt does by itself are switched off or corrected here, each measured: it appends 112 bytes of metrics
to the user name that the authorizer sees (and crashes on long ones); its MQTT 3.1.1 client waits for CONNACK only as
long as for a PING, 3 s, while an authorizer may take 5 s; and it reads the whole configuration of TLS anew, 13 ms and
1 MiB, for every connection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ._suggest import unknown
from .carriage import ConnectFields, write_companion, write_connect
from .credentials import Credentials
from .dialling import proxy_of, proxy_options, socket_options
from .errors import ConfigurationError
from .limits import MAX_KEEP_ALIVE_SECONDS, MIN_KEEP_ALIVE_SECONDS
from .proxy import HttpProxy
from .runtime import Runtime, runtime
from .settings import ConnectionSettings
from .upgrade import Carried, Upgrade, upgrade_parts

if TYPE_CHECKING:
    from awscrt import io, mqtt
    from awscrt.mqtt5 import Client, ClientOptions, PublishPacket

    from .plan import ConnectPlan

_OWNED: Final = {
    "host_name": "endpoint",
    "port": "port",
    "tls_ctx": "ca_file and alpn",
    "bootstrap": "none: it is shared by the process",
    "connect_options": "client_id, keep_alive_seconds, session_expiry_seconds, will",
    "session_behavior": "session_expiry_seconds",
    "http_proxy_options": "http_proxy",
    "websocket_handshake_transform": "transport and credentials_in",
    "disable_metrics": "send_sdk_metrics",
    "metrics": "send_sdk_metrics",
}
"""Options of `awscrt.mqtt5.ClientOptions` that follow from our settings, with the setting to use instead."""


class ConnectionBuilder:
    """Builds awscrt's MQTT objects for one device.

    `carried`, if given, is asked for the raw credentials before every upgrade to WebSocket; without it they are those
    of `credentials`. Raises `ConfigurationError` at once for a missing client id and for credentials that are too long
    to be sent, or cannot be sent where `credentials_in` puts them.
    """

    def __init__(
        self, settings: ConnectionSettings, credentials: Credentials, *, carried: Carried | None = None
    ) -> None:
        if not isinstance(settings, ConnectionSettings):
            raise ConfigurationError(f"settings must be a ConnectionSettings, not {type(settings).__name__}")
        if not isinstance(credentials, Credentials):
            raise ConfigurationError(
                f"credentials must be a Credentials, not {type(credentials).__name__}: see Credentials.from_password()"
            )
        if settings.client_id is None:
            raise ConfigurationError(
                "a client_id is needed to connect: the authorizer's policy allows iot:Connect for a client id",
                code="client_id_missing",
                phase="configuration",
            )
        self._settings = settings
        self._client_id = settings.client_id
        raw = credentials.reveal()
        upgrade_parts(raw, settings.credentials_in)  # refuses what cannot be sent there
        self._fields = write_connect(raw) if settings.credentials_in == "connect" else write_companion(raw)
        self._raw_now = credentials.reveal
        self._raw_next = carried or credentials.reveal
        self._check_password()

    def _check_password(self) -> None:
        fields = self._fields
        if self._settings.protocol != "mqtt311" or fields.password is None:
            return
        if fields.username is None or not fields.password:
            raise ConfigurationError(
                "awscrt's MQTT 3.1.1 client drops a password without a user name, and an empty password",
                code="password_would_be_dropped",
                phase="configuration",
                what_to_do='use protocol="mqtt5", or give both a user name and a password',
            )

    @property
    def carried(self) -> ConnectFields:
        """The user name and password of CONNECT, as they will be sent. Secret."""
        return self._fields

    @property
    def carried_next(self) -> Carried:
        """What gives the raw credentials of the next upgrade to WebSocket."""
        return self._raw_next

    @property
    def settings(self) -> ConnectionSettings:
        """The settings it builds for."""
        return self._settings

    def upgrade(self) -> Upgrade | None:
        """Return what makes the upgrade requests of one native object, or `None` without WebSocket."""
        settings = self._settings
        if settings.transport == "tls":
            return None
        return Upgrade(
            self._raw_next,
            settings.credentials_in,
            self._runtime(),
            timeout_seconds=settings.connect_timeout_seconds,
        )

    def explain(self) -> ConnectPlan:
        """Return what will be sent, with secrets hidden; `str()` of it is readable text."""
        from .plan import make_plan

        return make_plan(
            self._settings,
            self._raw_now(),
            self._fields,
            self.proxy(),
            mqtt311_keep_alive=self._mqtt311_keep_alive_seconds(),
        )

    # -- MQTT 5 -------------------------------------------------------------------------------------------------------

    def mqtt5(self, *, upgrade: Upgrade | None = None, **client_options: Any) -> Client:
        """Return an unstarted `awscrt.mqtt5.Client`.

        `client_options` are further fields of `awscrt.mqtt5.ClientOptions`, by awscrt's names (callbacks, time-outs,
        queueing). Raises `ConfigurationError` for names that it does not have, and for those that follow from the
        settings. `upgrade` is for who wants to know why an upgrade request could not be made.
        """
        from awscrt import mqtt5

        try:
            return mqtt5.Client(self.mqtt5_options(upgrade=upgrade, **client_options))
        except RuntimeError as error:
            raise _native_refusal(error) from error

    def mqtt5_options(self, *, upgrade: Upgrade | None = None, **client_options: Any) -> ClientOptions:
        """Return the `awscrt.mqtt5.ClientOptions` that `mqtt5()` uses. Its repr shows secrets: do not print it."""
        from awscrt import mqtt5

        known = {field.name for field in dataclasses.fields(mqtt5.ClientOptions)}
        for name in client_options:
            if name in _OWNED:
                raise ConfigurationError(f"{name} follows from the settings; use instead: {_OWNED[name]}")
            if name not in known:
                raise ConfigurationError(unknown("option of awscrt.mqtt5.ClientOptions", name, known - set(_OWNED)))
        settings = self._settings
        expiry = settings.session_expiry_seconds
        behaviour = mqtt5.ClientSessionBehaviorType
        options: dict[str, Any] = {
            "socket_options": socket_options(settings),
            "connack_timeout_ms": int(settings.connect_timeout_seconds * 1000),
            "ping_timeout_ms": self._ping_timeout_ms(settings.keep_alive_seconds or MAX_KEEP_ALIVE_SECONDS),
        }
        upgrade = upgrade or self.upgrade()
        return mqtt5.ClientOptions(
            host_name=settings.endpoint,
            port=settings.port,
            bootstrap=self._runtime().bootstrap(),
            tls_ctx=self._tls_context(),
            http_proxy_options=proxy_options(self.proxy()),
            websocket_handshake_transform=upgrade and upgrade.transform,
            connect_options=mqtt5.ConnectPacket(
                client_id=self._client_id,
                username=self._fields.username,
                password=self._fields.password,
                keep_alive_interval_sec=settings.keep_alive_seconds,
                session_expiry_interval_sec=expiry,
                will=self._mqtt5_will(),
            ),
            session_behavior=behaviour.REJOIN_ALWAYS if expiry else behaviour.CLEAN,
            disable_metrics=not settings.send_sdk_metrics,
            **(options | client_options),
        )

    def _mqtt5_will(self) -> PublishPacket | None:
        from awscrt import mqtt5

        will = self._settings.will
        if will is None:
            return None
        return mqtt5.PublishPacket(topic=will.topic, payload=will.payload, qos=mqtt5.QoS(will.qos), retain=will.retain)

    # -- MQTT 3.1.1 ---------------------------------------------------------------------------------------------------

    def mqtt311(
        self,
        *,
        on_connection_interrupted: Callable[..., None] | None = None,
        on_connection_resumed: Callable[..., None] | None = None,
        on_connection_success: Callable[..., None] | None = None,
        on_connection_failure: Callable[..., None] | None = None,
        on_connection_closed: Callable[..., None] | None = None,
        upgrade: Upgrade | None = None,
    ) -> mqtt.Connection:
        """Return an unconnected `awscrt.mqtt.Connection`; the callbacks are awscrt's own.

        awscrt waits for CONNACK as long as for a PING answer and wants the keep alive above that, so the keep alive
        is at least 30 s here (what the service applies anyway), 1,200 s for 0.
        """
        from awscrt import mqtt

        settings = self._settings
        keep_alive = self._mqtt311_keep_alive_seconds()
        will = settings.will
        upgrade = upgrade or self.upgrade()
        return mqtt.Connection(
            client=mqtt.Client(self._runtime().bootstrap(), self._tls_context()),
            host_name=settings.endpoint,
            port=settings.port,
            client_id=self._client_id,
            clean_session=settings.session_expiry_seconds == 0,
            on_connection_interrupted=on_connection_interrupted,
            on_connection_resumed=on_connection_resumed,
            on_connection_success=on_connection_success,
            on_connection_failure=on_connection_failure,
            on_connection_closed=on_connection_closed,
            reconnect_min_timeout_secs=1,
            reconnect_max_timeout_secs=60,
            keep_alive_secs=keep_alive,
            ping_timeout_ms=self._ping_timeout_ms(keep_alive),
            will=will and mqtt.Will(will.topic, mqtt.QoS(will.qos), will.payload, will.retain),
            username=self._fields.username,
            password=self._fields.password,
            socket_options=socket_options(settings),
            proxy_options=proxy_options(self.proxy()),
            use_websockets=upgrade is not None,
            websocket_handshake_transform=upgrade and upgrade.transform,
            disable_metrics=not settings.send_sdk_metrics,
        )

    def _mqtt311_keep_alive_seconds(self) -> int:
        asked = self._settings.keep_alive_seconds
        return MAX_KEEP_ALIVE_SECONDS if asked == 0 else max(MIN_KEEP_ALIVE_SECONDS, asked)

    # -- shared -------------------------------------------------------------------------------------------------------

    def _ping_timeout_ms(self, keep_alive_seconds: int) -> int:
        """For 3.1.1 also the wait for CONNACK. awscrt wants it below the keep alive."""
        return int(1000 * min(self._settings.connect_timeout_seconds, max(0.5, keep_alive_seconds - 1)))

    def _runtime(self) -> Runtime:
        return runtime()

    def _tls_context(self) -> io.ClientTlsContext:
        return self._runtime().tls_context(self._settings.ca_file, self._settings.alpn_name)

    def proxy(self) -> HttpProxy | None:
        """Return the HTTP proxy to go through, or `None`."""
        return proxy_of(self._settings)


def _native_refusal(error: RuntimeError) -> ConfigurationError:
    return ConfigurationError(
        f"awscrt refuses these options: {error}", code="options_refused_by_awscrt", phase="configuration"
    )
