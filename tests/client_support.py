"""What the tests of the client share: an endpoint to connect to, servers that misbehave, and a watch over secrets.

Test modules take it in by `pytest_plugins = ("client_support",)`. Every connection of a test has a client id and topics
of its own, so that tests of a module can share one endpoint. The watch, `no_secret_in_logs`, is asked for by name
(`pytestmark`): it collects the records of every logger, awscrt's included, and insists that no secret is in them.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import logging
import threading
import time
import traceback
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import awscrt.logging as native_logging
import pytest
import trustme

from iot_customauth_client import (
    Connection,
    ConnectionSettings,
    Credentials,
    CustomAuthError,
    State,
    StateChange,
    connect,
)
from iot_customauth_client.local import Event, LocalEndpoint, events

USER = "marker-user-5b1c"
PASSWORD = "marker-password-93e7"
WRONG_PASSWORD = "marker-wrong-0d42"
PROXY_USER = "marker-proxy-user-77"
PROXY_PASSWORD = "marker-proxy-word-88"
PAYLOAD_MARKER = "marker-payload-c0ffee"
"""Put into payloads: logs must not show those either."""
SECRETS = (
    *(USER, PASSWORD, WRONG_PASSWORD, PROXY_USER, PROXY_PASSWORD, PAYLOAD_MARKER),
    *(base64.b64encode(word.encode()).decode() for word in (PASSWORD, WRONG_PASSWORD)),
    base64.b64encode(f"{PROXY_USER}:{PROXY_PASSWORD}".encode()).decode(),
)
AWS_HOSTNAME = "xxxxxxxxxxxx-ats.iot.ap-northeast-1.amazonaws.com"
REFERENCE_AUTHORIZER = "custom_auth_mqtt_2021_08_21"
REFERENCE_FILE = Path(__file__).parent.parent / "examples" / "authorizers" / "password.py"
WAIT = 10.0
"""Seconds after which whatever is waited for will not come any more."""

BOTH = pytest.mark.parametrize("protocol", ["mqtt5", "mqtt311"])
GOOD = Credentials.from_password(USER, PASSWORD, authorizer="gate")
WRONG = Credentials.from_password(USER, WRONG_PASSWORD, authorizer="gate")

ErrorT = TypeVar("ErrorT", bound=CustomAuthError)
EventT = TypeVar("EventT", bound=Event)

# -- the authorizers ------------------------------------------------------------------------------------------------


def allowing(principal: str = "TestPrincipal") -> dict[str, object]:
    """A result that lets client ids `device-...` connect and use topics below `open/`."""
    statements = [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:*:*:client/device-*"},
        {
            "Effect": "Allow",
            "Action": ["iot:Publish", "iot:Receive", "iot:RetainPublish"],
            "Resource": "arn:aws:iot:*:*:topic/open/*",
        },
        {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "arn:aws:iot:*:*:topicfilter/open/*"},
    ]
    return {
        "isAuthenticated": True,
        "principalId": principal,
        "disconnectAfterInSeconds": 3600,
        "refreshAfterInSeconds": 3600,
        "policyDocuments": [{"Version": "2012-10-17", "Statement": statements}],
    }


def gate(event: Mapping[str, Any], context: object) -> dict[str, object]:
    mqtt = event["protocolData"]["mqtt"]
    name = mqtt["username"].partition("?")[0]
    password = base64.b64decode(mqtt.get("password", "")).decode()
    return allowing() if (name, password) == (USER, PASSWORD) else {"isAuthenticated": False}


def failing(event: Mapping[str, Any], context: object) -> dict[str, object]:
    raise RuntimeError("the database is away")


def dashed(event: Mapping[str, Any], context: object) -> dict[str, object]:
    return allowing("not-alphanumeric")


def slow(event: Mapping[str, Any], context: object) -> dict[str, object]:
    threading.Event().wait(6)
    return allowing()


AUTHORIZERS = {"gate": gate, "failing": failing, "dashed": dashed, "slow": slow}


def credentials_for(authorizer: str) -> Credentials:
    return Credentials.from_password(USER, PASSWORD, authorizer=authorizer)


# -- fixtures -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service() -> Iterator[LocalEndpoint]:
    """An endpoint that the tests of a module share."""
    with LocalEndpoint(AUTHORIZERS) as endpoint:
        yield endpoint


@pytest.fixture
def client_id() -> str:
    """A client id that nobody else uses, and that the policy lets connect."""
    return f"device-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def topic(client_id: str) -> str:
    """A topic that nobody else uses, and that the policy allows."""
    return f"open/{client_id}"


Dial = Callable[..., Connection]


@pytest.fixture
def dial(service: LocalEndpoint, client_id: str) -> Iterator[Dial]:
    """Connect to the shared endpoint; what is still open at the end of the test is closed."""
    opened: list[Connection] = []

    def dial(protocol: str = "mqtt5", **arguments: Any) -> Connection:
        given: dict[str, Any] = {"client_id": client_id, "credentials": GOOD, "timeout": WAIT} | arguments
        connection = connect(service.settings(given.pop("client_id"), protocol=protocol), **given)  # type: ignore[arg-type]
        opened.append(connection)
        return connection

    yield dial
    for connection in opened:
        connection.close(drain=False)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority for servers of the tests' own."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="session")
def authority_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate, for `ca_file`."""
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))  # with the traceback, if there is one


