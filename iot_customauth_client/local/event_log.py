"""The log of a local endpoint: everything that happened, to be read, waited for, and printed.

One thread appends (the endpoint's); any thread reads. An event gets its sequence number and its time of day here, and
sequence numbers have no gaps, so "everything since that event" is a slice. Waiting looks at what is there already and
then at each newcomer, in the waiting thread or task itself: a predicate that raises hurts its owner only.

The log is bounded: it keeps the last `MAX_EVENTS` events and at most `MAX_PAYLOAD_BYTES` of payloads and texts, and
forgets the oldest beyond that. Texts count because peers choose them: a client id or a topic filter that is refused may
be as long as a packet.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast, overload

from .._suggest import unknown
from .event_text import event_line
from .events import EVENT_KINDS, Event
from .words import counted

MAX_EVENTS: Final = 100_000
"""Events kept."""
MAX_PAYLOAD_BYTES: Final = 64 * 1024 * 1024
"""Of payloads and texts, in memory, kept with them; counted once per event."""
_LONG = 512  # a text within an event is counted from here: most are short, and counting takes time

_SHOWN_ON_TIMEOUT = 5

_WITH_PAYLOAD: Final = frozenset(
    kind for kind, cls in EVENT_KINDS.items() if any(each.name == "payload" for each in fields(cls))
)
_set_sequence: Final = Event.__dict__["sequence"].__set__
_set_at: Final = Event.__dict__["at"].__set__

EventT = TypeVar("EventT", bound=Event)
Wake = Callable[[], None]


class EventLog:
    """All events of one endpoint, oldest first. Iterating gives those of that moment."""

    def __init__(self, *, max_events: int = MAX_EVENTS, max_payload_bytes: int = MAX_PAYLOAD_BYTES) -> None:
        self._max_events = max_events
        self._max_payload_bytes = max_payload_bytes
        self._events: collections.deque[Event] = collections.deque()
        self._payload_bytes = 0
        self._last = 0
        self._waiters: dict[str, list[Wake]] = {}
        self._lock = threading.Lock()

    # -- writing -----------------------------------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Take a new event in, stamp it, and wake whoever waits for its kind. The event must not be shared before."""
        self.extend((event,))

    def extend(self, events: Sequence[Event]) -> None:
        """Do the same with several events that happened at once, in their order."""
        with self._lock:
            at = datetime.now(UTC)
            sequence, payload_bytes = self._last, self._payload_bytes
            event: Any
            for event in events:
                sequence += 1
                # A frozen event is completed in place, as dataclasses' own __init__ does: a copy each is too slow.
                _set_sequence(event, sequence)
                _set_at(event, at)
                payload_bytes += len(event.payload) if event.kind in _WITH_PAYLOAD else _size(event)
            self._last = sequence
            self._events.extend(events)
            while len(self._events) > self._max_events or (
                payload_bytes > self._max_payload_bytes and len(self._events) > 1
            ):
                payload_bytes -= _size(self._events.popleft())
            self._payload_bytes = payload_bytes
            waiters = self._those_waiting_for(events) if self._waiters else ()
        for wake in waiters:
            wake()

    def _those_waiting_for(self, events: Sequence[Event]) -> list[Wake]:
        """Return each that waits for one of these, once."""
        kinds = dict.fromkeys((*(event.kind for event in events), _ANY))
        return [wake for kind in kinds for wake in self._waiters.get(kind, ())]

    # -- reading -----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Event]:
        return iter(self.since(None))

    def __len__(self) -> int:
        """Events kept now."""
        return len(self._events)

    @property
    def last_sequence(self) -> int:
        """Sequence number of the newest event; 0 if there was none."""
        return self._last

    @property
    def forgotten(self) -> int:
        """How many of the oldest events are not kept any more."""
        return self._last - len(self._events)

    def since(self, after: Event | int | None = None) -> list[Event]:
        """Return the kept events after an event or sequence number; all of them for `None`."""
        sequence = after.sequence if isinstance(after, Event) else after or 0
        with self._lock:
            count = min(max(self._last - sequence, 0), len(self._events))
            newest = list(itertools.islice(reversed(self._events), count))
        newest.reverse()
        return newest

    @overload
    def of_kind(self, kind: str) -> list[Event]: ...
    @overload
    def of_kind(self, kind: type[EventT]) -> list[EventT]: ...
    def of_kind(self, kind: str | type[Event]) -> Sequence[Event]:
        """Return the kept events of one kind, given by its name or its class. An unknown name is a ValueError."""
        name = _kind_name(kind)
        return [event for event in self.since(None) if event.kind == name]

    # -- waiting -----------------------------------------------------------------------------------------------------

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
        """Return the first event of a kind whose fields are as given, waiting for it if there is none yet.

        Args:
            kind: the name of the kind, or its class (then the result has that type).
            timeout: seconds to wait at most; `None` waits for ever.
            after: look only at events after this one (an event or its sequence number); default: from the start.
            **fields: field names and the values they must equal; a callable is asked instead: `payload=lambda p: ...`.

        Raises:
            ValueError: at once, for a kind or a field that does not exist, with the nearest that does.
            TimeoutError: nothing fitted in time; it shows the most recent events, without secrets.
        """
        search = _Search(self, kind, after, fields)
        deadline = None if timeout is None else time.monotonic() + timeout
        arrived = threading.Event()
        with self._waking(search.kind, arrived.set):
            while (found := search.next()) is None:
                remaining = None if deadline is None else deadline - time.monotonic()
                if (remaining is not None and remaining <= 0) or not arrived.wait(remaining):
                    raise search.too_late(timeout or 0.0)
                arrived.clear()
        return found

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
        """Do as `wait_for`, without blocking the event loop it is awaited in, whichever that is."""
        search = _Search(self, kind, after, fields)
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(arrived.set)

        with self._waking(search.kind, wake):
            try:
                async with asyncio.timeout(timeout):
                    while (found := search.next()) is None:
                        await arrived.wait()
                        arrived.clear()
            except TimeoutError:
                raise search.too_late(timeout or 0.0) from None
        return found

    def waking(self, wake: Wake) -> contextlib.AbstractContextManager[None]:
        """Call `wake` after every append, from the appending thread, inside a `with`. It must be quick."""
        return self._waking(_ANY, wake)

    @contextlib.contextmanager
    def _waking(self, kind: str, wake: Wake) -> Iterator[None]:
        with self._lock:
            self._waiters.setdefault(kind, []).append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._waiters[kind].remove(wake)
                if not self._waiters[kind]:
                    del self._waiters[kind]


