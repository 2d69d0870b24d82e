"""Credentials from a watched file, from a command, from the environment."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from client_support import PASSWORD, check_error
from token_support import make_jwt

from iot_customauth_client import (
    ConfigurationError,
    Credentials,
    CredentialsRejected,
    CredentialsUnavailable,
    credential_sources,
)
from iot_customauth_client.files import read_table
from iot_customauth_client.runtime import runtime
from iot_customauth_client.shared_credentials import Lease, SharedCredentials

ROOT = Path(__file__).parent.parent
WAIT = 10.0


def ask(shared: SharedCredentials) -> Any:
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    shared.obtain(answers.put, clock=runtime().clock, runtime=runtime())
    return answers.get(timeout=WAIT)


def given(shared: SharedCredentials) -> Credentials:
    lease = ask(shared)
    assert isinstance(lease, Lease), lease
    return lease.credentials


def printing(text: str, status: int = 0) -> list[str]:
    return [sys.executable, "-c", f"import sys; sys.stdout.write({text!r}); sys.exit({status})"]


# -- a file -----------------------------------------------------------------------------------------------------------


def test_a_change_of_the_file_is_noticed_and_told(tmp_path: Path) -> None:
    file = tmp_path / "device.toml"
    file.write_text('[credentials]\nusername = "u"\npassword = "one"\n')
    shared = SharedCredentials.from_file(file, poll_seconds=0.01)
    renewed = threading.Event()
    shared.on_renew(renewed.set)
    assert given(shared) == Credentials.from_password("u", "one")
    file.write_text('[credentials]\nusername = "u"\npassword = "number two"\n')
    assert renewed.wait(WAIT)
    assert given(shared) == Credentials.from_password("u", "number two")


def test_a_change_of_a_file_that_it_names_is_noticed_too(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("one\n")
    file = tmp_path / "device.toml"
    file.write_text('[credentials]\nusername = "u"\npassword_file = "password"\n')
    shared = SharedCredentials.from_file(file, poll_seconds=0.01)
    renewed = threading.Event()
    shared.on_renew(renewed.set)
    assert given(shared) == Credentials.from_password("u", "one")
    newer = tmp_path / "newer"
    newer.write_text("number two\n")
    newer.replace(tmp_path / "password")
    assert renewed.wait(WAIT)
    assert given(shared) == Credentials.from_password("u", "number two")


def test_a_file_that_is_replaced_while_it_is_read_counts_as_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "device.toml"
    file.write_text('[credentials]\nusername = "u"\npassword = "one"\n')
    newer = tmp_path / "newer.toml"
    newer.write_text('[credentials]\nusername = "u"\npassword = "number two"\n')

    def read(path: Path, name: str) -> dict[str, Any]:
        table = read_table(path, name)
        if newer.exists():
            newer.replace(file)
        return table

    monkeypatch.setattr(credential_sources, "read_table", read)
    shared = SharedCredentials.from_file(file, poll_seconds=0.01)
    renewed = threading.Event()
    shared.on_renew(renewed.set)
    assert given(shared) == Credentials.from_password("u", "one")
    assert renewed.wait(WAIT)
    assert given(shared) == Credentials.from_password("u", "number two")


def test_a_file_that_is_missing_is_unavailable_and_not_the_end(tmp_path: Path) -> None:
    shared = SharedCredentials.from_file(tmp_path / "missing.toml", poll_seconds=0.01)
    told = ask(shared)
    assert type(told) is CredentialsUnavailable
    assert isinstance(told.__cause__, ConfigurationError)


def test_the_watch_ends_when_nobody_uses_it(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    shared = SharedCredentials.from_file(tmp_path / "device.toml", poll_seconds=0.01)
    (watcher,) = (each for each in set(threading.enumerate()) - before if "file-watch" in each.name)
    del shared
    watcher.join(WAIT)
    assert not watcher.is_alive()


def test_a_jwt_in_a_file_of_its_own(tmp_path: Path) -> None:
    encoded = make_jwt({"sub": "device"})
    (tmp_path / "token.jwt").write_text(encoded + "\n")
    file = tmp_path / "device.toml"
    file.write_text('[credentials]\njwt_file = "token.jwt"\ntoken_key_name = "token"\n')
    expected = Credentials.from_jwt(encoded, token_key_name="token")
    assert given(SharedCredentials.from_file(file)) == expected
    assert Credentials.load(file) == expected


# -- a command --------------------------------------------------------------------------------------------------------


def test_a_command_prints_one_json_object() -> None:
    text = json.dumps({"username": "u", "password": PASSWORD, "expires_in_seconds": 60})
    credentials = given(SharedCredentials.from_command(printing(text)))
    assert (credentials.username, credentials.password.get_secret_value()) == ("u", PASSWORD.encode())
    assert credentials.expires_at is not None


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (printing("", 3), "status 3"),
        (printing(PASSWORD), "JSON object"),
        (printing(f'["{PASSWORD}"]'), "JSON object"),
        (printing("x" * 70_000), "more than 65536 bytes"),
        (["no-such-command-anywhere"], "cannot run"),
        (printing(json.dumps({"usrname": PASSWORD})), "usrname"),
    ],
)
def test_what_a_command_can_do_wrong(command: list[str], says: str) -> None:
    told = ask(SharedCredentials.from_command(command))
    assert type(told) is CredentialsUnavailable
    assert says in told.message
    check_error(told)


def test_status_77_means_that_there_are_none_any_more() -> None:
    assert type(ask(SharedCredentials.from_command(printing("", 77)))) is CredentialsRejected


def test_a_command_that_hangs_is_ended_with_all_that_it_started() -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)"
    hangs = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    for command in (
        hangs,
        [sys.executable, "-c", script.replace("input()", "import threading as t; t.Event().wait()")],
    ):
        check_error(ask(SharedCredentials.from_command(command, timeout_seconds=0.3)), code="credentials_timeout")


def test_a_command_under_way_ends_with_the_program(tmp_path: Path) -> None:
    command = "import pathlib, threading; pathlib.Path('started').touch(); threading.Event().wait()"
    program = f"""
import pathlib, sys, time
from iot_customauth_client.runtime import runtime
from iot_customauth_client import SharedCredentials

shared = SharedCredentials.from_command([sys.executable, "-c", {command!r}])
shared.obtain(print, clock=runtime().clock, runtime=runtime())
while not pathlib.Path("started").exists():
    time.sleep(0.01)
"""
    # The command has the program's error output: its end is seen only when nobody holds that any more.
    paths = os.pathsep.join(path for path in (str(ROOT), os.environ.get("PYTHONPATH")) if path)
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        timeout=20,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("command", ["get-token --now", [], [1, 2]])
def test_a_command_is_a_list_of_texts(command: Any) -> None:
    with pytest.raises(ConfigurationError, match="list of texts"):
        SharedCredentials.from_command(command)


# -- the environment --------------------------------------------------------------------------------------------------


def test_the_environment_is_read_anew_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shared = SharedCredentials.from_environment()
    assert type(ask(shared)) is CredentialsUnavailable
    (tmp_path / "password").write_text("secret\n")
    monkeypatch.setenv("IOT_CREDENTIALS_USERNAME", "u")
    monkeypatch.setenv("IOT_CREDENTIALS_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv("IOT_CREDENTIALS_EXPIRES_IN_SECONDS", "60")
    shared.renew()
    credentials = given(shared)
    assert credentials.username == "u"
    assert credentials.password is not None
    assert credentials.password.get_secret_value() == b"secret"
    assert credentials.expires_at is not None
