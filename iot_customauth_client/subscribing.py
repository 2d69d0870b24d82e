"""Bringing the service's subscriptions in line with what is wanted.

The inbox says which filters are wanted; this asks the service for those it has not been asked for, as many in one
SUBSCRIBE as the link takes, looks at every reason code (awscrt reports a refused filter as a success), tells the sinks,
and unsubscribes what nobody wants any more. All methods but `align` run on the session's `Serial`; answers come back
through it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from .errors import CustomAuthError, OperationError
from .inbox import Inbox, Interest
from .links.base import FilterRequest, Link, is_gone
from .operation_failures import explain_subscribe

_FAILED: Final = 0x80

Post = Callable[[Callable[[], None]], None]


class Subscribing:
    """Keeps one connection's subscriptions. `post` runs a call on the session's `Serial`."""

    def __init__(self, inbox: Inbox, post: Post, client_id: str | None) -> None:
        self._inbox = inbox
        self._post = post
        self._client_id = client_id
        self._link: Link | None = None
        self._unsubscribing = 0
        self._on_quiet: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._unwanted: set[str] = set()
        self._aligning = False
        self._over = False
        self._error: CustomAuthError | None = None

    def attach(self, link: Link, *, session_present: bool) -> None:
        """Use this link from now on, and ask for all that is wanted and not known to the service."""
        self._link = link
        for interest in self._inbox.interests():
            if not session_present or interest.granted_qos is None:
                interest.asked_qos = interest.granted_qos = None
        self.reconcile()

    def detach(self) -> None:
        """The link is gone."""
        self._link = None
        self._call_quiet()

    def refuse(self, topic_filter: str, error: CustomAuthError) -> None:
        """Take a filter away, with an error to all its subscribers."""
        self._refuse(topic_filter, error)

    def reconcile(self) -> None:
        """Ask the service for every filter that is wanted and not asked for yet."""
        link = self._link
        if self._over:
            self.end(self._error)  # who came at the last moment hears of the end too
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
        """Return the filters that the service was asked for and has said nothing about."""
        interests = self._inbox.interests()
        return [each.topic_filter for each in interests if each.asked_qos is not None and each.granted_qos is None]

    def align(self, unwanted: str | None = None) -> None:
        """Have what is wanted brought in line soon; `unwanted` is a filter that lost its last subscriber.

        From any thread. However often this is called, one call waits on the `Serial`.
        """
        with self._lock:
            if unwanted is not None:
                self._unwanted.add(unwanted)
            if self._aligning:
                return
            self._aligning = True
        self._post(self._align)

    def _align(self) -> None:
        with self._lock:
            unwanted, self._unwanted = self._unwanted, set()
            self._aligning = False
        for topic_filter in unwanted:
            self._unsubscribe(topic_filter)
        self.reconcile()

    def _unsubscribe(self, topic_filter: str) -> None:
        """Unsubscribe from a filter, unless somebody wants it again by now."""
        if self._link is None or self._inbox.interest(topic_filter) is not None:
            return
        self._unsubscribing += 1
        self._link.unsubscribe(topic_filter, partial(self._post, self._unsubscribed))

    def when_quiet(self, call: Callable[[], None]) -> None:
        """Call once no UNSUBSCRIBE is under way."""
        self._on_quiet.append(call)
        self._call_quiet()

    def end(self, error: CustomAuthError | None) -> None:
        """The connection is over: tell all sinks, on purpose (`None`) or by an error."""
        self._link = None
        self._over, self._error = True, error
        for interest in self._inbox.interests():
            for registration in self._inbox.drop(interest.topic_filter):
                registration.sink.ended(error)
        self._call_quiet()

    def _ask(self, link: Link, requests: Sequence[FilterRequest]) -> None:
        def answer(codes: Sequence[int] | None, error: BaseException | None) -> None:
            self._post(partial(self._answered, link, requests, codes, error))

        link.subscribe(requests, answer)

    def _answered(
        self, link: Link, requests: Sequence[FilterRequest], codes: Sequence[int] | None, error: BaseException | None
    ) -> None:
        if link is not self._link:
            return
        if codes is None:
            if not is_gone(error):  # else the end of the connection follows, and says why
                for request in requests:
                    self._refuse(request.topic_filter, _native_failure(request.topic_filter, error))
            return
        for request, code in zip(requests, codes, strict=False):
            interest = self._inbox.interest(request.topic_filter)
            if code >= _FAILED:
                failure = explain_subscribe(code, request.topic_filter, client_id=self._client_id)
                self._refuse(request.topic_filter, failure)
            elif interest is not None:
                interest.granted_qos = code
                _tell_granted(interest, code)

    def _refuse(self, topic_filter: str, error: CustomAuthError) -> None:
        for registration in self._inbox.drop(topic_filter):
            registration.sink.refused(error.copy())

    def _unsubscribed(self) -> None:
        self._unsubscribing -= 1
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