_ANY = "*"


class _Search:
    """A walk through the log for one kind and its fields; each event is looked at once."""

    def __init__(
        self, log: EventLog, kind: str | type[Event], after: Event | int | None, wanted: dict[str, object]
    ) -> None:
        self.kind = _kind_name(kind)
        known = {each.name for each in fields(EVENT_KINDS[self.kind])}
        for name in wanted:
            if name not in known:
                raise ValueError(unknown(f"field of `{self.kind}` events", name, known))
        self._log = log
        self._wanted = wanted
        self._after = after.sequence if isinstance(after, Event) else after or 0
        self._seen = self._after

    def next(self) -> Event | None:
        """Return the first fitting event among those not looked at yet."""
        for event in self._log.since(self._seen):
            self._seen = event.sequence
            if event.kind == self.kind and all(
                _fits(getattr(event, name), value) for name, value in self._wanted.items()
            ):
                return event
        return None

    def too_late(self, timeout: float) -> TimeoutError:
        """Say what was waited for and what came instead."""
        events = self._log.since(self._after)
        same = [event for event in events if event.kind == self.kind]
        with_fields = f" with {', '.join(map(_shown, self._wanted.items()))}" if self._wanted else ""
        lines = [f"no `{self.kind}` event{with_fields} within {timeout:g} s"]
        if same:
            lines[0] += f"; {counted(len(same), 'event')} of this kind did not fit, the last of them:"
        else:
            lines[0] += "; there was none of this kind, the last events were:" if events else "; nothing happened"
        if self._log.forgotten > self._after:
            lines[0] = f"({self._log.forgotten - self._after:,} older events are forgotten) {lines[0]}"
        lines += [f"  {event_line(event)}" for event in (same or events)[-_SHOWN_ON_TIMEOUT:]]
        return TimeoutError("\n".join(lines))


def _size(event: Event) -> int:
    """How much an event holds that a peer chose. Needs no more time than there is of it."""
    payload: bytes | None = getattr(event, "payload", None)
    if payload is not None:  # by far the most events; their topics were taken, and are short
        return len(payload)
    return sum(_text_size(getattr(event, name)) for name in event.__slots__)


def _text_size(value: object) -> int:
    match value:
        case str():
            return sys.getsizeof(value) if len(value) >= _LONG or not value.isascii() else 0
        case tuple() | list():
            members = cast("Sequence[object]", value)
            texts = sum(sys.getsizeof(each) if isinstance(each, str) else _text_size(each) for each in members)
            return texts + 8 * len(members)
        case dict():
            pairs = cast("dict[str, object]", value).items()
            return sum(
                sys.getsizeof(name) + (sys.getsizeof(each) if isinstance(each, str) else _text_size(each))
                for name, each in pairs
            )
        case _:
            return 0


def _kind_name(kind: str | type[Event]) -> str:
    name = kind if isinstance(kind, str) else kind.kind
    if name not in EVENT_KINDS:
        raise ValueError(unknown("kind of event", name, EVENT_KINDS))
    return name


def _fits(value: object, wanted: object) -> bool:
    if callable(wanted):
        return bool(cast("Callable[[object], object]", wanted)(value))
    return value == wanted


def _shown(pair: tuple[str, object]) -> str:
    name, value = pair
    if callable(value):
        return f"{name}=<a predicate>"
    return f"{name}=<{len(value)} bytes>" if isinstance(value, bytes) else f"{name}={value!r}"
