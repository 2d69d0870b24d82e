"""Bringing the service's subscriptions in line with what is wanted, on every connection anew.

The inbox says which filters are wanted. After each CONNACK this asks for those that the service does not have (all of
them, if it kept no session), as many in one SUBSCRIBE as the link takes; it looks at every reason code (awscrt reports
a refused filter as a success), tells the sinks, and unsubscribes what nobody wants any more - also what was given up
while there was no connection, if the session was kept.

All methods but `align` run on the session's `Serial`; answers come back through it. Answers of an earlier connection
are told apart by a number: a link may serve several.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from .clock import Clock, Timer
from .errors import CustomAuthError, OperationError, OperationTimeout
from .inbox import Inbox, Interest
from .links.base import FilterRequest, Link, is_gone
from .operation_failures import explain_subscribe
from .runtime import runtime

SUBACK_TIMEOUT_SECONDS: Final = 30.0
_FAILED: Final = 0x80

_log = logging.getLogger("iot_customauth_client.subscription")

Post = Callable[[Callable[[], None]], None]


class Subscribing:
    """Keeps one connection's subscriptions. `post` runs a call on the session's `Serial`.

    `clock` times what the service has not answered: it is the real one, since the service does not know another.
    """

    def __init__(self, inbox: Inbox, post: Post, client_id: str | None, *, clock: Clock | None = None) -> None:
        self._inbox = inbox
        self._post = post
        self._client_id = client_id
        self._clock = clock or runtime().clock
        self._link: Link | None = None
        self._connection = 0
        self._at_service: dict[str, None] = {}
        self._timers: dict[Timer, None] = {}
        self._unsubscribing = 0
        self._on_quiet: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._unwanted: dict[str, None] = {}
        self._aligning = False
        self._over = False
        self._error: CustomAuthError | None = None

    # -- connections --------------------------------------------------------------------------------------------------

    def attach(self, link: Link, *, session_present: bool = False) -> None:
        """CONNACK came on this link: ask for all that is wanted and that the service does not have."""
        self._forget_connection()
        self._inbox.connected(session_present=session_present)
        if not session_present:
            self._at_service.clear()
            for interest in self._inbox.interests():
                interest.asked_qos = interest.answered_qos = interest.granted_qos = None
        self._link = link
        for topic_filter in tuple(self._at_service):
            self._unsubscribe(topic_filter)
        self.reconcile()

    def detach(self) -> None:
        """The connection is gone: what it did not answer is asked again over the next one."""
        self._inbox.disconnected()
        self._forget_connection()
        self._call_quiet()

    def end(self, error: CustomAuthError | None) -> None:
        """The connection is over for good: tell all sinks, on purpose (`None`) or by an error."""
        self._forget_connection()
        self._over, self._error = True, error
        for interest in self._inbox.interests():
            for registration in self._inbox.drop(interest.topic_filter):
                registration.sink.ended(error)
        self._inbox.disconnected()
        self._call_quiet()

    def _forget_connection(self) -> None:
        self._link = None
        self._connection += 1
        self._unsubscribing = 0
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for interest in self._inbox.interests():
            interest.asked_qos = interest.answered_qos

    # -- asking -------------------------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Ask the service for every filter that is wanted and not asked for yet."""
        if self._over:
            self.end(self._error)  # who came at the last moment hears of the end too
        link = self._link
        if link is None:
            return
        missing: list[FilterRequest] = []
        for interest in self._inbox.interests():
            wanted = interest.wanted_qos
            if interest.asked_qos is None or interest.asked_qos < wanted:
                interest.asked_qos = wanted
                missing.append(FilterRequest(interest.topic_filter, wanted))
            elif interest.granted_qos is not None:
                _tell_granted(interest, interest.granted_qos)
        at_once = link.capabilities.filters_per_subscribe
        for start in range(0, len(missing), at_once):
            self._ask(link, missing[start : start + at_once])

    def unanswered(self) -> list[str]:
        """Return the filters that the service was asked for over this connection and has said nothing about."""
        interests = self._inbox.interests()
        return [
            each.topic_filter
            for each in interests
            if each.asked_qos is not None and (each.answered_qos is None or each.asked_qos > each.answered_qos)
        ]

    def refuse(self, topic_filter: str, error: CustomAuthError) -> None:
        """End all subscriptions to one filter with an error; the others stay."""
        self._at_service.pop(topic_filter, None)
        for registration in self._inbox.drop(topic_filter):
            registration.sink.refused(error.copy())

    def align(self, unwanted: str | None = None) -> None:
        """Have what is wanted brought in line soon; `unwanted` is a filter that lost its last subscriber.

        From any thread. However often this is called, one call waits on the `Serial`.
        """
        with self._lock:
            if unwanted is not None:
                self._unwanted[unwanted] = None
            if self._aligning:
                return
            self._aligning = True
        self._post(self._align)

    def when_quiet(self, call: Callable[[], None]) -> None:
        """Call once no UNSUBSCRIBE is under way."""
        self._on_quiet.append(call)
        self._call_quiet()

    def _align(self) -> None:
        with self._lock:
            unwanted, self._unwanted = self._unwanted, {}
            self._aligning = False
        for topic_filter in unwanted:
            self._unsubscribe(topic_filter)
        self.reconcile()

    def _ask(self, link: Link, requests: Sequence[FilterRequest]) -> None:
        connection = self._connection
        timer: Timer | None = None

        def answer(codes: Sequence[int] | None, error: BaseException | None) -> None:
            self._post(partial(self._answered, connection, timer, requests, codes, error))

        def time_out() -> None:
            self._post(partial(self._time_out, connection, requests))

        self._at_service.update((each.topic_filter, None) for each in requests)
        timer = self._clock.call_at(self._clock.monotonic() + SUBACK_TIMEOUT_SECONDS, time_out)
        self._timers[timer] = None
        link.subscribe(requests, answer)

    def _answered(
        self,
        connection: int,
        timer: Timer | None,
        requests: Sequence[FilterRequest],
        codes: Sequence[int] | None,
        error: BaseException | None,
    ) -> None:
        if connection != self._connection:
            return
        if timer is not None:
            timer.cancel()
            self._timers.pop(timer, None)
        if codes is None:
            if not is_gone(error):  # else the end of the connection follows, and says why
                for request in requests:
                    self.refuse(request.topic_filter, _native_failure(request.topic_filter, error))
            return
        for request, code in zip(requests, codes, strict=False):
            interest = self._inbox.interest(request.topic_filter)
            if code >= _FAILED:
                failure = explain_subscribe(code, request.topic_filter, client_id=self._client_id)
                self.refuse(request.topic_filter, failure)
            elif interest is not None:
                interest.answered_qos = request.qos
                interest.granted_qos = code
                _tell_granted(interest, code)

    def _time_out(self, connection: int, requests: Sequence[FilterRequest]) -> None:
        if connection != self._connection:
            return
        for request in requests:
            interest = self._inbox.interest(request.topic_filter)
            if interest is None or (interest.answered_qos is not None and interest.answered_qos >= request.qos):
                continue
            error = OperationTimeout(
                f"the service has not answered the subscription to {request.topic_filter!r} in "
                f"{SUBACK_TIMEOUT_SECONDS:g} s; it is asked again after the next connect",
                stage="sent",
                client_id=self._client_id,
                phase="connected",
            )
            _log.warning("%s client_id=%s", error.message, self._client_id)
            for registration in tuple(interest.registrations):
                registration.sink.unanswered(error.copy())

    # -- giving up filters --------------------------------------------------------------------------------------------

    def _unsubscribe(self, topic_filter: str) -> None:
        """Unsubscribe from a filter that the service has, unless somebody wants it again by now."""
        if self._inbox.interest(topic_filter) is not None:
            return
        if topic_filter not in self._at_service:
            self._inbox.left(topic_filter)
            return
        if self._link is None:
            return  # at the next connect
        self._unsubscribing += 1
        done = partial(self._unsubscribed, self._connection, topic_filter)
        self._link.unsubscribe(topic_filter, partial(self._post, done))

    def _unsubscribed(self, connection: int, topic_filter: str) -> None:
        if connection != self._connection:
            return
        self._unsubscribing -= 1
        interest = self._inbox.interest(topic_filter)
        if interest is None:
            self._at_service.pop(topic_filter, None)
            self._inbox.left(topic_filter)
        self._call_quiet()

    def _call_quiet(self) -> None:
        if self._unsubscribing <= 0 or self._link is None:
            calls, self._on_quiet = self._on_quiet, []
            for call in calls:
                call()


def _tell_granted(interest: Interest, code: int) -> None:
    for registration in tuple(interest.registrations):
        registration.sink.granted(min(code, registration.qos))


def _native_failure(topic_filter: str, error: BaseException | None) -> OperationError:
    failure = OperationError(
        f"awscrt could not subscribe to {topic_filter!r}: {error}", code="native_failure", phase="connected"
    )
    failure.__cause__ = error
    return failure
