"""`LocalEndpoint`: the local endpoint as an object, in a thread of its own.

It stands for the service's port 443: devices connect to it with TLS, SNI and ALPN `mqtt`, it calls their authorizer,
enforces the policy, and carries their messages. The same class drives the command line and the tests.

The thread owns an event loop and a `Server`; every method here may be called from any thread and hands its work over.
`stop` leaves no thread, socket, task or temporary file behind, within a bounded time; only a function of the user's
that never returns can outlive it, on a daemon thread.
"""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack, overload

from ..limits import DEFAULT_SESSION_EXPIRY_SECONDS
from .authorizer_targets import AuthorizerFunction
from .authorizers import LocalAuthorizer
from .certificates import Certificates
from .choices import Choices
from .codec import ReasonCode
from .data_plane import publish_properties
from .dialogue import RefusedSubscribe311
from .domain_configuration import DomainConfiguration
from .doors import Door
from .endpoint_faults import EndpointFaults
from .endpoint_settings import EndpointSettings
from .endpoint_thread import EndpointThread
from .event_log import EventLog, EventT
from .events import Event, Listening, Stopped
from .listening_socket import listen
from .place import Place
from .quotas import Quotas
from .server import Server
from .turns import Turns

if TYPE_CHECKING:
    from ..clock import Clock
    from ..settings import ConnectionSettings, SettingsDict


