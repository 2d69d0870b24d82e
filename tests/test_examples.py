"""The examples run as they are printed, against the local endpoint started from its own command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
START_SECONDS = 20


@dataclass(frozen=True)
class Served:
    environment: dict[str, str]
    ready: dict[str, object]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    work = tmp_path_factory.mktemp("served")
    ready_file = work / "ready.json"
    command = [
        *(sys.executable, "-m", "iot_customauth_client.cli.main", "local", "--config", "examples/local.toml"),
        *("--port", "0", "--cert-dir", str(work / "certificates"), "--ready-file", str(ready_file)),
    ]
    with (work / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready_file.exists():
            assert process.poll() is None, (work / "log").read_text()
            assert time.monotonic() < deadline, "the local endpoint did not start"
            time.sleep(0.05)
        ready = json.loads(ready_file.read_text())
        environment = {
            **os.environ,
            "IOT_CUSTOMAUTH_ENDPOINT": "localhost",
            "IOT_CUSTOMAUTH_PORT": str(ready["port"]),
            "IOT_CUSTOMAUTH_CA_FILE": str(ready["ca_file"]),
        }
        yield Served(environment, ready)
    finally:
        process.terminate()
        assert process.wait(timeout=15) == 0
    assert not ready_file.exists()


def run_pubsub(file: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return run_example("pubsub.py", file, environment=environment)


def run_example(name: str, *arguments: str | Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, f"examples/{name}", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=40,
    )


def test_pubsub_receives_its_three_messages(served: Served) -> None:
    done = run_pubsub(Path("examples/device.toml"), served.environment)
    assert done.returncode == 0, done.stderr
    received = [line for line in done.stdout.splitlines() if line.startswith("received")]
    assert received == [f"received on my-topic: {{'counter': {counter}}}" for counter in range(3)]
    assert done.stderr == ""


def test_pubsub_reaches_the_real_endpoint_name_through_the_port_as_its_proxy(served: Served) -> None:
    environment = {name: value for name, value in served.environment.items() if name != "IOT_CUSTOMAUTH_ENDPOINT"}
    environment["IOT_CUSTOMAUTH_PORT"] = "443"
    environment["IOT_CUSTOMAUTH_HTTP_PROXY"] = f"http://127.0.0.1:{served.ready['port']}"
    done = run_pubsub(Path("examples/device.toml"), environment)
    assert done.returncode == 0, done.stderr
    assert "connected to xxxxxxxxxxxx-ats.iot.ap-northeast-1.amazonaws.com:443" in done.stdout


def test_pubsub_with_a_wrong_password_ends_with_the_reason_and_shows_no_secret(served: Served, tmp_path: Path) -> None:
    text = (ROOT / "examples/device.toml").read_text().replace("pass01", "wrong-secret-01")
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    done = run_pubsub(file, served.environment)
    assert done.returncode == 1
    assert "the endpoint refused the connection: reason code 135, not authorized" in done.stderr
    assert "wrong user name, password or token" in done.stderr
    assert "wrong-secret-01" not in done.stdout + done.stderr
    assert "user01" not in done.stdout + done.stderr


def test_the_gateway_hears_all_reports_of_its_devices(served: Served) -> None:
    done = run_example("gateway.py", "examples/device.toml", "2", environment=served.environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    reports = {line for line in done.stdout.splitlines() if line.startswith("report")}
    assert reports == {f"report {number} of {device}" for number in (0, 1) for device in ("boiler", "meter", "window")}
    assert "sent and acknowledged: 6" in done.stdout


def test_the_sensor_keeps_what_it_could_not_deliver_for_its_next_start(served: Served, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox.db"
    nowhere = {**served.environment, "IOT_CUSTOMAUTH_PORT": "1"}
    with subprocess.Popen(
        [sys.executable, "examples/sensor_outbox.py", "examples/device.toml", str(outbox)],
        cwd=ROOT,
        env=nowhere,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as sensor:
        try:
            assert sensor.stdout is not None
            for line in sensor.stdout:
                if line == "stored reading 1\n":
                    sensor.terminate()
            assert sensor.wait(START_SECONDS) == -signal.SIGTERM
        finally:
            sensor.kill()
    done = run_example("sensor_outbox.py", "examples/device.toml", outbox, "1", environment=served.environment)
    assert done.returncode == 0, done.stderr
    assert "3 readings delivered, 0 are kept for the next start" in done.stdout


def test_the_monitor_sees_a_device_come_and_go_and_one_that_may_not() -> None:
    done = run_example("watch_lifecycle.py", environment={**os.environ})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "subscribed monitor ['$aws/events/#']",
        "connected boiler",
        "subscribed boiler ['boiler/commands']",
        "disconnected boiler CLIENT_INITIATED_DISCONNECT",
        "connect_failed toaster AUTHORIZATION_FAILED",
    ]


@pytest.mark.parametrize(
    ("name", "arguments", "first_words"),
    [
        ("pubsub.py", [], "connected"),
        ("gateway.py", ["500"], "connected"),
        ("sensor_outbox.py", ["outbox.db"], "stored"),
    ],
)
def test_ctrl_c_ends_an_example_without_a_traceback(
    name: str, arguments: list[str], first_words: str, served: Served, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, ROOT / "examples" / name, ROOT / "examples/device.toml", *arguments],
        cwd=tmp_path,
        env={**served.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as example:
        try:
            assert example.stdout is not None
            assert any(line.startswith(first_words) for line in example.stdout)
            example.send_signal(signal.SIGINT)
            _, complaints = example.communicate(timeout=START_SECONDS)
        finally:
            example.kill()
    assert complaints == ""
    assert example.returncode == 130
