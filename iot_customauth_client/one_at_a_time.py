"""A link that asks for one subscription at a time, and tells when none is left: for the quarantine.

Where the service hangs up without a word, what it had not answered yet is all there is to tell the cause by. So
nothing else may be on its way meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .links.base import Capabilities, FilterRequest, Link, PublishDone, PublishOutcome

if TYPE_CHECKING:
    from .builder import ConnectionBuilder

SubscribeDone = Callable[[Sequence[int] | None, BaseException | None], None]


class OneAtATime:
    """Passes everything on to a link, but subscriptions singly, the next one after the answer to the one before."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._waiting: deque[tuple[FilterRequest, Callable[[int | None, BaseException | None], None]]] = deque()
        self._asked: str | None = None

    @property
    def asked(self) -> str | None:
        """The topic filter that the service has been asked for and has not answered."""
        return self._asked

    @property
    def idle(self) -> bool:
        """Whether every subscription has its answer."""
        return self._asked is None and not self._waiting

    @property
    def capabilities(self) -> Capabilities:
        """Those of the link."""
        return self._link.capabilities

    @property
    def native(self) -> Any:
        """That of the link."""
        return self._link.native

    def renew(self, builder: ConnectionBuilder) -> bool:
        """Pass it on."""
        return self._link.renew(builder)

    def attempt(self) -> None:
        """Pass it on."""
        self._link.attempt()

    def end(self) -> None:
        """Pass it on."""
        self._link.end()

    def abandon(self) -> None:
        """Pass it on."""
        self._link.abandon()

    def publish(self, entry: Any, done: PublishDone) -> PublishOutcome | None:
        """Pass it on."""
        return self._link.publish(entry, done)

    def unsubscribe(self, topic_filter: str, done: Callable[[], None]) -> None:
        """Pass it on."""
        self._link.unsubscribe(topic_filter, done)

    def subscribe(self, requests: Sequence[FilterRequest], done: SubscribeDone) -> None:
        """Ask for each filter in its turn; `done` follows when all of these have their answers."""
        answers: dict[str, int] = {}

        def answered(topic_filter: str, code: int | None, error: BaseException | None) -> None:
            if code is None:
                done(None, error)
                return
            answers[topic_filter] = code
            if len(answers) == len(requests):
                done([answers[each.topic_filter] for each in requests], None)

        with self._lock:
            self._waiting.extend((each, partial(answered, each.topic_filter)) for each in requests)
        self._go_on()

    def _go_on(self) -> None:
        with self._lock:
            if self._asked is not None or not self._waiting:
                return
            request, answered = self._waiting.popleft()
            self._asked = request.topic_filter
        self._link.subscribe([request], partial(self._answered, answered))

    def _answered(
        self,
        answered: Callable[[int | None, BaseException | None], None],
        codes: Sequence[int] | None,
        error: BaseException | None,
    ) -> None:
        if codes is None:
            with self._lock:
                # Stays `asked` if the connection is gone, since it is the suspect of that end.
                self._waiting.clear()
            answered(None, error)
            return
        with self._lock:
            self._asked = None
        answered(codes[0], None)
        self._go_on()
