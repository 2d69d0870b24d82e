"""Mosquitto both ways: its command line clients against the local endpoint, and our client against its broker.

The broker shows that nothing in our client depends on the local endpoint: plain MQTT over TLS, without ALPN.
"""

from __future__ import annotations

import os
import queue
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from client_support import BOTH, REFERENCE_AUTHORIZER, REFERENCE_FILE, WAIT, States, check_error, failure

from iot_customauth_client import (
    AuthenticationRefused,
    ConnectionSettings,
    Credentials,
    Message,
    State,
    connect,
)
from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events

pytest_plugins = ("client_support",)


def find(name: str) -> str | None:
    """A program by name, also where a user's PATH does not look."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


MOSQUITTO, PUB, SUB = find("mosquitto"), find("mosquitto_pub"), find("mosquitto_sub")
needs_clients = pytest.mark.skipif(PUB is None or SUB is None, reason="needs the package mosquitto-clients")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="needs the package mosquitto")
VERSIONS = pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])

# -- its clients, against the endpoint --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference() -> Iterator[LocalEndpoint]:
    """An endpoint with the authorizer of the reference flow."""
    with LocalEndpoint({REFERENCE_AUTHORIZER: LocalAuthorizer(REFERENCE_FILE, signing_disabled=True)}) as endpoint:
        yield endpoint


def arguments(endpoint: LocalEndpoint, version: str, password: str = "pass01") -> list[str]:
    return [
        *("-h", "localhost", "-p", str(endpoint.port), "--cafile", str(endpoint.ca_file), "--tls-alpn", "mqtt"),
        *("-V", version, "-i", "client_id", "-q", "1", "-t", "my-topic"),
        *("-u", f"user01?x-amz-customauthorizer-name={REFERENCE_AUTHORIZER}", "-P", password),
    ]


@needs_clients
@VERSIONS
def test_mosquitto_sub_receives_what_the_cloud_publishes(reference: LocalEndpoint, version: str) -> None:
    before = reference.events.last_sequence
    assert SUB is not None
    with subprocess.Popen(
        [SUB, *arguments(reference, version), "-C", "3"], stdout=subprocess.PIPE, text=True
    ) as subscriber:
        reference.wait_for(events.Subscribed, after=before, reason_codes=(1,), timeout=WAIT)
        for number in range(3):
            reference.publish("my-topic", f'{{"counter": {number}}}', qos=1)
        output, _ = subscriber.communicate(timeout=WAIT)
    assert output.splitlines() == [f'{{"counter": {number}}}' for number in range(3)]
    assert subscriber.returncode == 0
    reference.wait_for(events.Disconnected, after=before, timeout=WAIT)


@needs_clients
@VERSIONS
def test_mosquitto_pub_publishes(reference: LocalEndpoint, version: str) -> None:
    before = reference.events.last_sequence
    assert PUB is not None
    subprocess.run([PUB, *arguments(reference, version), "-m", "hello"], check=True, timeout=WAIT)
    published = reference.wait_for(events.Published, after=before, timeout=WAIT)
    assert (published.topic, published.payload, published.qos) == ("my-topic", b"hello", 1)
    reference.wait_for(events.Disconnected, after=before, timeout=WAIT)


@needs_clients
@VERSIONS
def test_mosquitto_pub_is_refused_with_a_wrong_password(reference: LocalEndpoint, version: str) -> None:
    before = reference.events.last_sequence
    assert PUB is not None
    done = subprocess.run(
        [PUB, *arguments(reference, version, "wrong"), "-m", "hello"],
        check=False,
        timeout=WAIT,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    refused = reference.wait_for(events.Refused, after=before, timeout=WAIT)
    assert refused.reason_code == (135 if version == "mqttv5" else None)
    assert not [event for event in reference.events.since(before) if event.kind == "published"]


# -- our client, against its broker -----------------------------------------------------------------------------------


class Broker:
    """A mosquitto with one TLS listener, which takes `user01` with `pass01`."""

    def __init__(self, directory: Path, authority: trustme.CA) -> None:
        assert MOSQUITTO is not None
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(str(directory / "key.pem"))
        for number, part in enumerate(certificate.cert_chain_pems):
            part.write_to_path(str(directory / "cert.pem"), append=number > 0)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        (directory / "passwords").write_text("")
        subprocess.run(
            [find("mosquitto_passwd") or "mosquitto_passwd", "-b", str(directory / "passwords"), "user01", "pass01"],
            check=True,
            timeout=WAIT,
            capture_output=True,
        )
        (directory / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\n"
            f"certfile {directory / 'cert.pem'}\n"
            f"keyfile {directory / 'key.pem'}\n"
            f"password_file {directory / 'passwords'}\n"
            "allow_anonymous false\n"
            "log_dest stderr\n"
            "log_type all\n"
            f"{'user root' if os.geteuid() == 0 else ''}\n"
        )
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(directory / "mosquitto.conf")], stderr=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for("running")

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.put(line)

    def wait_for(self, text: str) -> None:
        """Wait until it logs something."""
        told = []
        try:
            while text not in (line := self._lines.get(timeout=WAIT)):
                told.append(line)
        except queue.Empty:
            raise AssertionError(f"mosquitto never said {text!r}: {told}") from None

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(WAIT)
        self._reader.join(WAIT)
        assert self._process.stderr is not None
        self._process.stderr.close()


@pytest.fixture
def broker(tmp_path: Path, authority: trustme.CA) -> Iterator[Broker]:
    broker = Broker(tmp_path, authority)
    yield broker
    broker.stop()


def settings_of(broker: Broker, authority_file: Path, client_id: str, protocol: str, **more: Any) -> ConnectionSettings:
    return ConnectionSettings(
        endpoint="localhost",
        port=broker.port,
        ca_file=authority_file,
        client_id=client_id,
        protocol=protocol,  # type: ignore[arg-type]
        alpn=None,
        **more,
    )


PLAIN = Credentials.from_password("user01", "pass01")


@needs_broker
@BOTH
def test_our_client_works_with_another_makers_broker(
    protocol: str, broker: Broker, authority_file: Path, client_id: str
) -> None:
    received: list[int] = []
    complete = threading.Event()

    def handler(message: Message) -> None:
        received.append(message.json())
        if len(received) == 500:
            complete.set()

    with connect(
        settings_of(broker, authority_file, client_id, protocol), credentials=PLAIN, timeout=WAIT
    ) as connection:
        with connection.subscribe("a/+", handler):
            futures = [connection.publish("a/b", json=number) for number in range(500)]
            assert {future.result(WAIT).attempts for future in futures} == {1}
            assert complete.wait(WAIT)
        assert received == list(range(500))
        with connection.subscribe("qos0", qos=0) as messages:
            connection.publish("qos0", b"x", qos=0).result(WAIT)
            assert messages.get(WAIT).payload == b"x"
    broker.wait_for(f"Received DISCONNECT from {client_id}")


@needs_broker
@BOTH
def test_another_makers_broker_tells_its_refusal(
    protocol: str, broker: Broker, authority_file: Path, client_id: str
) -> None:
    # This one answers CONNACK with both protocols, so that both are a refusal.
    error = failure(
        AuthenticationRefused,
        connect,
        settings_of(broker, authority_file, client_id, protocol),
        credentials=Credentials.from_password("user01", "wrong"),
        timeout=WAIT,
    )
    check_error(error, code="authentication_refused", phase="connect")
    assert error.reason_code == (135 if protocol == "mqtt5" else None)


@needs_broker
@BOTH
def test_a_connection_waits_for_a_broker_that_is_stopped(
    protocol: str, broker: Broker, authority_file: Path, client_id: str
) -> None:
    states = States()
    settings = settings_of(broker, authority_file, client_id, protocol)
    with connect(settings, credentials=PLAIN, timeout=WAIT, on_state_change=states) as connection:
        broker.stop()
        check_error(states.wait_for(State.WAITING).error, phase="connected")
        connection.close(drain=False)
