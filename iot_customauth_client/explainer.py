"""Finding out why an attempt failed, where awscrt does not say.

Two questions can be asked of the endpoint besides: a second, plain TLS handshake (`tls_probe.py`), and a second
upgrade request (`upgrade_probe.py`). This decides when to ask, and whose answer counts::

    no outcome for 2 s      --> one early handshake; a definite answer ends the waiting
    TLS or proxy error      --> a handshake, unless one has explained it already
    closed, nobody knows by whom --> a handshake: its answer joins the likely causes, or takes the error's place
    upgrade refused         --> an upgrade request, at most once per outage and minute
    anything else           --> awscrt's word stands

A thousand connections that wait at once, on a busy machine or behind a dead network, do not ask a thousand times: a
handshake costs a thread and some memory, and most of the answers would be the same. Only so many of a process are under
way at a time (`Runtime.probes`); whoever comes beyond goes by awscrt's word.

All methods, and all callbacks given to them, run on the session's `Serial`; the asking runs on worker threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from .diagnosis import UPGRADE_FAILED, Context, Policy, policy_of
from .dialling import proxy_of
from .errors import ConfigurationError, ConnectError, ProxyRefused, TlsFailed
from .http_answers import HttpAnswer, explain_upgrade
from .upgrade_probe import UpgradeVerdict

if TYPE_CHECKING:
    from .builder import ConnectionBuilder
    from .runtime import Runtime
    from .settings import ConnectionSettings

_TIMEOUT_SECONDS: Final = 5.0
_MAX_PROBES: Final = 2  # one for an attempt without an outcome, one for an error that needs explaining
_EXPLAINED_BY_HANDSHAKE: Final = (TlsFailed, ProxyRefused)
_CLOSED_SOMEWHERE: Final = "AWS_IO_SOCKET_CLOSED"
"""awscrt's name for a TCP connection that was closed, be it in the TLS handshake or after CONNECT."""

_log = logging.getLogger("iot_customauth_client.session")

Failure = ConnectError | ConfigurationError
Post = Callable[[Callable[[], None]], None]


class Explainer:
    """One session's questions to its endpoint. `post` runs a call on the session's `Serial`."""

    def __init__(self, settings: ConnectionSettings, runtime: Runtime, post: Post) -> None:
        self._settings = settings
        self._runtime = runtime
        self._post = post
        self._upgrades = UpgradeVerdict(runtime)
        self._probing = False
        self._probes = 0
        self._began_at = 0.0
        self._found: ConnectError | None = None
        self._definite: Callable[[ConnectError], None] | None = None
        self._waiting: tuple[ConnectError, Callable[[Failure], None]] | None = None

    @property
    def found(self) -> ConnectError | None:
        """What the last handshake found, as long as it concerns the present attempt."""
        return self._found

    @property
    def asked(self) -> bool:
        """Whether this outage has had its early handshake."""
        return self._probes > 0

    def attempt_began(self, at: float) -> None:
        """Count times from here (monotonic seconds of the real clock)."""
        self._began_at = at

    def attempt_failed(self) -> None:
        """Keep only what explains further attempts too."""
        if not isinstance(self._found, _EXPLAINED_BY_HANDSHAKE):
            self._found = None

    def use(self, builder: ConnectionBuilder) -> None:
        """Ask with these credentials, which the next attempt carries, from now on."""
        self._upgrades.use(builder)

    def connected(self) -> None:
        """The outage is over."""
        self._upgrades.forget()
        self._probes, self._found = 0, None

    def ask_early(self, definite: Callable[[ConnectError], None]) -> None:
        """Try a handshake while an attempt is still going on; `definite` is called if waiting is no use."""
        self._definite = definite
        self._handshake()

    def explain(
        self, error: Failure, native_name: str | None, context: Context, done: Callable[[Failure], None]
    ) -> None:
        """Call `done`, now or later, with the best error for the end of an attempt."""
        if isinstance(error, ConfigurationError):
            done(error)
        elif native_name == UPGRADE_FAILED:
            self._upgrades.ask(lambda answer: self._post(partial(_upgrade_explained, error, answer, context, done)))
        elif isinstance(error, _EXPLAINED_BY_HANDSHAKE) or native_name == _CLOSED_SOMEWHERE:
            self._explain_by_handshake(error, done)
        else:
            done(error)

    def _explain_by_handshake(self, error: ConnectError, done: Callable[[Failure], None]) -> None:
        if self._found is not None and _says_more(self._found, error):
            done(self._found)
        elif self._probing or (self._probes < _MAX_PROBES and self._handshake()):
            self._waiting = (error, done)
        else:
            done(error)

    def _handshake(self) -> bool:
        """Try a handshake unless one is under way; `False` if too many of the process's connections do so just now."""
        if self._probing:
            return True
        probes = self._runtime.probes
        if not probes.acquire(blocking=False):
            return False
        from .tls_probe import ProbeTarget, probe  # loads socket and ssl, which most connections never need

        self._probing = True
        self._probes += 1
        settings = self._settings
        target = ProbeTarget(settings.endpoint, settings.port, settings.ca_file, settings.alpn_name, proxy_of(settings))

        def knock() -> None:
            found: ConnectError | None = None
            try:
                found = probe(target, _TIMEOUT_SECONDS)
            except Exception:  # noqa: BLE001 - without an answer the session would wait for ever
                _log.exception("the TLS probe failed")
            finally:
                probes.release()
            self._post(partial(self._answered, found))

        self._runtime.workers.submit(knock)
        return True

    def _answered(self, found: ConnectError | None) -> None:
        self._probing = False
        waiting, self._waiting = self._waiting, None
        if found is not None:
            found.client_id = self._settings.client_id
            found.elapsed_seconds = round(self._runtime.clock.monotonic() - self._began_at, 3)
            self._found = found
        if waiting is not None:
            error, done = waiting
            if found is not None and _says_more(found, error):
                found.__cause__ = error.__cause__
                error = found
            elif found is not None:
                error.likely_causes = (f"a second handshake says: {found.message}", *error.likely_causes)
            done(error)
        elif found is not None and policy_of(found) is Policy.RAISE and self._definite is not None:
            self._definite(found)


def _upgrade_explained(
    error: ConnectError, answer: HttpAnswer | None, context: Context, done: Callable[[Failure], None]
) -> None:
    if answer is not None:
        explained = explain_upgrade(answer, context)
        explained.__cause__ = error.__cause__
        error = explained
    done(error)


def _says_more(found: ConnectError, error: ConnectError) -> bool:
    """Tell whether what a handshake found takes the place of awscrt's error, or only belongs among its likely causes.

    A closed connection may have many reasons; a proxy that refuses, or a verdict of TLS, is one.
    """
    if isinstance(error, _EXPLAINED_BY_HANDSHAKE):
        return isinstance(found, _EXPLAINED_BY_HANDSHAKE)
    return isinstance(found, ProxyRefused) or (isinstance(found, TlsFailed) and found.verdict)
