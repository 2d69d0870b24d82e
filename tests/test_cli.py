"""The command as a process: what it prints, what it leaves behind, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from iot_customauth_client.local.codec import ConnAck, Connect, Decoder, Version, encode

ROOT = Path(__file__).parent.parent
PASSWORD = ROOT / "examples" / "authorizers" / "password.py"
NAME = "custom_auth_mqtt_2021_08_21"
COMMAND = [sys.executable, "-m", "iot_customauth_client.cli.main"]


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=30, cwd=ROOT, **options)


class Serving:
    """A running `iot-customauth local`."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.ready_file = directory / "ready.json"
        self.stdout, self.stderr = directory / "stdout", directory / "stderr"
        with self.stdout.open("wb") as stdout, self.stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*COMMAND, "local", "--port", "0", "--ready-file", str(self.ready_file), *arguments],
                stdout=stdout,
                stderr=stderr,
                cwd=ROOT,
            )
        deadline = time.monotonic() + 20
        while not self.ready_file.exists():
            assert self.process.poll() is None, self.stderr.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.ready: dict[str, Any] = json.loads(self.ready_file.read_text())

    def connect(self, password: bytes = b"pass01", name: str = NAME) -> ConnAck | None:
        with self.dial() as tls:
            username = f"user01?x-amz-customauthorizer-name={name}"
            packet = Connect(Version.MQTT5, "client_id", username=username, password=password)
            tls.sendall(encode(packet, Version.MQTT5))
            answer = tls.recv(65536)
            packets = Decoder(version=Version.MQTT5).feed(answer)
            return packets[0] if packets and isinstance(packets[0], ConnAck) else None

    def dial(self, server_name: str = "localhost") -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self.ready["ca_file"])
        context.set_alpn_protocols(["mqtt"])
        raw = socket.create_connection((self.ready["host"], self.ready["port"]), timeout=10)
        return context.wrap_socket(raw, server_hostname=server_name)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(15)

    def stop(self) -> None:
        """See to it that it has ended, in good order if it can: one that is killed leaves its temporary directory."""
        if self.process.poll() is None:
            try:
                self.end()
            finally:
                self.process.kill()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Serving:
            serving = Serving(tmp_path, *arguments)
            stack.callback(serving.stop)
            return serving

        yield start


def test_it_says_when_it_is_ready_and_ends_on_sigterm(serve: Callable[..., Serving], tmp_path: Path) -> None:
    serving = serve("--authorizer", f"{NAME}={PASSWORD}", "--cert-dir", str(tmp_path / "certificates"))
    assert set(serving.ready) == {"host", "port", "ca_file", "pid"}
    assert serving.ready["pid"] == serving.process.pid
    assert Path(serving.ready["ca_file"]) == tmp_path / "certificates" / "ca.pem"
    answer = serving.connect()
    assert answer is not None
    assert answer.reason_code == 0
    assert serving.end() == 0
    assert not serving.ready_file.exists()
    assert serving.stderr.read_text() == ""
    told = serving.stdout.read_text()
    for expected in (
        f"local endpoint on 127.0.0.1:{serving.ready['port']}",
        serving.ready["ca_file"],
        f"x-amz-customauthorizer-name={NAME}",
        "accepted client id client_id",  # what the function printed
        "connected mqtt5 client id `client_id`",
        "stopped",
    ):
        assert expected in told
    assert "pass01" not in told
    assert "user01" not in told


def test_domain_configurations_of_the_file_are_served_and_listed(serve: Callable[..., Serving], tmp_path: Path) -> None:
    file = tmp_path / "local.toml"
    file.write_text(
        f'[authorizers.a]\nfunction = "{PASSWORD}"\nsigning_disabled = true\n'
        '[domains.devices]\ndomain_name = "devices.example.com"\ndefault_authorizer = "a"\n'
        'allow_authorizer_override = false\nauthentication_type = "CUSTOM_AUTH"\n'
        'application_protocol = "SECURE_MQTT"\n'
    )
    serving = serve("--config", str(file))
    with serving.dial("devices.example.com") as tls:
        packet = Connect(Version.MQTT311, "client_id", username="user01", password=b"pass01")
        tls.sendall(encode(packet, Version.MQTT311))
        assert tls.recv(4) == b"\x20\x02\x00\x00"
    assert serving.end() == 0
    told = serving.stdout.read_text()
    assert "domains      devices (devices.example.com, SECURE_MQTT)" in told
    assert "ALPN mqtt, domain configuration devices" in told


