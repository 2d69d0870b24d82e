"""Authorizers that are commands: what they read and print, how they fail, and that nothing of them stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from iot_customauth_client.authorizer.event import build_event
from iot_customauth_client.errors import ConfigurationError
from iot_customauth_client.local import LocalAuthorizer
from iot_customauth_client.local.authorizer_calls import Answer, AuthorizerCalls
from iot_customauth_client.local.authorizer_files import OutsideFunction
from iot_customauth_client.local.command import Command
from iot_customauth_client.local.lambda_context import LambdaContext
from iot_customauth_client.local.outside_call import MAX_ANSWER_BYTES
from iot_customauth_client.local.redaction import scrub

EVENT = build_event(connection_id="id", signature_verified=False, username="u", password=b"pass01", client_id="c")
READS_ALL = "import json, sys; event = json.load(sys.stdin);"


def python(code: str) -> Command:
    return Command.of([sys.executable, "-S", "-E", "-c", code])


def ask(command: Command, *, timeout_seconds: float = 5, event: object = EVENT) -> Answer:
    """Have the command run as the endpoint does; waits until no thread is left of it."""

    async def run() -> Answer:
        loop = asyncio.get_running_loop()
        calls = AuthorizerCalls(OutsideFunction(command), loop, timeout_seconds=timeout_seconds, scrub=scrub)
        answer: asyncio.Future[Answer] = loop.create_future()
        context = LambdaContext("f", region="eu-central-1", account="1", timeout_seconds=timeout_seconds)
        calls.call(event, context, answer.set_result)  # type: ignore[arg-type]
        await answer
        async with asyncio.timeout(5):
            while calls.abandoned:  # noqa: ASYNC110  # nobody is told of it, and that is right
                await asyncio.sleep(0.005)
        return answer.result()

    return asyncio.run(run())


def is_alive(number: int) -> bool:
    """Whether a process of that number runs; a zombie does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def no_zombie_is_left() -> bool:
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return True


def test_the_event_is_read_and_the_result_printed() -> None:
    answer = ask(python(READS_ALL + "print(json.dumps({'seen': event}))"))
    assert (answer.outcome, answer.explanation) == ("answered", "")
    assert answer.result == {"seen": EVENT}


def test_an_event_larger_than_a_pipe_arrives_whole() -> None:
    event = {"protocolData": {"mqtt": {"username": "u" * 400_000}}}
    code = READS_ALL + "print(json.dumps(len(event['protocolData']['mqtt']['username'])))"
    assert ask(python(code), event=event).result == 400_000


def test_a_command_need_not_read_its_event() -> None:
    event = {"protocolData": {"mqtt": {"username": "u" * 400_000}}}
    assert ask(python("print('[1]')"), event=event).result == [1]


def test_a_command_runs_in_its_directory(tmp_path: Path) -> None:
    (tmp_path / "authorizer.py").write_text("import os; print('\"' + os.getcwd() + '\"')")
    assert ask(Command.of([sys.executable, "authorizer.py"], tmp_path)).result == str(tmp_path)


def test_what_it_prints_to_stderr_is_the_endpoints_own(capfd: pytest.CaptureFixture[str]) -> None:
    ask(python("import sys; print('hello from the command', file=sys.stderr); print(1)"))
    assert capfd.readouterr().err == "hello from the command\n"


@pytest.mark.parametrize(
    ("code", "outcome", "told"),
    [
        ("raise SystemExit(3)", "failed", "ended with exit code 3"),
        ("print('{}'); raise SystemExit(1)", "failed", "ended with exit code 1"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "failed", "was ended by SIGTERM"),
        ("pass", "invalid", "is empty"),
        ("print('debug'); print('{}')", "invalid", "print all else to stderr"),
        (f"print('x' * {MAX_ANSWER_BYTES + 1})", "invalid", "more than 1,048,576 bytes"),
        ("import itertools; [print('x' * 65536) for _ in itertools.count()]", "invalid", "more than 1,048,576 bytes"),
    ],
)
def test_what_goes_wrong_is_told(code: str, outcome: str, told: str) -> None:
    answer = ask(python(code))
    assert answer.outcome == outcome
    assert told in answer.explanation
    assert no_zombie_is_left()


