"""What a connection costs, and what is left of it: threads, sockets, objects; exit, fork, and being forgotten."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from client_support import BOTH, GOOD, WAIT, Dial, Farewell, failure, seen

from iot_customauth_client import ConfigurationError, Connection, Message, connect
from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.runtime import runtime

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")

_PREAMBLE = """
import concurrent.futures, os, sys
from iot_customauth_client import ConnectionSettings, ConfigurationError, Credentials, PublishFuture, Will, connect
from iot_customauth_client.runtime import runtime
port, ca_file, client_id, topic, protocol = sys.argv[1:]
credentials = Credentials.from_password("marker-user-5b1c", "marker-password-93e7", authorizer="gate")
settings = ConnectionSettings(
    endpoint="localhost", port=int(port), ca_file=ca_file, client_id=client_id, protocol=protocol,
    will=Will(topic, payload=b"gone"),
)
"""


def run(service: LocalEndpoint, client_id: str, topic: str, protocol: str, script: str) -> str:
    """Run a script in a process of its own, which must end well; return what it printed."""
    done = subprocess.run(
        [
            # Python 3.12 and later warn of fork() in a process with threads, which is the point of one test here.
            *(sys.executable, "-W", "ignore::DeprecationWarning", "-c", _PREAMBLE + textwrap.dedent(script)),
            *(str(service.port), str(service.ca_file), client_id, topic, protocol),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


@BOTH
def test_at_interpreter_exit_the_connection_says_goodbye(
    protocol: str, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    script = """
        connection = connect(settings, credentials=credentials, timeout=10)
        connection.subscribe(topic, print).wait_granted(10)
        print(connection.state.value)
    """
    assert run(service, client_id, topic, protocol, script) == "connected\n"
    gone = service.wait_for(events.Disconnected, client_id=client_id, timeout=WAIT)
    assert gone.reason == "CLIENT_INITIATED_DISCONNECT"
    assert not seen(service, events.Published, client_id)  # the will


@BOTH
def test_a_process_that_is_killed_leaves_its_will(
    protocol: str, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    # Shows that the test above would notice a will.
    script = """
        connection = connect(settings, credentials=credentials, timeout=10)
        os._exit(0)
    """
    run(service, client_id, topic, protocol, script)
    assert service.wait_for(events.Published, client_id=client_id, timeout=WAIT).payload == b"gone"


@BOTH
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_after_fork_the_childs_calls_raise_and_a_new_connection_works(
    protocol: str, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    script = """
        connection = connect(settings, credentials=credentials, timeout=10)
        connection.publish(topic, b"parent").result(10)
        future = PublishFuture(runtime())  # one that the parent still waits for
        child = os.fork()
        if not child:
            for call in (
                lambda: connection.publish(topic, b"child"),
                lambda: connection.subscribe(topic),
                future.result,
                future.exception,
                future.cancel,
                future.wait_stored,
                lambda: future.add_done_callback(print),
                lambda: concurrent.futures.wait([future]),
            ):
                try:
                    call()
                except ConfigurationError as error:
                    assert error.code == "used_after_fork", error.code
                else:
                    os._exit(3)
            own = settings.replace(client_id=client_id + "-child")
            with connect(own, credentials=credentials, timeout=10) as mine:
                mine.publish(topic, b"child").result(10)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        connection.publish(topic, b"parent again").result(10)
        print(connection.state.value)
    """
    assert run(service, client_id, topic, protocol, script) == "connected\n"
    assert [event.payload for event in seen(service, events.Published, f"{client_id}-child")][:1] == [b"child"]
    assert [event.payload for event in seen(service, events.Published, client_id)] == [b"parent", b"parent again"]


@BOTH
def test_a_child_that_exits_normally_does_not_touch_the_parents_connection(
    protocol: str, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    script = """
        connection = connect(settings, credentials=credentials, timeout=10)
        child = os.fork()
        if not child:
            sys.exit(0)  # runs what is registered for the interpreter's end
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, status
        connection.publish(topic, b"parent").result(10)
        print(connection.state.value)
    """
    assert run(service, client_id, topic, protocol, script) == "connected\n"
    assert len(seen(service, events.Connected, client_id)) == 1


@BOTH
def test_a_connection_dropped_without_close_is_collected_and_its_socket_closed(
    protocol: str, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    connection = connect(service.settings(client_id, protocol=protocol), credentials=GOOD, timeout=WAIT)  # type: ignore[arg-type]
    connection.publish(topic, b"x").result(WAIT)
    opened = service.wait_for(events.Connected, client_id=client_id, timeout=WAIT)
    farewell = Farewell(connection)
    del connection
    farewell.wait()
    service.wait_for(events.Closed, connection=opened.connection, timeout=WAIT)
    # The client id is free again.
    connect(service.settings(client_id, protocol=protocol), credentials=GOOD, timeout=WAIT).close()  # type: ignore[arg-type]


@BOTH
def test_a_dropped_connection_with_an_open_subscription_is_collected_too(
    protocol: str, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    def handler(message: Message) -> None: ...

    connection = connect(service.settings(client_id, protocol=protocol), credentials=GOOD, timeout=WAIT)  # type: ignore[arg-type]
    connection.subscribe(topic, handler).wait_granted(WAIT)
    opened = service.wait_for(events.Connected, client_id=client_id, timeout=WAIT)
    farewell = Farewell(connection)
    del connection
    farewell.wait()
    service.wait_for(events.Closed, connection=opened.connection, timeout=WAIT)


@BOTH
def test_a_closed_connection_is_collected(protocol: str, dial: Dial, service: LocalEndpoint, client_id: str) -> None:
    connection = connect(service.settings(client_id, protocol=protocol), credentials=GOOD, timeout=WAIT)  # type: ignore[arg-type]
    native, farewell = Farewell(connection.native), Farewell(connection)
    connection.close()
    gone = service.wait_for(events.Disconnected, client_id=client_id, timeout=WAIT)
    service.wait_for(events.Closed, connection=gone.connection, timeout=WAIT)
    del connection
    farewell.wait()
    native.wait()


def wait_for_idle_workers() -> None:
    """Wait until the worker threads that have nothing to do have ended."""
    for thread in threading.enumerate():
        if thread.name.startswith("iot-customauth-worker-"):
            thread.join(WAIT)


def native_threads() -> list[Path]:
    return list(Path("/proc/self/task").iterdir())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@BOTH
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_two_hundred_connections_need_no_thread_each_and_leave_no_socket_behind(
    protocol: str, service: LocalEndpoint, client_id: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime().workers, "_idle_seconds", 0.05)
    connect(service.settings(client_id, protocol=protocol), credentials=GOOD, timeout=WAIT).close()  # type: ignore[arg-type]
    files = open_files()
    before = service.events.last_sequence
    connections = [
        connect(service.settings(f"{client_id}-{number}", protocol=protocol), credentials=GOOD, timeout=0)  # type: ignore[arg-type]
        for number in range(200)
    ]
    for connection in connections:
        connection.wait_connected(30)
    wait_for_idle_workers()
    assert len(native_threads()) < 20  # the endpoint's own, awscrt's, the clock
    for number, connection in enumerate(connections):
        connection.publish(f"{topic}/{number}", b"x").result(WAIT)
    for connection in connections:
        connection.close()
    for number in range(200):
        gone = service.wait_for(events.Disconnected, client_id=f"{client_id}-{number}", after=before, timeout=WAIT)
        service.wait_for(events.Closed, connection=gone.connection, after=before, timeout=WAIT)
    del connection, connections
    gc.collect()
    wait_for_idle_workers()
    assert len(native_threads()) < 20
    assert open_files() <= files + 4


def test_a_connection_object_of_another_process_cannot_be_used(client_id: str) -> None:
    from iot_customauth_client import ConnectionSettings
    from iot_customauth_client import runtime as runtime_module

    settings = ConnectionSettings(endpoint="localhost", port=1, client_id=client_id)
    connection = Connection(settings, GOOD)
    messages = connection.subscribe("open/a")
    inherited = runtime_module._current
    try:
        runtime_module._after_fork()
        failure(ConfigurationError, connection.publish, "open/a", b"", code="used_after_fork")
        failure(ConfigurationError, connection.subscribe, "open/a", code="used_after_fork")
        failure(ConfigurationError, connection._open, 1, code="used_after_fork")
        failure(ConfigurationError, connection.stats, code="used_after_fork")
        failure(ConfigurationError, messages.wait_granted, code="used_after_fork")
    finally:
        runtime_module._current = inherited
        runtime_module._inherited.clear()
