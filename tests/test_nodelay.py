"""TCP_NODELAY on awscrt's sockets: set before CONNECT goes out, on no other socket, and never at their cost."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from client_support import BOTH, WAIT
from link_support import Listener, make_link
from stub_servers import MqttStub, Stub

from iot_customauth_client import ConnectionSettings
from iot_customauth_client.links.nodelay import NoDelay
from iot_customauth_client.local import LocalEndpoint
from iot_customauth_client.workers import Workers

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sockets of a process can be found on Linux only")


@pytest.fixture
def silent() -> Iterator[Stub]:
    """A server that accepts, says nothing, and stays until the test is over."""
    with Stub(lambda _: stub.over.wait() and None) as stub:  # type: ignore[func-returns-value]
        yield stub


def dialled(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT)


def no_delay(each: socket.socket) -> bool:
    return bool(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "not within the time limit"
        threading.Event().wait(0.005)


def descriptors() -> dict[int, int]:
    """The open descriptors of this process, with what the system calls what is behind each."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found[int(entry.name)] = os.fstat(int(entry.name)).st_ino
    return found


def sockets_to(port: int) -> list[bool]:
    """For each socket of this process that is connected to the port: whether it sends without delay."""
    found = []
    for descriptor in descriptors():
        try:
            each = socket.socket(fileno=descriptor)
        except OSError:
            continue
        try:
            if each.family in (socket.AF_INET, socket.AF_INET6) and each.getpeername()[1] == port:
                found.append(no_delay(each))
        except OSError:
            continue
        finally:
            each.detach()
    return found


@BOTH
def test_the_socket_of_a_link_sends_without_delay(protocol: str, service: LocalEndpoint, client_id: str) -> None:
    listener = Listener()
    link = make_link(service.settings(client_id, protocol=protocol), listener)  # type: ignore[arg-type]
    link.attempt()
    listener.connected()
    until(lambda: sockets_to(service.port) == [True])
    link.end()
    listener.ended()


@BOTH
def test_it_does_so_before_connect_goes_out(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    go_on = threading.Event()

    class Waiting(MqttStub):
        def _talk(self, plain: socket.socket) -> None:
            go_on.wait(WAIT)  # the handshake of TLS begins when the test says so
            super()._talk(plain)

    with Waiting(authority) as stub:
        listener = Listener()
        link = make_link(stub.settings(client_id, authority_file, protocol=protocol), listener)
        link.attempt()
        until(lambda: sockets_to(stub.port) == [True])
        assert not stub.packets
        go_on.set()
        listener.connected()
        link.end()
        listener.ended()


@BOTH
def test_the_second_socket_of_a_link_is_found_as_well(
    protocol: str, authority: trustme.CA, authority_file: Path, client_id: str
) -> None:
    with MqttStub(authority) as stub:
        listener = Listener()
        link = make_link(stub.settings(client_id, authority_file, protocol=protocol), listener)
        link.attempt()
        listener.connected()
        stub.hang_up()
        listener.ended()
        until(lambda: sockets_to(stub.port) == [])
        link.attempt()
        listener.connected()
        until(lambda: sockets_to(stub.port) == [True])
        link.end()
        listener.ended()


def test_behind_a_proxy_it_is_the_socket_to_the_proxy(silent: Stub, client_id: str) -> None:
    settings = ConnectionSettings(
        endpoint="endpoint.invalid", client_id=client_id, http_proxy=f"http://127.0.0.1:{silent.port}"
    )
    link = make_link(settings, Listener())
    link.attempt()
    until(lambda: sockets_to(silent.port) == [True])
    link.abandon()


def test_only_new_sockets_to_the_port_are_touched(silent: Stub) -> None:
    finder = NoDelay(Workers())
    with dialled(silent.port) as old, Stub(lambda _: other.over.wait() and None) as other:  # type: ignore[func-returns-value]
        watch = finder.watch(silent.port)
        with dialled(other.port) as elsewhere, dialled(silent.port) as new:
            until(lambda: no_delay(new))
            watch.end()
            assert not no_delay(old)
            assert not no_delay(elsewhere)


def test_two_watches_at_once_find_both_sockets(silent: Stub) -> None:
    finder = NoDelay(Workers())
    with Stub(lambda _: other.over.wait() and None) as other:  # type: ignore[func-returns-value]
        first, second = finder.watch(silent.port), finder.watch(other.port)
        with dialled(silent.port) as one:
            until(lambda: no_delay(one))
            first.end()
            first.end()  # harmless
            with dialled(other.port) as two:
                until(lambda: no_delay(two))
        second.end()


def test_the_last_look_finds_what_came_at_the_last_moment(silent: Stub) -> None:
    finder = NoDelay(Workers())
    watch = finder.watch(silent.port)
    watch.began -= 3_600  # as if the looking ahead were over
    with dialled(silent.port) as late:
        watch.end()
        until(lambda: no_delay(late))


def test_every_descriptor_is_left_open_and_as_it_is(silent: Stub) -> None:
    finder = NoDelay(Workers(idle_seconds=0.01))
    ours, theirs = socket.socketpair()
    with (
        ours,
        theirs,
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.socket(type=socket.SOCK_DGRAM) as udp,
    ):
        udp.connect(("127.0.0.1", silent.port))
        known = {each.fileno(): os.fstat(each.fileno()).st_ino for each in (ours, theirs, listening, udp)}
        watch = finder.watch(silent.port)
        with dialled(silent.port) as each:
            until(lambda: no_delay(each))
            watch.end()
            known[each.fileno()] = os.fstat(each.fileno()).st_ino
            now = descriptors()
            assert now.items() >= known.items()
            assert sorted(found for found in now.values() if found in known.values()) == sorted(known.values())
        theirs.sendall(b"alive")
        assert ours.recv(5) == b"alive"
        assert listening.getsockname()
        assert udp.getpeername()[1] == silent.port


def test_nothing_happens_where_it_cannot(silent: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    workers = Workers()
    finder = NoDelay(workers)
    watch = finder.watch(silent.port)
    with dialled(silent.port) as each:
        watch.end()
        assert not no_delay(each)
