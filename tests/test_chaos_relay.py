"""The relay of the chaos run does to a connection what it says, and nothing else, on real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from bench.chaos.relay import Network, Relay, reserved

WAIT = 10.0
SILENCE = 0.3


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                while data := connection.recv(65_536):
                    connection.sendall(data)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relay(echo: int) -> Iterator[Relay]:
    with Network() as network:
        yield network.relay_to("127.0.0.1", echo)


def dial(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), WAIT)


def echoes(connection: socket.socket, data: bytes = b"hello") -> bool:
    connection.sendall(data)
    return receives(connection, data)


def receives(connection: socket.socket, data: bytes) -> bool:
    got = b""
    while len(got) < len(data):
        got += connection.recv(65_536)
    return got == data


def is_silent(connection: socket.socket) -> bool:
    connection.settimeout(SILENCE)
    try:
        return not connection.recv(1) and False
    except TimeoutError:
        return True
    finally:
        connection.settimeout(WAIT)


def test_what_is_sent_passes_both_ways_whole(relay: Relay) -> None:
    with dial(relay) as connection:
        assert echoes(connection, bytes(range(256)) * 200)


def test_a_reset_reaches_the_device_as_a_reset_and_the_next_connection_is_good(relay: Relay) -> None:
    with dial(relay) as connection:
        assert echoes(connection)
        relay.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with dial(relay) as connection:
        assert echoes(connection)


def test_a_frozen_connection_passes_nothing_and_tells_nobody_and_new_ones_are_good(relay: Relay) -> None:
    with dial(relay) as connection:
        assert echoes(connection)
        relay.freeze()
        connection.sendall(b"into the void")
        assert is_silent(connection)
        with dial(relay) as other:
            assert echoes(other)
        relay.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_answers_that_are_kept_back_come_later_and_whole(relay: Relay) -> None:
    with dial(relay) as connection:
        assert echoes(connection)
        relay.hold_answers()
        connection.sendall(b"one")
        connection.sendall(b"two")
        assert is_silent(connection)
        relay.release()
        assert receives(connection, b"onetwo")


def test_a_service_that_is_away_resets_refuses_keeps_its_port_and_comes_back(relay: Relay) -> None:
    with dial(relay) as connection:
        assert echoes(connection)
        relay.leave()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionRefusedError):
        dial(relay)
    relay.come_back()
    with dial(relay) as connection:
        assert echoes(connection)


def test_a_reserved_port_refuses_connections() -> None:
    with reserved(0) as one, pytest.raises(ConnectionRefusedError):
        socket.create_connection(one.getsockname(), WAIT)