def test_a_program_that_is_gone_is_told(tmp_path: Path) -> None:
    assert "there is no program" in ask(Command.of([str(tmp_path / "gone")])).explanation
    assert "does not exist" in ask(Command.of(["cat"], tmp_path / "gone")).explanation
    assert "on PATH: is it installed?" in ask(Command.of(["no-such-program"])).explanation
    (tmp_path / "text").write_text("")
    assert "chmod +x" in ask(Command.of(["./text"], tmp_path)).explanation


SLEEPS_WITH_A_CHILD = """
import os, sys, time
child = os.fork()
if child:
    open(sys.argv[1] + ".tmp", "w").write(f"{os.getpid()} {child}")
    os.rename(sys.argv[1] + ".tmp", sys.argv[1])
time.sleep(60)
"""


def wait_for_numbers(file: Path) -> list[int]:
    deadline = time.monotonic() + 5
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return [int(each) for each in file.read_text().split()]


def test_the_whole_process_group_is_killed_at_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "numbers"
    command = Command.of([sys.executable, "-S", "-E", "-c", SLEEPS_WITH_A_CHILD, str(file)])
    answer = ask(command, timeout_seconds=1)
    assert answer.outcome == "timed_out"
    for number in wait_for_numbers(file):
        deadline = time.monotonic() + 5
        while is_alive(number):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert no_zombie_is_left()


def test_a_command_that_closes_its_stdout_and_runs_on_is_killed() -> None:
    answer = ask(python("import os, time; print('{}', flush=True); os.close(1); time.sleep(60)"), timeout_seconds=0.3)
    assert answer.outcome == "timed_out"
    assert no_zombie_is_left()


def test_a_stranger_that_holds_stdout_open_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "numbers"
    code = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    open(sys.argv[1] + ".tmp", "w").write(str(os.getpid()))
    os.rename(sys.argv[1] + ".tmp", sys.argv[1])
    time.sleep(60)
"""
    answer = ask(Command.of([sys.executable, "-S", "-E", "-c", code, str(file)]), timeout_seconds=0.3)
    assert answer.outcome == "timed_out"
    for number in wait_for_numbers(file):  # it has left the group: it is not the endpoint's to kill
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def test_a_command_still_running_when_the_endpoint_stops_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "numbers"
    command = Command.of([sys.executable, "-S", "-E", "-c", SLEEPS_WITH_A_CHILD, str(file)])

    async def run() -> list[threading.Thread]:
        calls = AuthorizerCalls(OutsideFunction(command), asyncio.get_running_loop(), scrub=scrub)
        calls.call(EVENT, LambdaContext("f", region="", account="", timeout_seconds=5), lambda answer: None)
        await asyncio.to_thread(wait_for_numbers, file)
        return calls.close()

    for thread in asyncio.run(run()):
        thread.join(2)
        assert not thread.is_alive()
    assert not any(is_alive(number) for number in wait_for_numbers(file)[:1])
    assert no_zombie_is_left()


@pytest.mark.parametrize("given", ["node authorizer.js", [], [""], ["a", 1], ["a\0b"], b"node"])
def test_what_is_no_command_is_refused(given: object) -> None:
    with pytest.raises(ConfigurationError, match="command"):
        LocalAuthorizer(command=given, signing_disabled=True)  # type: ignore[arg-type]


def test_a_command_and_a_url_may_stand_in_the_place_of_a_function_or_be_named() -> None:
    url = "http://127.0.0.1:3001/2015-03-31/functions/authorizer/invocations"
    for authorizer in (
        LocalAuthorizer(["cat"], signing_disabled=True),
        LocalAuthorizer(command=("cat",), signing_disabled=True),
    ):
        assert authorizer.target == Command(("cat",))
        assert authorizer.function_name == "cat"
    for authorizer in (LocalAuthorizer(url, signing_disabled=True), LocalAuthorizer(url=url, signing_disabled=True)):
        assert str(authorizer.target) == url
        assert authorizer.function_name == "authorizer"
    for wrong in (
        {},
        {"function": "a.py", "url": url},
        {"url": "a.py"},
        {"function": "a.py", "working_directory": Path()},
    ):
        with pytest.raises(ConfigurationError):
            LocalAuthorizer(**wrong, signing_disabled=True)  # type: ignore[arg-type]


def test_the_result_is_json_text_of_any_length_below_the_bound() -> None:
    answer = ask(python("import json; print(json.dumps('x' * 900_000))"))
    assert answer.result == "x" * 900_000
    assert json.dumps(answer.result)
