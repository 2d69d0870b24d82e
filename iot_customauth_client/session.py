"""The session: what connects, keeps order between attempts, and ends; for any face, with no thread of its own.

States and transitions (part of the contract: `State`, `StateChange`)::

                    +------------------ back-off -------------------+
                    v                                               |
    start() --> CONNECTING --CONNACK good--> CONNECTED              |
                    |                            |                  |
                    | attempt failed             | link ended       |
                    +--> policy_of(error) -- RETRY, first hang-up --+--> WAITING
                    |       |                    |
                    |       +-- RAISE, second hang-up in a row --> CLOSED (error)
                    |                            +---------------> CLOSED (ConnectionClosed, cause: why)
                    +--- give_up(), end() -----------------------> CLOSED

Every decision runs on `_serial`: calls one after the other on worker threads, so that there is one owner and no lock.
What comes from elsewhere (the native thread, timers, users) is posted there. Only two paths go past it, since they
are hot and have locks of their own: messages out (`outbox.py`) and messages in (`inbox.py`).

The session knows neither futures nor event loops: what ends is told to a `Promise`, a `Sink` or the observer.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from .builder import ConnectionBuilder
from .clock import Clock, Timer
from .credentials import Credentials
from .diagnosis import Context, Policy, explain_end, policy_of
from .errors import (
    ConfigurationError,
    ConnectError,
    ConnectionClosed,
    ConnectTimeout,
    CredentialsExpired,
    CustomAuthError,
    EndpointUnreachable,
    NotConnected,
    OperationError,
)
from .explainer import Explainer
from .inbox import Inbox, Registration
from .limits import MAX_IN_FLIGHT
from .links.base import Accepted, Link, LinkEnd, PublishOutcome
from .messages import Message
from .operation_failures import explain_publish
from .outbox import Outbox
from .outgoing import Outgoing
from .rate import rate_of
from .runtime import Closable, Runtime
from .session_log import fingerprint, log_change
from .settings import ConnectionSettings
from .state import State, StateChange
from .subscribing import Subscribing
from .workers import Serial

_PROBE_AFTER_SECONDS: Final = 2.0
_GRACE_SECONDS: Final = 1.0
_FIRST_BACK_OFF_SECONDS: Final = 1.0
_MAX_BACK_OFF_SECONDS: Final = 60.0
_FAILED: Final = 0x80
_NAMED_CAUSES: Final = 3


Observer = Callable[[StateChange], None]


class Session:
    """One device's connection to one endpoint, from `start()` to `CLOSED`.

    `observer` is told every change, on a worker thread, in order; it must return at once. Raises `ConfigurationError`
    for what `ConnectionBuilder` refuses.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        credentials: Credentials,
        *,
        clock: Clock,
        runtime: Runtime,
        observer: Observer,
    ) -> None:
        self.settings = settings
        self._credentials = credentials
        self._builder = ConnectionBuilder(settings, credentials)
        self._fingerprint = fingerprint(credentials.reveal())
        self._clock = clock
        self._runtime = runtime
        self._observer = observer
        self._serial = Serial(runtime.workers)
        self.inbox = Inbox()
        self.outbox = Outbox(
            monotonic=clock.monotonic,
            failure_of=self._publish_failure,
            workers=runtime.workers,
            rate=rate_of(settings, runtime.clock),
            call_at=clock.call_at,
        )
        self._state = State.CONNECTING
        self._error: CustomAuthError | None = None
        self._link: Link | None = None
        self._attempt = 0
        self._started_at = 0.0
        self._hang_ups = 0
        self._explainer = Explainer(self._builder, runtime, self._serial.post)
        self._timers: list[Timer] = []
        self._ending = False
        self._owner: Callable[[], Closable | None] = _no_owner
        self._subscribing = Subscribing(self.inbox, self._serial.post, settings.client_id)

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
        link = self._link
        return None if link is None else link.native

    @property
    def lost(self) -> int:
        """How many accepted messages were not acknowledged when the session ended."""
        return self.outbox.lost

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
        self.outbox.open(None)
        self._serial.post(self._begin)

    def publish(self, entry: Outgoing) -> None:
        """Accept a message. Raises `OutboxFull`, `ConnectionClosed`."""
        self._runtime.check()
        self.outbox.accept(entry)

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
        cause = self._error
        if cause is None:
            return ConnectionClosed(message, client_id=self.settings.client_id, phase="closing")
        error = ConnectionClosed(
            f"{message}: {cause.message}",
            client_id=self.settings.client_id,
            phase=cause.phase,
            likely_causes=cause.likely_causes,
            what_to_do=cause.what_to_do,
        )
        error.__cause__ = cause
        return error

    # -- attempts (on _serial) ----------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._state is State.CLOSED:
            return
        if self._credentials.expired(self._clock.monotonic()):
            self._finish(CredentialsExpired("the credentials have expired", client_id=self.settings.client_id))
            return
        self._attempt += 1
        self._change(State.CONNECTING)
        # Real time, whatever the session's clock: this is about what the service sees.
        self._after(self._runtime.connect_allowed_at(self.key), Session._dial)

    def _dial(self) -> None:
        if self._state is not State.CONNECTING:
            return
        now = self._runtime.clock.monotonic()
        self._started_at = now
        try:
            self._link = self._make_link()
        except ConfigurationError as error:
            self._finish(error)
            return
        except Exception as error:  # noqa: BLE001 - whatever awscrt raises: the session must not hang in CONNECTING
            failure = ConnectError(f"awscrt could not make a client: {error}", code="native_failure", phase="connect")
            failure.__cause__ = error
            self._finish(failure)
            return
        self._explainer.attempt_began(now)
        if not self._explainer.asked:
            self._after(now + _PROBE_AFTER_SECONDS, Session._ask_early)
        self._after(now + self.settings.connect_timeout_seconds + _GRACE_SECONDS, Session._attempt_too_long)
        self._link.attempt()

    def _make_link(self) -> Link:
        if self.settings.protocol == "mqtt5":
            from .links.mqtt5 import Mqtt5Link

            return Mqtt5Link(self._builder, self, self._runtime)
        from .links.mqtt311 import Mqtt311Link

        return Mqtt311Link(self._builder, self, self._runtime)

    def _connected(self, link: Link, accepted: Accepted) -> None:
        if link is not self._link or self._state is not State.CONNECTING:
            return
        self._cancel_timers()
        self._hang_ups = 0
        self._error = None
        self._explainer.connected()
        # Before anybody is told: who hears of it may publish with QoS 0 at once.
        self._subscribing.attach(link)
        self.outbox.attach(link, min(MAX_IN_FLIGHT, accepted.receive_maximum or MAX_IN_FLIGHT))
        self._change(State.CONNECTED, session_present=accepted.session_present)

    def _link_is_over(self, link: Link, end: LinkEnd) -> None:
        if link is not self._link or self._state is State.CLOSED:
            return
        self._cancel_timers()
        if self._ending or end.by_us:
            self._finish(None)
            return
        error = explain_end(end, self._context())
        if self._state is State.CONNECTED:
            self._finish(error)
        else:
            self._explainer.explain(error, end.error_name, self._context(), partial(self._explained, link))

    def _ask_early(self) -> None:
        if self._state is State.CONNECTING:
            self._explainer.ask_early(self._is_definite)

    def _is_definite(self, error: ConnectError) -> None:
        if self._state in (State.CONNECTING, State.WAITING):
            self._finish(error)

    def _explained(self, link: Link, error: ConnectError | ConfigurationError) -> None:
        if link is self._link and self._state is State.CONNECTING:
            self._outcome(error)

    def _outcome(self, error: ConnectError | ConfigurationError) -> None:
        """Decide what follows from a failed attempt."""
        policy = policy_of(error)
        self._hang_ups = self._hang_ups + 1 if policy is Policy.SECOND_TIME else 0
        if policy is Policy.RAISE or self._hang_ups > 1:
            self._finish(error)
            return
        self._link = None
        self._explainer.attempt_failed()
        # Full jitter: a fleet that lost its endpoint must not come back in step.
        longest = min(_MAX_BACK_OFF_SECONDS, _FIRST_BACK_OFF_SECONDS * 2 ** (self._attempt - 1))
        delay = random.uniform(0, longest)
        self._error = error
        self._change(State.WAITING, error=error, retry_in_seconds=delay)
        when = self._clock.monotonic() + delay
        self._timers.append(self._clock.call_at(when, self._posting(Session._begin)))

    def _attempt_too_long(self) -> None:
        link = self._link
        if self._state is not State.CONNECTING or link is None:
            return
        self._cancel_timers()
        link.abandon()
        error = self._explainer.found or EndpointUnreachable(
            f"no connection to {self.settings.endpoint}:{self.settings.port} in "
            f"{self.settings.connect_timeout_seconds:g} s",
            code="attempt_timeout",
            likely_causes=("the network drops what is sent", "the endpoint or its authorizer is overloaded"),
            **self._context().common("connect"),
        )
        self._outcome(error)

    def _give_up(self, timeout: float) -> None:
        if self._state not in (State.CONNECTING, State.WAITING):
            return
        last = self._error or self._explainer.found
        error = ConnectTimeout(
            f"no connection in {timeout:g} s" + (f"; the last attempt: {last.message}" if last else ""),
            phase=last.phase if last else "connect",
            client_id=self.settings.client_id,
            elapsed_seconds=timeout,
            likely_causes=last.likely_causes if last else (),
            what_to_do=last.what_to_do if last else None,
        )
        error.__cause__ = last
        self._finish(error)

    # -- the end (on _serial) -----------------------------------------------------------------------------------------

    def _end(self) -> None:
        if self._state is State.CLOSED:
            return
        self._ending = True
        if self._state is State.CONNECTED and self._link is not None:
            self._link.end()
        else:
            self._finish(None)

    def _finish(self, error: CustomAuthError | None) -> None:
        if self._state is State.CLOSED:
            return
        self._cancel_timers()
        link = self._link
        if link is not None:
            link.abandon()  # without effect if it has ended
        previous, self._state = self._state, State.CLOSED
        self._error = error
        # All of this before anybody is told: who hears of the end may connect again, and count what is left.
        owner = self._owner()
        if owner is not None:
            self._runtime.leave(self.key, owner)
        self.outbox.fail_all(self._publish_over)
        was_connected = previous is State.CONNECTED
        ended = self.closed_error("the connection ended") if error is not None and was_connected else error
        self._subscribing.end(ended)
        self._tell(StateChange(State.CLOSED, previous, error=error, attempt=self._attempt))

    # -- what links tell (native thread): see base.LinkListener -------------------------------------------------------

    def link_connected(self, link: Link, accepted: Accepted) -> None:
        """CONNACK was good."""
        self._serial.post(partial(self._connected, link, accepted))

    def link_ended(self, link: Link, end: LinkEnd) -> None:
        """The attempt or the connection is over."""
        self._serial.post(partial(self._link_is_over, link, end))

    def link_received(self, _link: Link, message: Message, acknowledge: Callable[[], bool] | None) -> None:
        """A message arrived: straight to the inbox."""
        self.inbox.receive(message, acknowledge)

    # -- errors of operations -----------------------------------------------------------------------------------------

    def _publish_failure(self, entry: Outgoing, outcome: PublishOutcome) -> CustomAuthError | None:
        if outcome.gone:
            return NotConnected(f"the connection went away before the QoS 0 message to {entry.topic!r} was written")
        if outcome.error is not None:
            failure = OperationError(
                f"awscrt could not send the message to {entry.topic!r}: {outcome.error}",
                code="native_failure",
                phase="connected",
            )
            failure.__cause__ = outcome.error
            return failure
        code = outcome.reason_code
        if code is None or code < _FAILED:
            return None
        return explain_publish(code, entry.topic, retain=entry.retain, client_id=self.settings.client_id)

    def _publish_over(self, entry: Outgoing) -> CustomAuthError:
        if entry.sent_at is None:
            return self.closed_error(f"the message to {entry.topic!r} was not sent, the connection is closed")
        return self.closed_error(
            f"the message to {entry.topic!r} was sent and not acknowledged (it may have arrived); the connection ended"
        )

    def _context(self) -> Context:
        elapsed = self._runtime.clock.monotonic() - self._started_at
        return Context(self.settings, elapsed, self._unanswered())

    def _unanswered(self) -> tuple[str, ...]:
        """What the service was asked and has not answered: where a hang-up is a denial, it is one of these."""
        if self._state is not State.CONNECTED:
            return ()
        filters = self._subscribing.unanswered()
        causes = [f"the policy does not allow iot:Subscribe on topicfilter/{each}" for each in filters]
        topics = dict.fromkeys(entry.topic for entry in self.outbox.suspects())
        causes += [f"the policy does not allow iot:Publish on topic/{topic}" for topic in topics]
        return tuple(causes[:_NAMED_CAUSES])

    # -- small things -------------------------------------------------------------------------------------------------

    def _change(self, state: State, **details: Any) -> None:
        previous, self._state = self._state, state
        self._tell(replace(StateChange(state, previous, attempt=self._attempt), **details))

    def _tell(self, change: StateChange) -> None:
        elapsed = self._runtime.clock.monotonic() - self._started_at if self._started_at else 0.0
        log_change(change, client_id=self.settings.client_id, elapsed_seconds=elapsed, credentials=self._fingerprint)
        self._observer(change)

    def _after(self, when: float, call: Callable[[Session], None]) -> None:
        """Call, on `_serial`, at a time of the real clock."""
        if when <= self._runtime.clock.monotonic():
            call(self)
        else:
            self._timers.append(self._runtime.clock.call_at(when, self._posting(call)))

    def _posting(self, call: Callable[[Session], None]) -> Callable[[], None]:
        """Return a callback that posts a call to `_serial`, and does not keep the session alive."""
        reference = weakref.ref(self)

        def post() -> None:
            session = reference()
            if session is not None:
                session._serial.post(partial(call, session))

        return post

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


def _no_owner() -> None:
    """Stand in for the owner until `start()`."""
