"""Running authorizer functions: time limit, caps, what a function may do to the endpoint (nothing)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from iot_customauth_client.authorizer.event import build_event
from iot_customauth_client.local.authorizer_calls import Answer, AuthorizerCalls
from iot_customauth_client.local.authorizer_files import CallableSource
from iot_customauth_client.local.lambda_context import LambdaContext
from iot_customauth_client.local.outside_call import MAX_ANSWER_BYTES

EVENT = build_event(connection_id="id", signature_verified=False, username="u", password=b"p", client_id="c")


def context() -> LambdaContext:
    return LambdaContext("f", region="eu-central-1", account="123456789012", timeout_seconds=5)


class Calls:
    """Calls of one function, in a running loop."""

    def __init__(self, function: Callable[..., object], **limits: Any) -> None:
        limits.setdefault("scrub", lambda text, _: text)
        self.calls = AuthorizerCalls(CallableSource(function), asyncio.get_running_loop(), **limits)

    def start(self) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.calls.call(EVENT, context(), future.set_result)
        return future

    async def until(self, *, abandoned: int) -> None:
        async with asyncio.timeout(5):
            while self.calls.abandoned != abandoned:  # noqa: ASYNC110  # nobody is told of it, and that is right
                await asyncio.sleep(0.005)


def test_the_function_gets_the_event_and_a_context_as_lambda_gives_it() -> None:
    def function(event: dict[str, Any], context: LambdaContext) -> object:
        assert event == dict(EVENT)
        event["protocolData"]["mqtt"]["username"] = "changed"  # its own copy
        return [
            context.function_name,
            context.invoked_function_arn,
            len(context.aws_request_id),
            0 < context.get_remaining_time_in_millis() <= 5000,
            (1, 2),
        ]

    async def run() -> Answer:
        return await Calls(function).start()

    answer = asyncio.run(run())
    assert (answer.outcome, answer.explanation) == ("answered", "")
    assert answer.result == ["f", "arn:aws:lambda:eu-central-1:123456789012:function:f", 36, True, [1, 2]]
    assert EVENT["protocolData"]["mqtt"]["username"] == "u"


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), object(), b"bytes"], ids=["set", "nan", "object", "bytes"])
def test_what_is_not_json_is_no_answer(value: object) -> None:
    async def run() -> Answer:
        return await Calls(lambda event, context: value).start()

    assert asyncio.run(run()).outcome == "invalid"


class Unreadable(dict[str, object]):
    """A result that fails when somebody looks into it."""

    def items(self) -> Any:
        raise LookupError("no such row: p")


def test_a_result_that_raises_when_it_is_read_is_no_answer_and_the_reason_is_told_without_secrets() -> None:
    async def run() -> Answer:
        scrub = lambda text, _: text.replace(": p", ": <hidden>")  # noqa: E731
        return await Calls(lambda event, context: Unreadable(a=1), scrub=scrub).start()

    answer = asyncio.run(run())
    assert answer.outcome == "invalid"
    assert (
        answer.explanation == "what the function returned cannot be read: it raised LookupError: no such row: <hidden>"
    )


def test_a_result_is_bounded() -> None:
    async def run(length: int) -> Answer:
        return await Calls(lambda event, context: "x" * length).start()

    assert asyncio.run(run(MAX_ANSWER_BYTES - 2)).outcome == "answered"  # its two quotes
    answer = asyncio.run(run(MAX_ANSWER_BYTES - 1))
    assert (answer.outcome, "1,048,576 bytes" in answer.explanation) == ("invalid", True)


def test_an_error_is_told_in_short_and_its_traceback_begins_in_the_function(capsys: pytest.CaptureFixture[str]) -> None:
    def function(event: object, context: object) -> object:
        raise ValueError("x" * 1_000_000)

    async def run() -> Answer:
        return await Calls(function).start()

    answer = asyncio.run(run())
    assert answer.explanation.startswith("the function raised ValueError: xxx")
    assert len(answer.explanation) < 3_000
    printed = capsys.readouterr().err
    assert "in function" in printed
    assert 'authorizer_calls.py", line' not in printed.replace("test_authorizer_calls.py", "")


def test_a_result_without_end_is_no_answer() -> None:
    endless: list[object] = []
    endless.append(endless)

    async def run() -> Answer:
        return await Calls(lambda event, context: endless).start()

    assert asyncio.run(run()).outcome == "invalid"


def test_a_late_result_is_ignored_and_its_thread_let_go() -> None:
    async def run() -> tuple[Answer, int]:
        end = threading.Event()
        calls = Calls(lambda event, context: end.wait(10), timeout_seconds=0.05)
        answer = await calls.start()
        stuck = calls.calls.abandoned
        end.set()
        await calls.until(abandoned=0)
        return answer, stuck

    answer, stuck = asyncio.run(run())
    assert answer.outcome == "timed_out"
    assert stuck == 1


def test_a_function_that_loops_for_ever_is_ended() -> None:
    def loop(event: object, context: object) -> None:
        while True:
            pass

    async def run() -> Answer:
        calls = Calls(loop, timeout_seconds=0.05)
        answer = await calls.start()
        await calls.until(abandoned=0)
        return answer

    assert asyncio.run(run()).outcome == "timed_out"


def test_calls_over_the_cap_wait_and_are_answered() -> None:
    async def run() -> tuple[list[Answer], int]:
        running, most, lock = 0, 0, threading.Lock()

        def function(event: object, context: object) -> int:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            threading.Event().wait(0.02)
            with lock:
                running -= 1
            return 1

        calls = Calls(function, max_running=2)
        return await asyncio.gather(*(calls.start() for _ in range(8))), most

    answers, most = asyncio.run(run())
    assert [answer.result for answer in answers] == [1] * 8
    assert most == 2


def test_waiting_for_a_place_counts_against_the_time_limit() -> None:
    async def run() -> Answer:
        end = threading.Event()
        calls = Calls(lambda event, context: end.wait(10), max_running=1, timeout_seconds=0.1)
        first, second = calls.start(), calls.start()
        await first
        answer = await second
        end.set()
        await calls.until(abandoned=0)
        return answer

    assert asyncio.run(run()).outcome == "timed_out"


def test_with_too_many_stuck_calls_new_ones_are_refused_at_once_until_some_end() -> None:
    async def run() -> tuple[Answer, Answer]:
        end = threading.Event()
        calls = Calls(lambda event, context: end.wait(10) and "well", timeout_seconds=0.05, max_abandoned=2)
        await asyncio.gather(calls.start(), calls.start())
        refused = await calls.start()
        end.set()
        await calls.until(abandoned=0)
        return refused, await calls.start()

    refused, well = asyncio.run(run())
    assert refused.outcome == "failed"
    assert "2 earlier calls of this function never returned" in refused.explanation
    assert well.result == "well"


def test_nobody_is_told_of_a_cancelled_call() -> None:
    async def run() -> list[Answer]:
        told: list[Answer] = []
        end = threading.Event()
        calls = Calls(lambda event, context: end.wait(10))
        calls.calls.call(EVENT, context(), told.append).cancel()
        end.set()
        await calls.start()
        return told

    assert asyncio.run(run()) == []


def test_an_answer_after_the_loop_is_closed_disturbs_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    end = threading.Event()

    async def run() -> list[threading.Thread]:
        calls = Calls(lambda event, context: end.wait(10))
        calls.start()
        await asyncio.sleep(0)
        return calls.calls.close()

    threads = asyncio.run(run())
    end.set()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert capsys.readouterr().err == ""


def test_thousands_of_calls_that_get_no_thread_fail_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def run() -> list[Answer]:
        calls = Calls(lambda event, context: end.wait(10), max_running=1)
        first = calls.start()
        others = [calls.start() for _ in range(2_000)]
        monkeypatch.setattr(threading.Thread, "start", start)
        end.set()
        async with asyncio.timeout(10):
            return await asyncio.gather(first, *others)

    first, *others = asyncio.run(run())
    assert first.outcome == "answered"
    assert {(each.outcome, each.explanation) for each in others} == {
        ("failed", "no thread for it: can't start new thread")
    }