def test_the_line_to_try_leads_to_the_endpoint_whatever_names_and_paths_it_has(
    serve: Callable[..., Serving], tmp_path: Path
) -> None:
    names = ["--hostname", "*.iot.example", "--hostname", "xxxxxxxxxxxx-ats.iot.eu-central-1.amazonaws.com"]
    serving = serve(
        *names,
        "--hostname",
        "localhost",
        "--authorizer",
        f"{NAME}={PASSWORD}",
        "--cert-dir",
        str(tmp_path / "my certs"),
    )
    assert serving.end() == 0
    told = serving.stdout.read_text()
    assert "connect with host name localhost, port" in told
    (line,) = (line for line in told.splitlines() if line.startswith("try it: "))
    words = shlex.split(line)
    given = dict(pairwise(words))
    assert (given["-h"], given["-p"]) == ("localhost", str(serving.ready["port"]))
    assert given["--cafile"] == serving.ready["ca_file"]
    assert given["-u"] == f"USER?x-amz-customauthorizer-name={NAME}"


def test_with_json_there_is_nothing_but_json_on_stdout(serve: Callable[..., Serving]) -> None:
    serving = serve("--authorizer", f"{NAME}={PASSWORD}", "--log-format", "json")
    answer = serving.connect(b"wrong")
    assert answer is not None
    assert answer.reason_code == 135
    assert serving.end(signal.SIGINT) == 0
    told = [json.loads(line) for line in serving.stdout.read_text().splitlines()]
    assert [each["sequence"] for each in told] == list(range(1, len(told) + 1))
    assert told[0]["kind"] == "listening"
    assert told[-1]["kind"] == "stopped"
    assert "not_authenticated" in [each.get("cause") for each in told]
    assert "refused client id client_id" in serving.stderr.read_text()  # what the function printed


HANDS_ITS_OWN_THREAD_A_SIGNAL = """
import signal, threading
def lambda_handler(event, context):
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    return {"isAuthenticated": False}
"""


def test_a_signal_that_the_system_hands_to_another_thread_ends_it_as_well(
    serve: Callable[..., Serving], tmp_path: Path
) -> None:
    file = tmp_path / "signals.py"
    file.write_text(HANDS_ITS_OWN_THREAD_A_SIGNAL)
    serving = serve("--authorizer", f"signals={file}")
    serving.connect(name="signals")
    assert serving.process.wait(15) == 0
    assert not serving.ready_file.exists()


def test_the_choices_of_the_file_are_the_endpoints(serve: Callable[..., Serving], tmp_path: Path) -> None:
    file = tmp_path / "local.toml"
    file.write_text("[choices]\nrefused_connect_mqtt5 = 134\n")
    answer = serve("--config", str(file), "--authorizer", f"{NAME}={PASSWORD}").connect(b"wrong", name="unknown")
    assert answer is not None
    assert answer.reason_code == 134


def test_secrets_are_printed_on_request_only(serve: Callable[..., Serving]) -> None:
    serving = serve("--config", "examples/local.toml", "--show-secrets")
    serving.connect()
    assert serving.end() == 0
    assert "cGFzczAx" in serving.stdout.read_text()


