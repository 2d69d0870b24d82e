"""One attempt after the other over a link: credentials, a native object that carries them, CONNECT, and an outcome.

::

    IDLE --begin()--> PREPARING --credentials--> PACED --one CONNECT a second--> DIALLING --CONNACK good--> UP
     ^                    |                                                          |                       |
     |                    +--- none to be had                      refused, ended, or too long               |
     |                    |                                                          |                       |
     +--attempt_failed()--+-------------------- EXPLAINING (a second handshake) <----+                       |
     +--connection_ended()-----------------------------------------------------------------------------------+
     +--connection_ended(by_us)------------------------- ENDING <--end()-------------------------------------+
                                        DIALLING <------ LEAVING <--leave(), for a renewal-------------------+

It decides nothing: no retry, no back-off. It is the links' listener, and takes what they tell on the native thread to
the session's `Serial`. The link is kept from attempt to attempt as long as the bytes that it carries stay the same, or
can be changed in place; it is given up if its native object does not come to an end in time.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from .diagnosis import Context, explain_end
from .errors import ConfigurationError, ConnectError, EndpointUnreachable
from .explainer import Explainer
from .links.base import Accepted, Link, LinkEnd
from .preparing import Failure, Prepared, Preparing
from .timers import Timers

if TYPE_CHECKING:
    from .inbox import Inbox
    from .runtime import Runtime
    from .settings import ConnectionSettings
    from .workers import Serial

_PROBE_AFTER_SECONDS: Final = 2.0
_GRACE_SECONDS: Final = 1.0
_LEAVE_SECONDS: Final = 2.0


class Phase(Enum):
    """See the drawing above."""

    IDLE = auto()
    PREPARING = auto()
    PACED = auto()
    DIALLING = auto()
    EXPLAINING = auto()
    UP = auto()
    LEAVING = auto()
    ENDING = auto()


class AttemptListener(Protocol):
    """Who is told the outcome, on the `Serial`."""

    def attempt_succeeded(self, link: Link, prepared: Prepared, accepted: Accepted) -> None:
        """CONNACK was good."""
        ...

    def attempt_failed(self, error: Failure) -> None:
        """It was not, or it did not come to that."""
        ...

    def connection_ended(self, end: LinkEnd) -> None:
        """What had succeeded is over."""
        ...

    def connection_left(self, *, same_link: bool) -> None:
        """The old connection is over, the next one follows at once, over the same link or another one."""
        ...

    def native_replaced(self, native: Any) -> None:
        """There is another native object from now on."""
        ...


class Attempting:
    """The attempts of one session. All methods but those of `LinkListener` run on its `Serial`."""

    def __init__(
        self,
        settings: ConnectionSettings,
        preparing: Preparing,
        *,
        inbox: Inbox,
        runtime: Runtime,
        serial: Serial,
        key: Hashable,
        listener: AttemptListener,
    ) -> None:
        self._settings = settings
        self._preparing = preparing
        self._inbox = inbox
        self._runtime = runtime
        self._serial = serial
        self._key = key
        self._listener = listener
        self._timers: Timers[Attempting] = Timers(self, serial)
        self._explainer = Explainer(settings, runtime, serial.post)
        self._phase = Phase.IDLE
        self._link: Link | None = None
        self._prepared: Prepared | None = None
        self._next: Link | None = None
        self._leaving_for: Prepared | None = None
        self._turn = 0
        self._started_at: float | None = None

    @property
    def phase(self) -> Phase:
        """Where it stands."""
        return self._phase

    @property
    def link(self) -> Link | None:
        """The link of now, connected or not."""
        return self._link

    @property
    def prepared(self) -> Prepared | None:
        """The credentials that the link carries."""
        return self._prepared

    @property
    def found(self) -> ConnectError | None:
        """What the early handshake of this outage has found."""
        return self._explainer.found

    @property
    def elapsed_seconds(self) -> float:
        """Since the last attempt began to dial; 0 before the first."""
        return 0.0 if self._started_at is None else self._runtime.clock.monotonic() - self._started_at

    # -- an attempt ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make an attempt; its outcome follows."""
        self._phase = Phase.PREPARING
        self._preparing.ask(self._have)

    def _have(self, answer: Prepared | Failure) -> None:
        if self._phase is not Phase.PREPARING:
            return
        if not isinstance(answer, Prepared):
            self._fail(answer)
            return
        failure = self._carry(answer)
        if failure is not None:
            self._fail(failure)
            return
        self._phase = Phase.PACED
        # Real time, whatever the session's clock: this is about what the service sees.
        allowed_at = self._runtime.connect_allowed_at(self._key)
        if allowed_at <= self._runtime.clock.monotonic():
            self._dial()
        else:
            self._timers.at(self._runtime.clock, allowed_at, Attempting._dial, "attempt")

    def _carry(self, prepared: Prepared) -> Failure | None:
        """Have a link that carries these credentials; return why there is none."""
        link, self._next = self._link, None
        if link is not None and (not self._changed(prepared) or self._renews(link, prepared)):
            self._note(prepared)
            return None
        made = self._make_link(prepared)
        if isinstance(made, _LINK_FAILURES):
            return made
        self._take(made, prepared)
        return None

    @staticmethod
    def _renews(link: Link, prepared: Prepared) -> bool:
        return link.capabilities.renews_in_place and link.renew(prepared.builder)

    def _changed(self, prepared: Prepared) -> bool:
        return self._prepared is None or self._prepared.carried != prepared.carried

    def _make_link(self, prepared: Prepared) -> Link | Failure:
        try:
            if self._settings.protocol == "mqtt5":
                from .links.mqtt5 import Mqtt5Link

                return Mqtt5Link(prepared.builder, self, self._runtime, self._inbox)
            from .links.mqtt311 import Mqtt311Link

            return Mqtt311Link(prepared.builder, self, self._runtime, self._inbox)
        except ConfigurationError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever awscrt raises: the session must not hang
            failure = ConnectError(f"awscrt could not make a client: {error}", code="native_failure", phase="connect")
            failure.__cause__ = error
            return failure

    def _take(self, link: Link, prepared: Prepared) -> None:
        self.drop_link()
        self._link = link
        self._note(prepared)
        self._listener.native_replaced(link.native)

    def _note(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._explainer.use(prepared.builder)

    def drop_link(self) -> None:
        """Make a new native object for the next attempt, whatever it carries."""
        link, self._link = self._link, None
        if link is not None:
            link.abandon()  # without effect if it has ended

    def _dial(self) -> None:
        link = self._link
        if self._phase not in (Phase.PACED, Phase.LEAVING) or link is None:
            return
        self._phase = Phase.DIALLING
        now = self._runtime.clock.monotonic()
        self._started_at = now
        self._runtime.connect_made(self._key)  # a renewal books its CONNECT, and may then wait for a quiet moment
        self._explainer.attempt_began(now)
        if not self._explainer.asked:
            self._timers.at(self._runtime.clock, now + _PROBE_AFTER_SECONDS, Attempting._ask_early, "attempt")
        limit = now + self._settings.connect_timeout_seconds + _GRACE_SECONDS
        self._timers.at(self._runtime.clock, limit, Attempting._too_long, "attempt")
        link.attempt()

    def _ask_early(self) -> None:
        if self._phase is Phase.DIALLING:
            self._explainer.ask_early(self._is_definite)

    def _is_definite(self, error: ConnectError) -> None:
        if self._phase is Phase.DIALLING:
            self._give_attempt_up(error)

    def _too_long(self) -> None:
        if self._phase is not Phase.DIALLING:
            return
        self._give_attempt_up(
            self._explainer.found
            or EndpointUnreachable(
                f"no connection to {self._settings.endpoint}:{self._settings.port} in "
                f"{self._settings.connect_timeout_seconds:g} s",
                code="attempt_timeout",
                likely_causes=("the network drops what is sent", "the endpoint or its authorizer is overloaded"),
                **self.context().common("connect"),
            )
        )

    def _give_attempt_up(self, error: Failure) -> None:
        self.drop_link()  # awscrt can take 30 s to end it
        self._runtime.connect_made(self._key)
        self._fail(error)

    def _fail(self, error: Failure) -> None:
        self._phase = Phase.IDLE
        self._timers.cancel()
        self._explainer.attempt_failed()
        self._listener.attempt_failed(error)

    def context(self, busy_with: tuple[str, ...] = ()) -> Context:
        """Return what is known about the attempt or connection of now."""
        return Context(self._settings, self.elapsed_seconds, busy_with)

    # -- replacing and ending -----------------------------------------------------------------------------------------

    def ready(self, prepared: Prepared) -> Failure | None:
        """Have what replaces the connection made while it still stands; return why that is impossible."""
        link = self._link
        if link is not None and self._changed(prepared) and not link.capabilities.renews_in_place:
            made = self._make_link(prepared)
            if isinstance(made, _LINK_FAILURES):
                return made
            self._next = made
        return None

    def leave(self, prepared: Prepared) -> None:
        """Say DISCONNECT, then make the next attempt with these credentials at once. Only while up."""
        link = self._link
        if self._phase is not Phase.UP or link is None:
            return
        self._phase = Phase.LEAVING
        now = self._runtime.clock.monotonic()
        self._timers.at(self._runtime.clock, now + _LEAVE_SECONDS, partial(_left_too_long, prepared), "attempt")
        self._leaving_for = prepared
        link.end()

    def left(self, prepared: Prepared) -> None:
        """Go on with the next connection: the old one is over, or does not come to an end."""
        if self._phase is not Phase.LEAVING:
            return
        self._timers.cancel()
        following, self._next = self._next, None
        self._listener.connection_left(same_link=following is None and self._link is not None)
        if following is not None:
            self._take(following, prepared)
        else:
            failure = self._carry(prepared)
            if failure is not None:
                self._fail(failure)
                return
        self._dial()

    def end(self) -> None:
        """Say DISCONNECT; `connection_ended` follows. Only while up or leaving."""
        self._timers.cancel()
        self._phase = Phase.ENDING
        if self._link is not None:
            self._link.end()

    def stop(self) -> None:
        """Be over now: no outcome follows, and a late success is closed unseen."""
        self._phase = Phase.IDLE
        self._turn += 1
        self._preparing.forget()
        self._timers.cancel()
        link, self._next = self._next, None
        if link is not None:
            link.abandon()
        if self._link is not None:
            self._link.abandon()  # the object stays: who asks for `native` afterwards still gets it

    # -- what links tell (native thread): see base.LinkListener -------------------------------------------------------

    def link_connected(self, link: Link, accepted: Accepted) -> None:
        """CONNACK was good."""
        self._serial.post(partial(self._connected, link, accepted))

    def link_ended(self, link: Link, end: LinkEnd) -> None:
        """The attempt or the connection is over."""
        self._serial.post(partial(self._ended, link, end))

    def _connected(self, link: Link, accepted: Accepted) -> None:
        if link is not self._link or self._phase is not Phase.DIALLING or self._prepared is None:
            return
        self._timers.cancel()
        self._phase = Phase.UP
        self._runtime.connect_made(self._key)  # after the handshakes, which took their time
        self._explainer.connected()
        self._listener.attempt_succeeded(link, self._prepared, accepted)

    def _ended(self, link: Link, end: LinkEnd) -> None:
        if link is not self._link:
            return
        self._timers.cancel()
        phase = self._phase
        if phase is Phase.LEAVING and self._leaving_for is not None:
            self.left(self._leaving_for)
        elif phase in (Phase.UP, Phase.ENDING):
            self._phase = Phase.IDLE
            self._listener.connection_ended(end)
        elif phase is Phase.DIALLING:
            self._phase = Phase.EXPLAINING
            self._runtime.connect_made(self._key)
            self._turn += 1
            context = self.context()
            error = explain_end(end, context)
            self._explainer.explain(error, end.error_name, context, partial(self._explained, self._turn))

    def _explained(self, turn: int, error: Failure) -> None:
        if turn == self._turn and self._phase is Phase.EXPLAINING:
            self._fail(error)


_LINK_FAILURES: Final = (ConnectError, ConfigurationError)


def _left_too_long(prepared: Prepared, attempting: Attempting) -> None:
    """End what does not end: its native object is given up, a new one takes its place."""
    attempting.drop_link()
    attempting.left(prepared)
