"""A signal ends the process as it always did, but after DISCONNECT: shown with real processes and real signals."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from client_support import WAIT, failure, seen

from iot_customauth_client import ConfigurationError
from iot_customauth_client.local import LocalEndpoint, events
from iot_customauth_client.signals import close_on_signal

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

_PREAMBLE = """
import signal, sys, threading, time
from iot_customauth_client import ConnectionSettings, Credentials, Will, connect
from iot_customauth_client.signals import close_on_signal
port, ca_file, client_id, topic = sys.argv[1:]
credentials = Credentials.from_password("marker-user-5b1c", "marker-password-93e7", authorizer="gate")
settings = ConnectionSettings(
    endpoint="localhost", port=int(port), ca_file=ca_file, client_id=client_id, will=Will(topic, payload=b"gone")
)
def say(text):
    print(text, flush=True)
"""


class Program:
    """A child process that says `ready` and is then waited for; killed at the end, should it still live."""

    def __init__(self, service: LocalEndpoint, client_id: str, topic: str, script: str) -> None:
        arguments = (str(service.port), str(service.ca_file), client_id, topic)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PREAMBLE + textwrap.dedent(script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> tuple[int, str, str]:
        """Wait for the end; return exit status, the rest of its output, and its complaints."""
        output, complaints = self.process.communicate(timeout=WAIT * 2)
        return self.process.returncode, output.strip(), complaints


@contextlib.contextmanager
def program(service: LocalEndpoint, client_id: str, topic: str, script: str) -> Iterator[Program]:
    running = Program(service, client_id, topic, script)
    try:
        assert running.line() == "ready"
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


def said_goodbye(service: LocalEndpoint, client_id: str) -> bool:
    """Whether DISCONNECT came, and so no will was published."""
    gone = service.wait_for(events.Disconnected, client_id=client_id, timeout=WAIT)
    service.wait_for(events.Closed, connection=gone.connection, timeout=WAIT)
    return gone.reason == "CLIENT_INITIATED_DISCONNECT" and not seen(service, events.Published, client_id)


@pytest.mark.parametrize(
    "waiting",
    [
        "time.sleep(60)",
        "next(connection.subscribe(topic))",
        "connection.wait_closed()",
        "threading.Event().wait(60)",
        "list(connection.subscribe(topic))",
    ],
)
def test_sigterm_says_goodbye_and_ends_the_process_as_sigterm_does(
    waiting: str, service: LocalEndpoint, client_id: str, topic: str
) -> None:
    script = f"""
        close_on_signal()
        connection = connect(settings, credentials=credentials, timeout=10)
        say("ready")
        try:
            {waiting}
        except StopIteration:
            pass
    """
    with program(service, client_id, topic, script) as running:
        running.send(signal.SIGTERM)
        status, _, complaints = running.ended()
    assert (status, complaints) == (-signal.SIGTERM, "")
    assert said_goodbye(service, client_id)


def test_without_it_sigterm_publishes_the_will(service: LocalEndpoint, client_id: str, topic: str) -> None:
    script = """
        connection = connect(settings, credentials=credentials, timeout=10)
        say("ready")
        time.sleep(60)
    """
    with program(service, client_id, topic, script) as running:
        running.send(signal.SIGTERM)
        assert running.ended()[0] == -signal.SIGTERM
    service.wait_for(events.Published, client_id=client_id, timeout=WAIT)


def test_leaving_its_with_after_the_signal_still_ends_as_by_the_signal(
    service: LocalEndpoint, client_id: str, topic: str
) -> None:
    script = """
        with close_on_signal(signal.SIGTERM, signal.SIGINT):
            with connect(settings, credentials=credentials, timeout=10) as connection:
                with connection.subscribe(topic) as messages:
                    say("ready")
                    for message in messages:
                        pass
    """
    with program(service, client_id, topic, script) as running:
        running.send(signal.SIGTERM)
        status, _, complaints = running.ended()
    assert (status, complaints) == (-signal.SIGTERM, "")
    assert said_goodbye(service, client_id)


def test_the_programs_own_handler_runs_after_the_goodbye_and_decides_the_exit_status(
    service: LocalEndpoint, client_id: str, topic: str
) -> None:
    script = """
        def own(number, frame):
            say(connection.state.value)
            sys.exit(7)
        signal.signal(signal.SIGTERM, own)
        close_on_signal()
        connection = connect(settings, credentials=credentials, timeout=10)
        say("ready")
        time.sleep(60)
    """
    with program(service, client_id, topic, script) as running:
        running.send(signal.SIGTERM)
        assert running.ended() == (7, "closed", "")
    assert said_goodbye(service, client_id)


def test_ctrl_c_is_still_a_keyboard_interrupt(service: LocalEndpoint, client_id: str, topic: str) -> None:
    script = """
        close_on_signal(signal.SIGINT)
        connection = connect(settings, credentials=credentials, timeout=10)
        say("ready")
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            say(f"interrupted, {connection.state.value}")
    """
    with program(service, client_id, topic, script) as running:
        running.send(signal.SIGINT)
        assert running.ended() == (0, "interrupted, closed", "")
    assert said_goodbye(service, client_id)


def test_a_lock_that_the_main_thread_never_gives_back_does_not_hold_the_signal_up_for_ever(
    service: LocalEndpoint, client_id: str, topic: str
) -> None:
    script = """
        close_on_signal(timeout=0.1)
        connection = connect(settings, credentials=credentials, timeout=10)
        with connection._standing._lock:
            say("ready")
            time.sleep(60)
    """
    with program(service, client_id, topic, script) as running:
        running.send(signal.SIGTERM)
        assert running.ended()[0] == -signal.SIGTERM


def test_a_second_signal_takes_effect_at_once(service: LocalEndpoint, client_id: str, topic: str) -> None:
    script = """
        closing = close_on_signal(signal.SIGTERM, signal.SIGINT, timeout=1_000)
        connection = connect(settings, credentials=credentials, timeout=10)
        with connection._standing._lock:  # closing cannot go on
            say("ready")
            while not closing._closing:
                time.sleep(0.01)
            say("closing")
            time.sleep(60)
    """
    with program(service, client_id, topic, script) as running:
        running.send(signal.SIGTERM)
        assert running.line() == "closing"
        running.send(signal.SIGTERM)
        assert running.ended()[0] == -signal.SIGTERM


def test_a_signal_that_is_ignored_stays_ignored(service: LocalEndpoint, client_id: str, topic: str) -> None:
    script = """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        close_on_signal(signal.SIGHUP, signal.SIGTERM)
        connection = connect(settings, credentials=credentials, timeout=10)
        signal.raise_signal(signal.SIGHUP)
        connection.publish(topic, b"still here").result(10)
        say("ready")
        time.sleep(60)
    """
    with program(service, client_id, topic, script) as running:
        running.send(signal.SIGTERM)
        assert running.ended()[0] == -signal.SIGTERM


def test_a_forked_child_leaves_the_parents_connection_alone(service: LocalEndpoint, client_id: str, topic: str) -> None:
    script = """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        close_on_signal()
        connection = connect(settings, credentials=credentials, timeout=10)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, b"x")  # a signal that comes before fork() has returned is not seen by Python
            time.sleep(60)
            os._exit(0)
        os.read(reading, 1)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM, status
        connection.publish(topic, b"parent").result(10)
        say("ready")
        connection.close()
    """
    with program(service, client_id, topic, script) as running:
        assert running.ended() == (0, "", "")


def test_undo_puts_the_previous_handlers_back_and_ends_the_thread() -> None:
    before = [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)]
    with close_on_signal(signal.SIGTERM, signal.SIGINT) as closing:
        assert signal.getsignal(signal.SIGTERM) not in before
        closer = next(each for each in threading.enumerate() if each.name == "iot-customauth-signals")
    assert [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)] == before
    closer.join(WAIT)
    assert not closer.is_alive()
    closing.undo()


def test_undo_leaves_a_handler_alone_that_was_set_later() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with close_on_signal():
            signal.signal(signal.SIGTERM, later := lambda number, frame: None)
        assert signal.getsignal(signal.SIGTERM) is later
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    "arguments",
    [(signal.SIGKILL,), (0,), (100_000,), ("SIGTERM",), (5.0,), (signal.SIGTERM, signal.SIGKILL)],
    ids=repr,
)
def test_what_cannot_be_handled_is_refused_and_nothing_is_left_behind(arguments: tuple[Any, ...]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    failure(ConfigurationError, close_on_signal, *arguments)
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_it_is_refused_in_words() -> None:
    with ThreadPoolExecutor(1) as pool:
        error = failure(ConfigurationError, pool.submit(close_on_signal).result, WAIT)
    assert "main thread" in str(error)