def test_sigterm_ends_it_cleanly_while_functions_are_stuck(serve: Callable[..., Serving], tmp_path: Path) -> None:
    authorizer = tmp_path / "stuck.py"
    authorizer.write_text(
        "import threading, pathlib\n"
        "def lambda_handler(event, context):\n"
        f"    pathlib.Path({str(tmp_path / 'called')!r}).touch()\n"
        "    threading.Event().wait()\n"
        "def printing(event, context):\n"
        "    while True:\n"
        "        try:\n"
        "            while True: print('x' * 1000)\n"
        "        except BaseException: pass\n"
    )
    serving = serve("--authorizer", f"stuck={authorizer}", "--authorizer", f"printing={authorizer}:printing")
    with serving.dial() as one, serving.dial() as two:
        for tls, name in ((one, "stuck"), (two, "printing")):
            packet = Connect(Version.MQTT5, name, username=f"?x-amz-customauthorizer-name={name}")
            tls.sendall(encode(packet, Version.MQTT5))
        deadline = time.monotonic() + 10
        while not (tmp_path / "called").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert serving.end() == 0
    assert serving.stderr.read_text() == ""


def test_a_ready_file_that_cannot_be_written_is_told_by_its_name(tmp_path: Path) -> None:
    done = run("local", "--port", "0", "--ready-file", str(tmp_path / "nowhere" / "ready.json"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"the ready file {tmp_path}/nowhere/ready.json cannot be written: No such file" in done.stderr


def test_a_reader_that_does_not_read_stops_nobody(tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    process = subprocess.Popen(
        [*COMMAND, "local", "--port", "0", "--ready-file", str(ready_file), "--log-format", "json"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        deadline = time.monotonic() + 20
        while not ready_file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        ready = json.loads(ready_file.read_text())
        for _ in range(600):  # several times what a pipe holds
            with socket.create_connection((ready["host"], ready["port"]), timeout=5) as raw:
                raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert raw.recv(12) == b"HTTP/1.1 400"
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()
        assert process.stdout is not None
        process.stdout.close()


def test_a_port_in_use_is_one_line_and_exit_code_2() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run("local", "--port", port, "--authorizer", f"a={PASSWORD}")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--authorizer", "a=nowhere.py"], "there is no file nowhere.py"),
        (["--authorizer", "a=http://127.0.0.1:3001/invoke"], "another path than an invocation"),
        (["--quotas", "on"], "quotas"),
        (["--authorizer", f"a b={PASSWORD}"], "authorizer name 'a b'"),
        (["--config", "nowhere.toml"], "cannot read nowhere.toml"),
        (["--default-authorizer", "a"], "default authorizer"),
        (["--port", "0", "--ready-file", "/nowhere/ready.json"], "/nowhere"),
        (["--port", "0", "--cert-dir", "/proc/nowhere"], "/proc/nowhere"),
        (["--hostname", "https://x"], "without scheme"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], named: str) -> None:
    done = run("local", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("iot-customauth local: ")
    assert done.stderr.count("\n") == 1
    assert named in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="port 443 needs root")
def test_port_443_can_be_served(serve: Callable[..., Serving]) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 443)) == 0:
            pytest.skip("something listens on port 443 here")
    serving = serve("--config", "examples/local.toml", "--port", "443")
    assert serving.ready["port"] == 443
    assert serving.connect() is not None
    assert serving.end() == 0


def test_help_and_version_load_nothing_of_the_endpoint() -> None:
    code = (
        "import sys\n"
        "from iot_customauth_client.cli.main import run\n"
        "sys.argv = ['iot-customauth', *sys.argv[1:]]\n"
        "try:\n    run()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print([m for m in ('awscrt', 'pydantic', 'asyncio', 'trustme', 'cryptography') if m in sys.modules])\n"
    )
    for argument in ("--help", "--version"):
        done = subprocess.run(
            [sys.executable, "-c", code, argument], capture_output=True, text=True, timeout=30, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]"
    done = run("local", "--help")
    for flag in ("--config", "--hostname", "--cert-dir", "--authorizer", "--ready-file", "--log-format", "--region"):
        assert flag in done.stdout
    said = " ".join(done.stdout.split())
    for default in ("127.0.0.1", "8443", "localhost", "a temporary one", "off", "text"):
        assert f"[default: {default}]" in said


def test_a_missing_extra_is_one_line_that_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None\nfrom iot_customauth_client.cli.main import run\nrun()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert 'pip install "iot-customauth-client[cli]"' in done.stderr