@pytest.fixture
def no_secret_in_logs() -> Iterator[list[str]]:
    """Everything that is logged during the test, by anybody; no secret may be in it."""
    collector = _Collector()
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in ("", "iot_customauth_client")}
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    loggers[logging.getLogger("awscrt")] = logging.NOTSET
    logging.getLogger("awscrt").setLevel(logging.INFO)
    with contextlib.suppress(RuntimeError):  # another test has done it
        native_logging.init_logging(logging.INFO)
    native_logging.set_log_level(logging.INFO)
    logging.getLogger().addHandler(collector)
    try:
        yield collector.lines
    finally:
        native_logging.set_log_level(logging.NOTSET)  # nothing native may log into a dying interpreter
        logging.getLogger().removeHandler(collector)
        for logger, level in loggers.items():
            logger.setLevel(level)
    leaks = [line for line in collector.lines if any(secret in line for secret in SECRETS)]
    assert not leaks


# -- errors ---------------------------------------------------------------------------------------------------------


def failure(
    kind: type[ErrorT],
    call: Callable[..., object],
    *arguments: Any,
    code: str | None = None,
    phase: str | None = None,
    **named: Any,
) -> ErrorT:
    """Call, insist on exactly this error, check what every error promises, and return it."""
    with pytest.raises(kind) as caught:
        call(*arguments, **named)
    error = caught.value
    assert type(error) is kind
    check_error(error, code=code, phase=phase)
    return error


def check_error(error: BaseException | None, *, code: str | None = None, phase: str | None = None) -> None:
    """Insist on code and phase, on a message for a person, and on no secret in anything that can be printed."""
    assert isinstance(error, CustomAuthError), error
    assert error.message
    if code is not None:
        assert error.code == code
    if phase is not None:
        assert error.phase == phase
    told = "".join(traceback.format_exception(error))
    each: BaseException | None = error
    while each is not None:
        told += f"{each!r} {each} {each.args!r} {vars(each)!r}"
        each = each.__cause__
    for secret in SECRETS:
        assert secret not in told


def refuses(
    kind: type[ErrorT], settings: ConnectionSettings, *, credentials: Credentials = GOOD, **named: Any
) -> ErrorT:
    """Insist that `connect()` raises this error, with whom it is about and how long it took in it."""
    error = failure(kind, connect, settings, credentials=credentials, **named)
    assert error.client_id == settings.client_id
    assert error.elapsed_seconds is not None
    assert 0 <= error.elapsed_seconds < 60
    assert error.phase is not None
    return error


# -- what the endpoint saw ------------------------------------------------------------------------------------------


def seen(service: LocalEndpoint, kind: type[EventT], client_id: str) -> list[EventT]:
    """The events of one kind about one client, in order."""
    return [event for event in service.events.of_kind(kind) if getattr(event, "client_id", None) == client_id]


def connects(service: LocalEndpoint, client_id: str) -> int:
    """How many CONNECTs came from a client."""
    return len(seen(service, events.ConnectReceived, client_id))


class Farewell:
    """Notices when an object is collected; whoever asks must have let go of it."""

    def __init__(self, each: object) -> None:
        self._gone = threading.Event()
        self._reference = weakref.ref(each, lambda _: self._gone.set())

    def wait(self, timeout: float = WAIT) -> None:
        until = time.monotonic() + timeout
        while True:
            gc.collect()  # again and again: a worker thread may have had it in its hands
            if self._gone.wait(0.1):
                return
            assert time.monotonic() < until, gc.get_referrers(self._reference())


class States:
    """Collects the changes of a connection, for `on_state_change`, and waits for one."""

    def __init__(self) -> None:
        self.changes: list[StateChange] = []
        self._changed = threading.Condition()

    def __call__(self, change: StateChange) -> None:
        with self._changed:
            self.changes.append(change)
            self._changed.notify_all()

    def wait_for(self, *states: State, after: StateChange | None = None, timeout: float = WAIT) -> StateChange:
        def found() -> StateChange | None:
            start = 0 if after is None else next(i for i, each in enumerate(self.changes) if each is after) + 1
            return next((change for change in self.changes[start:] if change.state in states), None)

        with self._changed:
            assert self._changed.wait_for(lambda: found() is not None, timeout), self.changes
            change = found()
        assert change is not None
        return change
