"""What the behaviour suite stands on: every face, protocol and transport, against one endpoint of the module.

`Device` is one connection with a watch over its states. The service's limit of one CONNECT a second for a client id is
lifted here, and waiting devices are told to try at once, so that what is about order and loss takes no time; the limit
and the pauses have tests of their own.
"""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from client_support import AUTHORIZERS, GOOD, WAIT
from faces import Face, make_face

from iot_customauth_client import Credentials, State, StateChange
from iot_customauth_client.local import LocalEndpoint, events

WAYS = list(itertools.product(("sync", "aio"), ("mqtt5", "mqtt311"), ("tls", "websocket")))
DIRECT = [way for way in WAYS if way[2] == "tls"]


def everywhere(ways: list[tuple[str, str, str]] = WAYS) -> pytest.MarkDecorator:
    """Make a statement about every face, protocol and transport, through the fixture `way`."""
    return pytest.mark.parametrize("way", ways, indirect=True, ids="-".join)


@dataclass(frozen=True)
class Way:
    """One face, one protocol, one transport."""

    face: Face
    protocol: str
    transport: str

    @property
    def mqtt5(self) -> bool:
        return self.protocol == "mqtt5"


class Watch:
    """Collects changes of state and waits for them; `mark()` forgets what was before."""

    def __init__(self) -> None:
        self.changes: list[StateChange] = []
        self._from = 0
        self._changed = threading.Condition()

    def __call__(self, change: StateChange) -> None:
        with self._changed:
            self.changes.append(change)
            self._changed.notify_all()

    def mark(self) -> None:
        with self._changed:
            self._from = len(self.changes)

    @property
    def since(self) -> list[StateChange]:
        return self.changes[self._from :]

    def wait_for(self, state: State, timeout: float = WAIT) -> StateChange:
        """Wait for the first change to this state since the mark."""

        def found() -> StateChange | None:
            return next((change for change in self.since if change.state is state), None)

        with self._changed:
            assert self._changed.wait_for(lambda: found() is not None, timeout), self.changes
            change = found()
        assert change is not None
        return change


class Device:
    """One connection of the face under test, and what the endpoint knows of it."""

    def __init__(self, way: Way, service: LocalEndpoint, client_id: str) -> None:
        self.way = way
        self.service = service
        self.client_id = client_id
        self.topic = f"open/{client_id}"
        self.watch = Watch()
        self.begun = service.events.last_sequence
        self.connection: Any = None

    def connect(self, *, client_id: str | None = None, timeout: float | None = WAIT, **arguments: Any) -> Any:
        named = {key: arguments.pop(key) for key in ("credentials", "outbox", "clock") if key in arguments}
        settings = self.service.settings(
            client_id or self.client_id,
            **({"protocol": self.way.protocol, "transport": self.way.transport} | arguments),  # type: ignore[arg-type]
        )
        self.connection = self.way.face.connect(
            settings, **({"credentials": GOOD, "timeout": timeout, "on_state_change": self.watch} | named)
        )
        return self.connection

    def lose_connection(self, how: Callable[[], object] | None = None) -> StateChange:
        """Break the connection, let it come back at once, and return the change that said it was lost."""
        self.watch.mark()
        if how is None:
            assert self.service.faults.drop(self.client_id) == 1
        else:
            how()
        lost = self.watch.wait_for(State.WAITING)
        self.come_back()
        return lost

    def come_back(self) -> StateChange:
        self.connection.retry_now()
        return self.watch.wait_for(State.CONNECTED)

    def published(self) -> list[bytes]:
        """What the service took from this device, in order."""
        return [
            event.payload
            for event in self.service.events.of_kind(events.Published)
            if event.client_id == self.client_id and event.sequence > self.begun
        ]

    def seen(self, kind: type[Any]) -> list[Any]:
        return [
            event
            for event in self.service.events.of_kind(kind)
            if getattr(event, "client_id", None) == self.client_id and event.sequence > self.begun
        ]

    def settle(self) -> None:
        """Wait until all that follows from being connected has been arranged: a SUBSCRIBE is decided on after it."""
        subscription = self.connection.subscribe(f"{self.topic}/settle")
        subscription.wait_granted(WAIT)
        subscription.close()

    def wait_count(self, kind: type[Any], count: int) -> None:
        """Wait until the endpoint has told of so many events of a kind about this device."""
        self.wait_until(kind, lambda seen: len(seen) >= count)

    def wait_until(self, kind: type[Any], enough: Callable[[list[Any]], bool]) -> None:
        after: Any = self.begun
        while not enough(self.seen(kind)):
            after = self.service.wait_for(kind, client_id=self.client_id, after=after, timeout=WAIT)

    def wait_for(self, kind: type[Any], **fields: Any) -> Any:
        return self.service.wait_for(kind, client_id=self.client_id, after=self.begun, timeout=WAIT, **fields)


@pytest.fixture(scope="module")
def shared_service() -> Iterator[LocalEndpoint]:
    with LocalEndpoint(AUTHORIZERS) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def faces() -> Iterator[dict[str, Face]]:
    made: dict[str, Face] = {}
    yield made
    for face in made.values():
        face.stop()


@pytest.fixture
def way(request: pytest.FixtureRequest, faces: dict[str, Face]) -> Way:
    name, protocol, transport = request.param
    if name == "aio":
        aio = pytest.importorskip("iot_customauth_client.aio")
        if not hasattr(aio, "connect"):
            pytest.fail("the asyncio face cannot connect")
    if name not in faces:
        faces[name] = make_face(name)
    return Way(faces[name], protocol, transport)


@pytest.fixture
def device(way: Way, shared_service: LocalEndpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """A device that is not connected yet; what the test leaves open is closed."""
    monkeypatch.setattr("iot_customauth_client.runtime.CONNECTS_PER_SECOND_PER_CLIENT_ID", 200)
    made = Device(way, shared_service, f"device-{uuid.uuid4().hex[:12]}")
    yield made
    shared_service.faults.clear()
    if made.connection is not None:
        made.connection.close(drain=False)


@pytest.fixture
def connected(device: Device) -> Device:
    """A device that is connected."""
    device.connect()
    return device


class TokenService:
    """A function that gives credentials good for an hour, counts how often it is asked, and fails when told to."""

    def __init__(self, *, lifetime_seconds: float = 3_600) -> None:
        self.calls = 0
        self.failures: list[Exception] = []
        self._lifetime_seconds = lifetime_seconds
        self._asked = threading.Condition()

    def __call__(self) -> Credentials:
        with self._asked:
            self.calls += 1
            self._asked.notify_all()
            if self.failures:
                raise self.failures.pop(0)
            number = self.calls
        # Another parameter each time, so that the bytes that are carried differ.
        return Credentials.from_password(
            GOOD.username,
            GOOD.password.get_secret_value() if GOOD.password else b"",
            authorizer="gate",
            parameters={"serial": str(number)},
            expires_in_seconds=self._lifetime_seconds,
        )

    def wait_asked(self, times: int) -> None:
        with self._asked:
            assert self._asked.wait_for(lambda: self.calls >= times, WAIT), self.calls
