"""The session: what connects, reconnects, renews and ends; for any face, with no thread of its own.

States, and how they follow each other (part of the contract: `State`, `StateChange`)::

               +-------- pause over, retry_now(), woke up --------+----------------+
               v                                                  |                |
    start --> CONNECTING --CONNACK good--> CONNECTED --lost--> WAITING          REFUSED
               |                            |     ^               ^                ^
               |                            |     |CONNACK good   |                |
               |                        due v     |               |                |
               |                           RENEWING --failed------+----------------+
               |                                                  |                |
               +--failed: see outcomes.py ------------------------+----------------+
               +--failed: stop;  give_up() before the first success --> CLOSED
    any state: end(), abandon() --> CLOSED

==========  ===================================  =================================================================
state       what goes on                         what ends it
==========  ===================================  =================================================================
CONNECTING  `attempting.py`                      CONNACK, a failure (`outcomes.py` says what follows)
CONNECTED   messages; `renewal.py` counts        the link ends, a renewal begins
RENEWING    drain, DISCONNECT, CONNECT           CONNACK, a failure: from there on an ordinary one
WAITING     a pause of `back_off.py`, up to 60 s  the time, `retry_now()`, a suspended machine that woke up
REFUSED     a long pause, up to 1 h              the same, or the source says that there are other credentials
CLOSED      nothing                              nothing: there is no way back
==========  ===================================  =================================================================

A lost connection ends nothing: futures, iterators and handlers live on. Only `CLOSED` does.

Every decision runs on `_serial`: calls one after the other on worker threads, so that there is one owner and no lock.
What comes from elsewhere (the native thread, timers, users) is posted there. Only two paths go past it, since they
are hot and have locks of their own: messages out (`outbox.py`) and messages in (`inbox.py`).

The session knows neither futures nor event loops: what ends is told to a `Promise`, a `Sink` or the observer.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from .attempting import Attempting, Phase
from .clock import Clock, Timer
from .diagnosis import explain_end
from .errors import (
    AuthenticationRefused,
    ConfigurationError,
    ConnectionClosed,
    CustomAuthError,
)
from .fetch_call import RunAsync
from .hang_ups import HangUps
from .inbox import Inbox, Registration
from .journal import Journal
from .journal_end import close_soon
from .links.base import Accepted, Link, LinkEnd
from .native_object import NativeObject
from .outbox import Outbox
from .outbox_choice import OutboxChoice
from .pauses import Pauses
from .preparing import Failure, Prepared, Preparing
from .rate import rate_of
from .recovery import Recovery
from .renewal import Renewal
from .requests import Requests
from .runtime import Closable, Runtime
from .service_handle import ServiceHandle
from .session_errors import closed_error, gave_up, publish_failure, publish_over
from .session_log import fingerprint, log_change
from .settings import ConnectionSettings
from .shared_credentials import Source
from .state import FOLLOWS, State, StateChange
from .stats import Counts, Stats
from .subscribing import Subscribing
from .timers import Timers
from .workers import Serial

_SILENT_KEEP_ALIVES: Final = 1.5

Observer = Callable[[StateChange], None]
ServiceT = TypeVar("ServiceT")

_log = logging.getLogger("iot_customauth_client.session")


class Session:
    """One device's connection to one endpoint, from `start()` to `CLOSED`.

    `observer` is told every change, on a worker thread, in order; it must return at once. `run_async` runs async
    sources of credentials. Raises `ConfigurationError` if there is no client id.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        source: Source,
        *,
        outbox: OutboxChoice,
        clock: Clock,
        runtime: Runtime,
        observer: Observer,
        run_async: RunAsync | None = None,
    ) -> None:
        if settings.client_id is None:
            raise ConfigurationError(
                "a client_id is needed to connect: the authorizer's policy allows iot:Connect for a client id",
                code="client_id_missing",
                phase="configuration",
            )
        self.settings = settings
        self._client_id = settings.client_id
        self._source = source
        self._clock = clock
        self._runtime = runtime
        self._observer = observer
        self._outbox_choice = outbox
        self._journal: Journal | None = None
        serial = self._serial = Serial(runtime.workers)
        self.inbox = Inbox(clock, client_id=settings.client_id)
        self.outbox = Outbox(
            monotonic=clock.monotonic,
            failure_of=partial(publish_failure, settings),
            limits=outbox.limits,
            workers=runtime.workers,
            rate=rate_of(settings, runtime.clock),
            call_at=clock.call_at,
        )
        self._subscribing = Subscribing(self.inbox, serial.post, settings.client_id)
        self.requests = Requests(self, mqtt5=settings.protocol == "mqtt5")
        self._hang_ups = HangUps(
            self.outbox, self._subscribing, client_id=settings.client_id, clock=clock, runtime=runtime, serial=serial
        )
        preparing = partial(
            Preparing, settings, source, clock=clock, runtime=runtime, run_async=run_async, post=serial.post
        )
        self._attempting = Attempting(
            settings,
            preparing(),
            inbox=self.inbox,
            runtime=runtime,
            serial=serial,
            key=self.key,
            listener=self,
        )
        self._renewal = Renewal(
            settings,
            preparing(),
            self.outbox,
            self.inbox,
            key=self.key,
            clock=clock,
            runtime=runtime,
            serial=serial,
            begin=self._renewal_begins,
            leave=self._attempting.leave,
            rejected=self._finish,
        )
        self._timers: Timers[Session] = Timers(self, serial)
        self._pauses = Pauses(clock, settings.client_id)
        self._recovery = Recovery(settings, source, self._pauses)
        self._state = State.CONNECTING
        self._error: CustomAuthError | None = None
        self._succeeded = False
        self._retry_at: float | None = None
        self._counts = Counts()
        self._kept = 0
        self._ending = False
        self._owner: Callable[[], Closable | None] = _no_owner
        self._native = NativeObject()

    # -- what faces ask -----------------------------------------------------------------------------------------------

    @property
    def key(self) -> Hashable:
        """What may be open only once in a process."""
        return (self.settings.endpoint, self.settings.port, self.settings.client_id)

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    @property
    def error(self) -> CustomAuthError | None:
        """The last error; in `CLOSED`, why it is over."""
        return self._error

    @property
    def native(self) -> Any:
        """The awscrt object of the link, or `None` before the first attempt."""
        return self._native.current

    @property
    def lost(self) -> int:
        """How many accepted messages had not been acknowledged when the session ended, those that are kept included."""
        return self.outbox.lost

    @property
    def kept(self) -> int:
        """How many of them are stored for a later process."""
        return self._kept

    def monotonic(self) -> float:
        """Return the time of the session's clock, in seconds."""
        return self._clock.monotonic()

    def call_in(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call on a worker thread after some seconds of the session's clock."""
        submit = partial(self._runtime.workers.submit, call)
        return self._clock.call_at(self._clock.monotonic() + seconds, submit)

    def start(self, owner: Closable) -> None:
        """Begin to connect. Raises `ConfigurationError` if the client id is open already in this process."""
        self._runtime.enter(self.key, owner)
        self._owner = weakref.ref(owner)
        self._serial.post(self._open)

    def register(self, registration: Registration) -> None:
        """Add a subscriber; its sink is told what became of it. Raises `ConnectionClosed`."""
        self._runtime.check()
        if self._state is State.CLOSED:
            raise self.closed_error("the connection is closed")
        self.inbox.add(registration)
        self._subscribing.align()

    def unregister(self, registration: Registration) -> None:
        """Take a subscriber away; the last one of a filter unsubscribes, if connected."""
        if self.inbox.remove(registration):
            self._subscribing.align(registration.topic_filter)

    def service(self, factory: Callable[[Any], ServiceT]) -> ServiceHandle[ServiceT]:
        """Return a handle on what `factory` makes of the native object, now and whenever that is replaced."""
        self._runtime.check()
        return self._native.service(factory)

    def stats(self) -> Stats:
        """Return the connection's numbers of this moment."""
        return self._counts.stats(self._state, self._clock.monotonic(), self.outbox, self.inbox)

    def retry_now(self) -> None:
        """Make the next attempt at once instead of after the pause; without effect while there is no pause."""
        self._runtime.check()
        self._serial.post(self._retry)

    def give_up(self, timeout: float) -> None:
        """End an attempt to connect that took `timeout` seconds, unless it has succeeded or failed by now."""
        self._serial.post(partial(self._give_up, timeout))

    def when_quiet(self, call: Callable[[], None]) -> None:
        """Call, on a worker thread, once no UNSUBSCRIBE is under way (or the session is over)."""
        self._serial.post(partial(self._subscribing.when_quiet, call))

    def end(self) -> None:
        """Say DISCONNECT and close."""
        self._serial.post(self._end)

    def abandon(self) -> None:
        """Be over now, whatever the native side does."""
        self._serial.post(partial(self._finish, None))

    def closed_error(self, message: str) -> ConnectionClosed:
        """Return a fresh `ConnectionClosed`, caused by whatever ended the session."""
        return closed_error(message, self._error if self._state is State.CLOSED else None, self._client_id)

    # -- attempts (on _serial) ----------------------------------------------------------------------------------------

    def _open(self) -> None:
        if self._state is State.CLOSED:
            return
        try:
            self._journal = self._outbox_choice.open(self._client_id, clock=self._clock)
            self.outbox.open(self._journal)
        except ConfigurationError as error:
            self._finish(error)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait for a connection that never begins
            _log.exception("opening the outbox failed")
            unusable = ConfigurationError(f"the outbox cannot be opened: {error!r}", code="outbox_unusable")
            unusable.__cause__ = error
            self._finish(unusable)
            return
        self._source.on_renew(self._credentials_changed)
        self._runtime.sleep.add(self)
        left = self._pauses.open(self._journal)
        if left is None:
            self._begin()
        else:
            self._wait(State.WAITING, *left)

    def _begin(self) -> None:
        if self._state in (State.CONNECTED, State.RENEWING, State.CLOSED) or self._attempting.phase is not Phase.IDLE:
            return
        self._timers.cancel("retry")
        self._retry_at = None
        self._counts.attempts += 1
        self._change(State.CONNECTING)
        self._attempting.begin()

    def attempt_succeeded(self, link: Link, prepared: Prepared, accepted: Accepted) -> None:
        """CONNACK was good: see `attempting.AttemptListener`."""
        self._error = None
        self._recovery.succeeded()
        connected_at = self._clock.monotonic()
        self._counts.connected(connected_at, renewed=self._state is State.RENEWING)
        self._succeeded = True
        # Before anybody is told: who hears of it may publish with QoS 0, or move the clock, at once.
        self._hang_ups.attach(link, accepted, connect_seconds=self._attempting.elapsed_seconds)
        self.outbox.resume()
        self._renewal.connected(prepared)
        lasted_at = connected_at + self._pauses.lasts_after_seconds
        self._timers.at(self._clock, lasted_at, Session._lasted, "lasted")
        self._change(State.CONNECTED, session_present=accepted.session_present)

    def attempt_failed(self, error: Failure) -> None:
        """It did not come to a connection: see `attempting.AttemptListener`."""
        self._renewal.off()
        self.outbox.resume()
        self._counts.refusals += isinstance(error, AuthenticationRefused)
        following = self._recovery.after(error, self._attempting.prepared, first=not self._succeeded)
        if following.state is State.CLOSED:
            self._finish(following.error)
        else:
            # Told of others while those of this attempt were on their way: what was refused is outdated already.
            outdated = self._renewal.asked_meanwhile() and following.state is State.REFUSED
            self._wait(following.state, 0.0 if outdated else following.pause_seconds, following.error)

    def connection_ended(self, end: LinkEnd) -> None:
        """The connection is over: see `attempting.AttemptListener`."""
        attempting = self._attempting
        self._renewal.off()
        self._timers.cancel("lasted")
        self._counts.connected_at = None
        if self._ending or end.by_us:
            self._finish(None)
            return
        error = explain_end(end, attempting.context(self._hang_ups.unanswered()[:3]))
        self._hang_ups.ended(end)
        link = attempting.link
        if self._hang_ups.must_forget and link is not None and link.capabilities.keeps_in_flight:
            attempting.drop_link()  # its native object would send all of it again, the guilty included
            link = None
        self._hang_ups.detach(keep_in_flight=link is not None and link.capabilities.keeps_in_flight)
        self._hang_ups.convict()
        self.outbox.resume()
        self._wait(State.WAITING, *self._pauses.failed(error))

    def native_replaced(self, native: Any) -> None:
        """There is another native object: see `attempting.AttemptListener`."""
        self.outbox.detach()  # what the old one would have sent again, it will not
        self._native.replace(native)

    def _wait(self, state: State, pause: float, error: CustomAuthError) -> None:
        self._error = error
        # Before anybody is told: who hears of the pause may move the clock to its end at once.
        self._retry_at = self._clock.monotonic() + pause
        self._timers.at(self._clock, self._retry_at, Session._begin, "retry")
        self._change(state, error=error, retry_in_seconds=pause)

    def _retry(self) -> None:
        if self._state in (State.WAITING, State.REFUSED):
            self._begin()

    def _lasted(self) -> None:
        self._pauses.lasted()

    def _give_up(self, timeout: float) -> None:
        if self._succeeded or self._state is State.CLOSED:
            return
        self._finish(self._out_of_time(timeout))

    def _out_of_time(self, timeout: float) -> CustomAuthError:
        last = self._error or self._attempting.found
        fetching = self._attempting.phase is Phase.PREPARING
        return gave_up(timeout, last, self._client_id, fetching=fetching, settings=self.settings)

    # -- renewal (on _serial) -----------------------------------------------------------------------------------------

    def _credentials_changed(self) -> None:
        """The source says that what it gave is no longer good; on any thread."""
        self._serial.post(self._renew_soon)

    def _renew_soon(self) -> None:
        if self._state is State.REFUSED:
            self._begin()  # what was refused is not what there is now: no reason for an hour's pause
        elif self._state is not State.WAITING:  # there the next attempt asks anyway
            self._renewal.soon()

    def _renewal_begins(self, prepared: Prepared) -> Failure | None:
        failure = self._attempting.ready(prepared)
        if failure is None:
            self._counts.attempts += 1
            self._timers.cancel("lasted")
            self._change(State.RENEWING)
        return failure

    def connection_left(self, *, same_link: bool) -> None:
        """The old connection of a renewal is over: see `attempting.AttemptListener`."""
        link = self._attempting.link
        self._counts.connected_at = None
        self._renewal.off()
        self._hang_ups.detach(keep_in_flight=same_link and link is not None and link.capabilities.keeps_in_flight)
        self._hang_ups.pardon()

    # -- sleep (on _serial) -------------------------------------------------------------------------------------------

    def time_jumped(self, slept: float, late: float) -> None:
        """See `suspension.Sleeper`."""
        self._serial.post(partial(self.woke_up, slept, late))

    def woke_up(self, slept: float, late: float = 0.0) -> None:
        """Catch up with time that no timer has seen: `slept` seconds stood still, `late` seconds were only missed."""
        if self._state in (State.WAITING, State.REFUSED) and self._retry_at is not None:
            if self._state is State.WAITING or self._retry_at - slept <= self._clock.monotonic():
                self._begin()
        elif self._state is State.CONNECTED:
            keep_alive = self.settings.keep_alive_seconds or 1_200
            if slept + late > _SILENT_KEEP_ALIVES * max(keep_alive, 30):
                # The service has ended it by now; the keep alive would take its time to notice.
                self._attempting.drop_link()
                self._attempting.stop()
                self.connection_ended(LinkEnd(was_connected=True, error_name="AWS_ERROR_MQTT_TIMEOUT"))
            else:
                self._renewal.slept(slept)

    # -- the end (on _serial) -----------------------------------------------------------------------------------------

    def _end(self) -> None:
        if self._state is State.CLOSED:
            return
        self._ending = True
        self._renewal.off()
        if self._attempting.phase in (Phase.UP, Phase.LEAVING):
            self._attempting.end()
        elif self._attempting.phase is not Phase.ENDING:
            self._finish(None)

    def _finish(self, error: CustomAuthError | None) -> None:
        if self._state is State.CLOSED:
            return
        self._timers.cancel()
        self._runtime.sleep.remove(self)
        self._renewal.off()
        self._attempting.stop()
        previous, self._state = self._state, State.CLOSED
        self._error = error
        self._counts.connected_at = None
        # All of this before anybody is told: who hears of the end may connect again, and count what is left.
        self._kept = self.outbox.finish(partial(publish_over, self.closed_error))
        if self._journal is not None:
            close_soon(self._journal, self._runtime.workers)
        owner = self._owner()
        if owner is not None:
            self._runtime.leave(self.key, owner)
        ended = self.closed_error("the connection ended") if error is not None and self._succeeded else error
        self._subscribing.end(ended)
        self._tell(StateChange(State.CLOSED, previous, error=error, attempt=self._counts.attempts))

    # -- small things -------------------------------------------------------------------------------------------------

    def _change(self, state: State, **details: Any) -> None:
        previous, self._state = self._state, state
        assert state in FOLLOWS[previous] or not self._succeeded, (previous, state)  # noqa: S101 - the table of state.py
        self._tell(replace(StateChange(state, previous, attempt=self._counts.attempts), **details))

    def _tell(self, change: StateChange) -> None:
        prepared = self._attempting.prepared
        log_change(
            change,
            client_id=self._client_id,
            elapsed_seconds=self._attempting.elapsed_seconds,
            credentials="-" if prepared is None else fingerprint(prepared.lease.credentials.reveal()),
        )
        self._observer(change)


def _no_owner() -> None:
    """Stand in for the owner until `start()`."""
