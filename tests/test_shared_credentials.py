"""`SharedCredentials`: when the user's function is asked, how often, and what its failures become."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from client_support import check_error

from iot_customauth_client import (
    ConfigurationError,
    Credentials,
    CredentialsExpired,
    CredentialsRejected,
    CredentialsUnavailable,
    ManualClock,
)
from iot_customauth_client.runtime import runtime
from iot_customauth_client.shared_credentials import Lease, SharedCredentials, source_of

WAIT = 10.0


class Issuer:
    """Gives a new token at each call, and counts."""

    def __init__(self, expires_in_seconds: float | None = 3600) -> None:
        self.calls = 0
        self.expires_in_seconds = expires_in_seconds
        self.raises: BaseException | None = None
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self) -> Credentials:
        self.calls += 1
        number = self.calls
        assert self.gate.wait(WAIT)
        if self.raises is not None:
            raise self.raises
        return Credentials.from_bearer_token(
            f"token-{number}", token_key_name="token", expires_in_seconds=self.expires_in_seconds
        )


class Asker:
    """Asks a source and waits for the answer."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    def begin(self, source: Any, **given: Any) -> queue.SimpleQueue[Any]:
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        source.obtain(answers.put, clock=self.clock, runtime=runtime(), **given)
        return answers

    def __call__(self, source: Any, **given: Any) -> Any:
        return self.begin(source, **given).get(timeout=WAIT)

    def token(self, source: Any, **given: Any) -> str:
        lease = self(source, **given)
        assert isinstance(lease, Lease), lease
        assert lease.credentials.token is not None
        return lease.credentials.token.get_secret_value()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ask(clock: ManualClock) -> Asker:
    return Asker(clock)


def test_what_has_not_expired_is_given_again_without_asking(ask: Asker, clock: ManualClock) -> None:
    issuer = Issuer()
    shared = SharedCredentials(issuer)
    assert ask.token(shared) == "token-1"
    clock.advance(3590)
    assert ask.token(shared) == "token-1"
    clock.advance(20)
    assert ask.token(shared) == "token-2"
    assert issuer.calls == 2


def test_without_an_expiry_every_attempt_asks_but_not_twice_within_the_interval(ask: Asker, clock: ManualClock) -> None:
    issuer = Issuer(expires_in_seconds=None)
    shared = SharedCredentials(issuer, min_interval_seconds=10)
    assert [ask.token(shared), ask.token(shared)] == ["token-1", "token-1"]
    clock.advance(10)
    assert ask.token(shared) == "token-2"


def test_a_lease_is_renewed_a_leeway_before_its_end_and_a_short_one_at_half_of_it(
    ask: Asker, clock: ManualClock
) -> None:
    lease = ask(SharedCredentials(Issuer(3600), leeway_seconds=60))
    assert lease.expires_at == pytest.approx(clock.monotonic() + 3600, abs=5)
    assert lease.renew_at == pytest.approx(lease.expires_at - 60, abs=0.01)
    short = ask(SharedCredentials(Issuer(30), leeway_seconds=60))
    assert short.renew_at == pytest.approx(clock.monotonic() + 15, abs=5)


def test_a_renewal_fetches_once_for_all_who_still_have_the_old_ones(ask: Asker, clock: ManualClock) -> None:
    issuer = Issuer()
    shared = SharedCredentials(issuer)
    old = ask(shared).credentials
    clock.advance(3500)
    assert ask.token(shared, instead_of=old) == "token-2"
    assert ask.token(shared, instead_of=old) == "token-2"
    assert issuer.calls == 2


def test_however_many_ask_at_once_one_fetch_answers_all(ask: Asker) -> None:
    issuer = Issuer()
    issuer.gate.clear()
    shared = SharedCredentials(issuer)
    answers = [ask.begin(shared) for _ in range(50)]
    issuer.gate.set()
    leases = [each.get(timeout=WAIT) for each in answers]
    assert issuer.calls == 1
    assert all(lease is leases[0] for lease in leases)


def test_a_refusal_forgets_only_the_value_that_was_refused(ask: Asker) -> None:
    issuer = Issuer()
    shared = SharedCredentials(issuer)
    first = ask(shared).credentials
    shared.refused(first)
    second = ask(shared).credentials
    assert (second.token.get_secret_value(), issuer.calls) == ("token-2", 2)
    shared.refused(first)  # said late, by another connection
    assert ask(shared).credentials is second
    assert issuer.calls == 2


def test_refusals_do_not_hammer_whoever_issues_the_tokens(ask: Asker, clock: ManualClock) -> None:
    issuer = Issuer()
    shared = SharedCredentials(issuer, min_interval_seconds=10)
    shared.refused(ask(shared).credentials)
    shared.refused(ask(shared).credentials)
    told = ask(shared)
    check_error(told, code="credentials_asked_recently", phase="credentials")
    assert 0 < told.retry_after_seconds <= 10
    assert issuer.calls == 2
    clock.advance(10)
    assert ask.token(shared) == "token-3"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_the_function_raises_is_unavailable_with_the_cause(ask: Asker, kind: str) -> None:
    problem = RuntimeError("marker-password-93e7 is in here")

    def fetch() -> Credentials:
        raise problem

    async def fetch_async() -> Credentials:
        raise problem

    told = ask(SharedCredentials(fetch if kind == "sync" else fetch_async))
    assert type(told) is CredentialsUnavailable
    assert told.__cause__ is problem
    assert "marker" not in str(told)