class LocalEndpoint:
    """A local endpoint; a context manager that starts and stops it.

    Args:
        authorizers: by name. A bare callable `function(event, context)` means signing disabled.
        default_authorizer: the account's default: the one that is asked when a device names none, at the default
            endpoint and at every domain configuration without a default of its own.
        host: address to listen on; a name is looked up and its first address taken.
        port: 0 for any free one, see `port`.
        hostnames: the names that are served: what a client may connect by, and sends as SNI. The certificate is for
            these. `*.` as first label stands for any one label. These are the default endpoint's: its type and protocol
            cannot be changed.
        domains: domain configurations by name, each for one further host name.
        cert_dir: where `ca.pem` is kept and found again; a temporary directory otherwise.
        region, account: part of the ARNs that policies are asked about. By default the region of the first host name
            that looks like AWS's; where nothing tells it, policies for any region and account fit.
        refused_subscribe_311: what an MQTT 3.1.1 client gets for a SUBSCRIBE that its policy denies: the service hangs
            up (`"hang_up"`); `"suback"` answers with failure codes instead, which some clients need for their tests.
        quotas: `"aws"` also enforces the service's rates (1 CONNECT a second for each client id, 100 publishes a second
            ...); sizes and counts are always enforced.
        session_expiry_seconds: how long a session is kept without its client, 1 to 604,800: what MQTT 3.1.1 gets, and
            the most that MQTT 5 gets. The service's default is an hour.
        choices: how it behaves where the service's behaviour is not known: see `Choices`.
        max_connections_per_address: how many TCP connections one address may have at once. By default seven eighths of
            what the endpoint takes, which is nearly as many as the process may open files (`ulimit -n`).
        max_half_open_per_address: how many of them may be there that no authorizer has let in yet. By default seven
            eighths of what the endpoint takes of those: three quarters of its connections, at most 4,096.
        clock: a `ManualClock` lets a test move the endpoint's time: refreshes, the end of a connection's life, session
            and message expiry, delayed wills. Keep alive, sockets and the authorizer's 5 s stay real.
        show_secrets: put user names, passwords and tokens into the events as they are.

    Raises:
        ConfigurationError: (also a ValueError) something given cannot work.
        OSError: on `start`, when the address cannot be listened on.
        CertificateError: (also a ValueError) on `start`, when `cert_dir` cannot be used.

    Source of what it does: docs/local-endpoint.md.
    """

    def __init__(
        self,
        authorizers: Mapping[str, LocalAuthorizer | AuthorizerFunction],
        *,
        default_authorizer: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        hostnames: Sequence[str] = ("localhost",),
        domains: Mapping[str, DomainConfiguration] | None = None,
        cert_dir: str | os.PathLike[str] | None = None,
        region: str | None = None,
        account: str | None = None,
        refused_subscribe_311: RefusedSubscribe311 = "hang_up",
        quotas: Quotas = "off",
        session_expiry_seconds: int = DEFAULT_SESSION_EXPIRY_SECONDS,
        choices: Choices | None = None,
        max_connections_per_address: int | None = None,
        max_half_open_per_address: int | None = None,
        clock: Clock | None = None,
        show_secrets: bool = False,
    ) -> None:
        self._settings = EndpointSettings.checked(
            authorizers,
            default_authorizer=default_authorizer,
            host=host,
            port=port,
            hostnames=hostnames,
            domains=domains,
            cert_dir=cert_dir,
            region=region,
            account=account,
            refused_subscribe_311=refused_subscribe_311,
            quotas=quotas,
            session_expiry_seconds=session_expiry_seconds,
            choices=choices,
            max_connections_per_address=max_connections_per_address,
            max_half_open_per_address=max_half_open_per_address,
            clock=clock,
            show_secrets=show_secrets,
        )
        self._faults = EndpointFaults(_not_keeping(self._needs_running))
        self._events = EventLog()
        self._running: EndpointThread | None = None
        self._forgotten: weakref.finalize[..., LocalEndpoint] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        running = self._running
        where = f"{running.host}:{running.port}" if running else "stopped"
        return f"LocalEndpoint({where}, authorizers={list(self._settings.authorizers)})"

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen; returns when connections are accepted. Nothing happens if it runs already."""
        with self._lock:
            if self._running is None:
                self._running = self._start()
                self._forgotten = weakref.finalize(self, _end_forgotten, self._running, repr(self))
                self._forgotten.atexit = False  # its thread sees to that
        return self

    def stop(self) -> None:
        """Disconnect all clients and end, within about five seconds. Nothing happens if it does not run."""
        with self._lock:
            running, self._running = self._running, None
            if running is not None:
                running.stop()
                if self._forgotten is not None:
                    self._forgotten.detach()
                self._events.append(Stopped())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- what is known about it ----------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The address it listens on. Needs a running endpoint, as `port` and `ca_file`."""
        return self._needs_running().host

    @property
    def port(self) -> int:
        """The port it listens on, which stands for the service's 443."""
        return self._needs_running().port

    @property
    def ca_file(self) -> Path:
        """The PEM file that clients have to trust."""
        return self._needs_running().certificates.ca_file

    @property
    def events(self) -> EventLog:
        """Everything that happened, since the object was made."""
        return self._events

    @property
    def place(self) -> Place:
        """The region and account it stands for."""
        return self._settings.place

    @property
    def authorizers(self) -> Mapping[str, LocalAuthorizer]:
        """The authorizers by name."""
        return self._settings.authorizers

    @property
    def stuck_calls(self) -> int:
        """Calls of authorizer functions that were given up after 5 s and still run."""
        return 0 if self._running is None else self._running.server.stuck_calls

    def settings(
        self, client_id: str, *, domain: str | None = None, **overrides: Unpack[SettingsDict]
    ) -> ConnectionSettings:
        """Return settings to connect with: the first host name, port and `ca_file` of this endpoint.

        Args:
            client_id: of the device.
            domain: name of a domain configuration to connect to. Its host name need not lead to this machine: the
                endpoint itself is set as the HTTP proxy, and the port is the service's 443.
            overrides: further fields of `ConnectionSettings`, or other values for the port and the file.

        Raises:
            ConfigurationError: (also a ValueError) there is no such domain configuration, or a wrong setting.
        """
        from ..settings import ConnectionSettings

        if domain is not None:
            given: SettingsDict = {"ca_file": self.ca_file, "http_proxy": f"http://{self._reached_by}:{self.port}"}
            endpoint = self._settings.domains.named(domain).domain_name
            return ConnectionSettings(endpoint=endpoint, client_id=client_id, **(given | overrides))
        given = {"port": self.port, "ca_file": self.ca_file}
        return ConnectionSettings(endpoint=self._settings.first_hostname, client_id=client_id, **(given | overrides))

    @overload
    def wait_for(
        self, kind: str, /, *, timeout: float | None, after: Event | int | None = None, **fields: object
    ) -> Event: ...
    @overload
    def wait_for(
        self, kind: type[EventT], /, *, timeout: float | None, after: Event | int | None = None, **fields: object
    ) -> EventT: ...
    def wait_for(
        self,
        kind: str | type[Event],
        /,
        *,
        timeout: float | None,
        after: Event | int | None = None,
        **fields: object,
    ) -> Event:
        """Wait for an event: see `EventLog.wait_for`. RuntimeError in a forked process, which has a copy of the log."""
        self._check_process()
        return self._events.wait_for(kind, timeout=timeout, after=after, **fields)

    @overload
    async def wait_for_async(
        self,
        kind: str,
        /,
        *,
        timeout: float | None,  # noqa: ASYNC109
        after: Event | int | None = None,
        **fields: object,
    ) -> Event: ...
    @overload
    async def wait_for_async(
        self,
        kind: type[EventT],
        /,
        *,
        timeout: float | None,  # noqa: ASYNC109
        after: Event | int | None = None,
        **fields: object,
    ) -> EventT: ...
    async def wait_for_async(
        self,
        kind: str | type[Event],
        /,
        *,
        timeout: float | None,  # noqa: ASYNC109
        after: Event | int | None = None,
        **fields: object,
    ) -> Event:
        """Wait for an event without blocking the event loop: see `wait_for`."""
        self._check_process()
        return await self._events.wait_for_async(kind, timeout=timeout, after=after, **fields)

    # -- what it can be told to do -------------------------------------------------------------------------------------

    @property
    def faults(self) -> EndpointFaults:
        """What the endpoint is to do wrong, for tests of any client."""
        self._check_process()
        return self._faults

    def refuse_connects(self, times: int = 1, *, reason_code: int = ReasonCode.UNSPECIFIED_ERROR) -> None:
        """Refuse the next CONNECTs that the authorizer lets through: see `faults.refuse_connects`."""
        self.faults.refuse_connects(times, reason_code=reason_code)

    def disconnect(
        self,
        client_id: str,
        reason: str = "API_INITIATED_DISCONNECT",
        *,
        clean_session: bool = False,
        prevent_will_message: bool = False,
    ) -> bool:
        """End a client's connection, as an operator can (the API's DeleteConnection); returns whether it was connected.

        Args:
            client_id: of the client.
            reason: one of AWS's words (`disconnectReason` of the lifecycle events); another is a ValueError.
            clean_session: end its session too, also that of a client that is away.
            prevent_will_message: do not publish its will.
        """
        running = self._needs_running()
        server = running.server

        def kick() -> bool:
            connected = server.is_connected(client_id)
            effects = server.broker.disconnect(
                client_id,
                reason,
                clean_session=clean_session,
                prevent_will_message=prevent_will_message,
                now=server.loop.time(),
                at=server.at(),
            )
            server.perform(effects)
            server.flush()
            return connected

        return running.call(kick)

    def publish(
        self,
        topic: str,
        payload: bytes | str = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: bytes | None = None,
        user_properties: Sequence[tuple[str, str]] = (),
        expiry_seconds: int | None = None,
    ) -> None:
        """Publish as the cloud would; receivers still need `iot:Receive`. Text goes out as UTF-8.

        Raises `InvalidTopic` or `PayloadTooLarge` for what the service would not take, ValueError for a QoS above 1.
        """
        running = self._needs_running()
        server = running.server
        properties = publish_properties(content_type, response_topic, correlation_data, user_properties, expiry_seconds)
        data = payload.encode() if isinstance(payload, str) else payload

        def publish() -> None:
            now = server.loop.time()
            at = server.at()
            effects = server.broker.publish(topic, data, qos=qos, retain=retain, properties=properties, now=now, at=at)
            server.perform(effects)
            server.flush()

        running.call(publish)

    # -- inside -------------------------------------------------------------------------------------------------------

    @property
    def _reached_by(self) -> str:
        """An address of this machine that leads here, as it stands in a URL."""
        address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"[{address}]" if ":" in address else address

    def _check_process(self) -> None:
        if self._running is not None:
            self._running.check_process()

    def _needs_running(self) -> EndpointThread:
        if self._running is None:
            raise RuntimeError("the local endpoint does not run: use it inside `with`, or call start()")
        return self._running

    def _start(self) -> EndpointThread:
        settings = self._settings
        certificates = Certificates.open(settings.cert_dir, settings.domains.served.names)
        try:
            listening = listen(settings.host, settings.port)
            try:
                running = EndpointThread(certificates, listening, self._make_server)
            except BaseException:
                listening.close()
                raise
        except BaseException:
            certificates.close()
            raise
        self._events.append(
            Listening(
                running.host,
                running.port,
                settings.hostnames,
                str(certificates.ca_file),
                tuple(settings.authorizers),
                settings.further_domains,
            )
        )
        return running

    def _make_server(self, loop: asyncio.AbstractEventLoop, turns: Turns, certificates: Certificates) -> Server:
        return Server(
            loop,
            turns,
            self._settings,
            event_log=self._events,
            contexts={door: certificates.server_context(door.alpn) for door in Door},
            faults=self._faults,
        )


def _end_forgotten(running: EndpointThread, name: str) -> None:
    """End what runs of an endpoint that is garbage."""
    running.abandon()
    warnings.warn(f"{name} was not stopped: use it inside `with`, or call stop()", ResourceWarning, stacklevel=2)


def _not_keeping(method: Callable[[], EndpointThread]) -> Callable[[], EndpointThread]:
    """Return a function that calls a method without keeping its object alive: a running server holds the faults."""
    weak = weakref.WeakMethod(method)

    def call() -> EndpointThread:
        strong = weak()
        if strong is None:
            raise RuntimeError("the local endpoint is gone: keep a reference to it for as long as it is to run")
        return strong()

    return call
