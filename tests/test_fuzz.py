"""The fuzzer finds what is wrong, keeps it small and replays it; and finds nothing in what is there."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench.fuzz import __main__ as command
from bench.fuzz import hunt as loop
from bench.fuzz.coverage import Coverage
from bench.fuzz.dice import InputDice
from bench.fuzz.findings import Finding, read_finding
from bench.fuzz.hunt import hunt, replay
from bench.fuzz.mutation import LARGEST, mutate
from bench.fuzz.shrink import shrink
from bench.fuzz.target import Broken, Outcome, Target, ensure
from bench.fuzz.targets import TARGETS
from iot_customauth_client.local.codec import Decoder, PingReq, Version


def target(run: object) -> Target:
    return Target("planted", 1.0, lambda seed: seed.randbytes(20), run, ())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_in_the_short_form(name: str) -> None:
    verdict = hunt(TARGETS[name], 400, 20_261_122)
    assert [(finding.where, finding.problem) for finding in verdict.findings] == []
    assert verdict.packets >= 400
    assert len(verdict.outcomes) >= (4 if verdict.inputs > 100 else 1)


@pytest.mark.parametrize("name", TARGETS)
def test_the_same_seed_makes_the_same_inputs_with_the_same_outcomes(name: str) -> None:
    first, second = (hunt(TARGETS[name], 60, 7) for _ in range(2))
    assert first.outcomes == second.outcomes
    assert first.inputs == second.inputs


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_an_input(name: str) -> None:
    seed = random.Random(name)
    for size in (0, 1, 2, 3, 8, 9, 40, 300):
        assert isinstance(replay(TARGETS[name], seed.randbytes(size)), Outcome)


def test_a_planted_fault_is_found_once_and_shrunk_to_what_it_takes() -> None:
    def run(data: bytes) -> Outcome:
        ensure(0xAB not in data, "there is no 0xab")
        return Outcome("fine")

    verdict = hunt(target(run), 2_000, 1)
    (finding,) = verdict.findings
    assert not verdict.passed
    assert finding.data == b"\xab"
    assert finding.problem == "there is no 0xab"


def test_faults_in_two_places_are_two_findings() -> None:
    def run(data: bytes) -> Outcome:
        if data[0] == 1:
            raise ValueError("one")
        if data[0] == 2:
            raise KeyError("two")
        return Outcome("fine")

    assert len(hunt(target(run), 5_000, 1).findings) == 2


def test_an_input_that_takes_too_long_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MOST_SECONDS", 0.0)
    verdict = hunt(target(lambda _: Outcome("slow")), 200, 1)
    assert {finding.where for finding in verdict.findings} == {"time"}


def test_an_input_that_comes_to_no_end_is_ended_and_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: bytes) -> Outcome:
        while True:
            pass

    monkeypatch.setattr(loop, "_HUNG_SECONDS", 0.05)
    verdict = hunt(target(run), 1, 1)
    assert [finding.problem for finding in verdict.findings] == ["it came to no end within 0.05 s"]


def test_a_finding_is_read_from_its_file_as_it_was(tmp_path: Path) -> None:
    finding = Finding("codec", bytes(range(256)), "ValueError at x.py:1", "two\nlines")
    path = finding.save(tmp_path / "new")
    assert read_finding(path) == ("codec", bytes(range(256)))
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3


def test_replaying_a_finding_says_whether_it_still_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(data: bytes) -> Outcome:
        ensure(data != b"bad", "it is not bad")
        return Outcome("good")

    monkeypatch.setitem(TARGETS, "planted", target(run))
    bad = Finding("planted", b"bad", "", "").save(tmp_path)
    good = Finding("planted", b"good", "", "").save(tmp_path)
    assert command.main(["--replay", str(bad)]) == 1
    assert command.main(["--replay", str(good)]) == 0
    assert "still fails" in capsys.readouterr().out


def test_shrinking_keeps_what_fails() -> None:
    data = random.Random(3).randbytes(500) + b"needle" + bytes(200)
    assert shrink(data, lambda tried: b"needle" in tried) == b"needle"


def test_mutation_changes_bytes_and_keeps_within_its_bound() -> None:
    seed = random.Random(4)
    data = bytes(100)
    changed = [mutate(data, seed, others=[b"x" * 300]) for _ in range(300)]
    assert sum(each != data for each in changed) > 280
    assert all(0 < len(mutate(bytes(LARGEST), seed)) <= LARGEST for _ in range(20))
    assert all(mutate(b"", seed) for _ in range(20))


def test_choices_out_of_an_input_are_the_first_ones_when_it_is_used_up() -> None:
    dice = InputDice(b"\x05\x01\x02")
    assert (dice.below(3), dice.below(300)) == (2, 258)
    assert not dice.more
    assert (dice.below(7), dice.bytes(2)) == (0, b"\0\0")


def test_coverage_tells_what_is_reached_for_the_first_time() -> None:
    coverage = Coverage(["local/codec/decode.py"])
    decoder = Decoder(version=Version.MQTT5)
    with coverage.watching() as reached_new:
        decoder.feed(b"\xc0\x00")
        assert reached_new()
        decoder.feed(b"\xc0\x00")
        assert not reached_new()
        with pytest.raises(Exception, match="PUBACK"):
            decoder.feed(b"\x40\x02\x00\x00")
        assert reached_new()
    reached, known = coverage.share()
    assert 0 < reached < known


def test_the_codec_target_notices_a_reader_that_lets_garbage_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """The properties are strong enough: with one rule taken out they fail."""
    from iot_customauth_client.local.codec import decode

    def lenient(flags: int, data: bytes, offset: int, end: int, version: Version) -> PingReq:
        del flags, data, offset, end, version
        return PingReq()

    monkeypatch.setitem(decode.READERS, 4, lenient)
    with pytest.raises(Broken):
        replay(TARGETS["codec"], bytes((1, 1)) + b"\x40\x02\x00\x00")