def test_what_a_refused_value_was_is_in_no_chain_of_the_error(ask: Asker) -> None:
    def fetch() -> Credentials:
        return Credentials.from_jwt("marker-password-93e7", token_key_name="token")

    told: BaseException | None = ask(SharedCredentials(fetch))
    assert isinstance(told, CredentialsUnavailable)
    assert "JWT" in told.message
    while told is not None:
        assert "marker" not in f"{told!r} {told.__context__!r} {told.__context__ and told.__context__.__context__!r}"
        told = told.__cause__


def test_after_failures_the_pauses_grow_and_a_success_ends_them(ask: Asker, clock: ManualClock) -> None:
    issuer = Issuer()
    issuer.raises = OSError("away")
    shared = SharedCredentials(issuer)
    pauses = []
    for number in range(1, 9):
        assert type(ask(shared)) is CredentialsUnavailable
        assert issuer.calls == number
        again = ask(shared)  # at once: not asked
        assert issuer.calls == number
        pauses.append(round(again.retry_after_seconds))
        clock.advance(again.retry_after_seconds)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    issuer.raises = None
    assert ask.token(shared) == "token-9"


def test_a_pause_that_the_function_asks_for_is_kept(ask: Asker, clock: ManualClock) -> None:
    issuer = Issuer()
    issuer.raises = CredentialsUnavailable("busy", retry_after_seconds=120)
    shared = SharedCredentials(issuer)
    assert ask(shared).retry_after_seconds == 120
    clock.advance(119)
    ask(shared)
    assert issuer.calls == 1
    clock.advance(1)
    ask(shared)
    assert issuer.calls == 2


def test_a_rejection_is_passed_on(ask: Asker) -> None:
    issuer = Issuer()
    issuer.raises = CredentialsRejected("the account is closed")
    told = ask(SharedCredentials(issuer))
    assert type(told) is CredentialsRejected
    assert told.message == "the account is closed"


def test_credentials_that_have_expired_already_are_unavailable(ask: Asker) -> None:
    past = datetime.now(UTC) - timedelta(seconds=5)
    told = ask(SharedCredentials(lambda: Credentials.from_password("u", "p", expires_at=past)))
    check_error(told, code="credentials_expired_at_once")


def test_anything_but_credentials_is_a_configuration_error(ask: Asker) -> None:
    wrong: Callable[[], Any] = lambda: {"username": "u"}  # noqa: E731
    told = ask(SharedCredentials(wrong))
    assert type(told) is ConfigurationError
    assert "dict" in told.message


def test_a_function_that_hangs_is_given_up_and_not_called_a_second_time_meanwhile(ask: Asker) -> None:
    issuer = Issuer()
    issuer.gate.clear()
    shared = SharedCredentials(issuer, timeout_seconds=0.05)
    check_error(ask(shared), code="credentials_timeout")
    check_error(ask(shared), code="credentials_timeout")
    assert issuer.calls == 1
    issuer.gate.set()
    while not isinstance(told := ask(shared), Lease):
        check_error(told, code="credentials_timeout")
    assert told.credentials.token.get_secret_value() == "token-1"  # late, and good all the same


def test_an_async_function_that_hangs_is_cancelled(ask: Asker) -> None:
    cancelled = threading.Event()

    async def fetch() -> Credentials:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    check_error(ask(SharedCredentials(fetch, timeout_seconds=0.05)), code="credentials_timeout")
    assert cancelled.wait(WAIT)


def test_async_functions_of_the_sync_face_share_one_loop(ask: Asker) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def fetch() -> Credentials:
        loops.append(asyncio.get_running_loop())
        return Credentials.from_password("u", "p")

    ask(SharedCredentials(fetch))
    ask(SharedCredentials(fetch))
    assert loops[0] is loops[1]


def test_renew_forgets_the_value_and_tells_the_connections(ask: Asker) -> None:
    issuer = Issuer()
    shared = SharedCredentials(issuer)
    told = threading.Event()
    shared.on_renew(told.set)
    ask(shared)
    shared.renew()
    assert told.is_set()
    assert ask.token(shared) == "token-2"


def test_one_source_serves_one_clock(ask: Asker) -> None:
    shared = SharedCredentials(Issuer())
    ask(shared)
    with pytest.raises(ConfigurationError, match="different clocks"):
        Asker(ManualClock()).begin(shared)


def test_lifetimes_are_counted_on_the_clock_of_the_connection(ask: Asker, clock: ManualClock) -> None:
    clock.advance(86_400)
    for made in (
        Credentials.from_password("u", "p", expires_in_seconds=600),
        Credentials.from_password("u", "p", expires_at=clock.now() + timedelta(seconds=600)),
    ):
        lease = ask(SharedCredentials(lambda made=made: made))
        assert lease.expires_at == pytest.approx(clock.monotonic() + 600, abs=5)


def test_plain_credentials_are_a_source_that_never_renews(ask: Asker, clock: ManualClock) -> None:
    plain = Credentials.from_password("u", "p", expires_in_seconds=100)
    source = source_of(plain)
    assert not source.renewable
    lease = ask(source)
    assert (lease.credentials, lease.renew_at) == (plain, None)
    late = ManualClock()
    late.advance(0)
    ended = Credentials.from_password("u", "p", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert type(ask(source_of(ended))) is CredentialsExpired


@pytest.mark.parametrize("wrong", [None, "user:password", Credentials, 7])
def test_what_cannot_be_credentials_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="credentials must be"):
        source_of(wrong)


@pytest.mark.parametrize("limits", [{"leeway_seconds": -1}, {"timeout_seconds": 0}, {"min_interval_seconds": -1}])
def test_limits_that_make_no_sense_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="negative"):
        SharedCredentials(Issuer(), **limits)
