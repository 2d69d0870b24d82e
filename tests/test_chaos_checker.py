"""The checker of the chaos run sees every loss, every wrong order and nothing that is not there; the schedule is the
same for every client; the reports survive the pipe.
"""

from __future__ import annotations

import os
import random
from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.chaos.__main__ import failures
from bench.chaos.checker import Book, Stream, Verdict, judge, total
from bench.chaos.renewals import judged_gap
from bench.chaos.reports import Report, Reporter
from bench.chaos.run import Outcome
from bench.chaos.schedule import NETWORK, PROTOCOL, Service, kinds_of, make_schedule

COUNT = st.integers(1, 60)


def all_of(count: int) -> Stream:
    return Stream(promised=range(count), arrived=range(count), offered=count)


@given(count=COUNT)
def test_all_that_was_promised_arrived_once_and_in_order(count: int) -> None:
    assert judge(all_of(count)) == Verdict(promised=count, arrived=count)
    assert judge(all_of(count)).good


@given(count=COUNT, data=st.data())
def test_one_number_that_is_missing_anywhere_is_one_loss(count: int, data: st.DataObject) -> None:
    missing = data.draw(st.integers(0, count - 1))
    verdict = judge(Stream(range(count), [number for number in range(count) if number != missing], count))
    assert verdict.lost == (missing,)
    assert not verdict.good
    assert not verdict.reordered


@given(
    promised=st.sets(st.integers(0, 50)),
    arrived=st.lists(st.integers(0, 50)),
)
def test_whatever_arrives_lost_is_what_was_promised_and_is_not_among_it(promised: set[int], arrived: list[int]) -> None:
    verdict = judge(Stream(promised, arrived, 51))
    assert set(verdict.lost) == {number for number in promised if number not in arrived}
    assert verdict.arrived + verdict.repeated == len(arrived)


@given(count=COUNT, data=st.data())
def test_a_repetition_is_counted_and_is_neither_a_loss_nor_out_of_order(count: int, data: st.DataObject) -> None:
    # As after a reconnect: everything from some number on goes again, as often as you like.
    arrived: list[int] = []
    reached = 0
    while reached < count:
        start = data.draw(st.integers(0, reached))
        end = data.draw(st.integers(reached + 1, count))
        arrived += range(start, end)
        reached = end
    verdict = judge(Stream(range(count), arrived, count))
    assert verdict.good
    assert verdict.repeated == len(arrived) - count


@given(count=st.integers(2, 60), data=st.data())
def test_two_numbers_that_change_places_are_out_of_order(count: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, count - 2))
    arrived = list(range(count))
    arrived[place : place + 2] = [place + 1, place]
    verdict = judge(Stream(range(count), arrived, count))
    assert verdict.reordered == (place,)
    assert not verdict.lost
    assert not verdict.good


@given(count=st.integers(2, 60), seed=st.integers())
def test_only_the_order_of_numbers_tells_whether_all_first_arrivals_are_in_order(count: int, seed: int) -> None:
    arrived = list(range(count))
    random.Random(seed).shuffle(arrived)
    assert (not judge(Stream(range(count), arrived, count)).reordered) == (arrived == sorted(arrived))


@given(count=st.integers(3, 60), data=st.data())
def test_what_the_service_threw_away_may_come_late_and_excuses_nothing_else(count: int, data: st.DataObject) -> None:
    thrown = data.draw(st.integers(0, count - 3))
    arrived = [number for number in range(count) if number != thrown]
    late = [*arrived, thrown]
    assert judge(Stream(range(count), late, count, {thrown})).good
    assert judge(Stream(range(count), arrived, count, {thrown})).lost == (thrown,)
    other = thrown + 1
    both = [number for number in arrived if number != other]
    assert judge(Stream(range(count), [*both, thrown, other], count, {thrown})).reordered == (other,)


@pytest.mark.parametrize("number", [-1, 3, 99])
def test_a_number_that_nobody_handed_over_is_invented(number: int) -> None:
    verdict = judge(Stream(range(3), [0, 1, number, 2], 3))
    assert verdict.invented == (number,)
    assert not verdict.reordered
    assert not verdict.good


def test_a_run_in_which_nothing_was_promised_is_not_good() -> None:
    assert not judge(Stream((), (), 0)).good


def test_losses_survive_adding_up() -> None:
    verdict = total([judge(all_of(3)), judge(Stream(range(3), [0, 2], 3)), judge(all_of(2))])
    assert (verdict.promised, verdict.arrived, verdict.lost) == (8, 7, (1,))
    assert not verdict.good


def test_what_was_stored_counts_even_if_its_failure_was_told_or_nothing_else_was() -> None:
    book = Book(
        offered_up=5, handed={0, 1, 2, 3}, stored={0, 1, 2}, acknowledged={3}, failed={1, 2}, arrived=array("q", [0])
    )
    assert judge(book.upwards(durable=True)).lost == (1, 2, 3)


def test_without_a_store_what_was_handed_over_counts_unless_its_failure_was_told() -> None:
    book = Book(offered_up=5, handed={0, 1, 2, 3}, acknowledged={2}, failed={1, 2}, arrived=array("q", [0]))
    assert judge(book.upwards(durable=False)).lost == (2, 3)


def test_what_the_service_accepted_for_the_device_must_be_handled() -> None:
    book = Book(offered_down=4, accepted={0, 1, 3}, handled=array("q", [0, 3, 3]))
    verdict = judge(book.downwards())
    assert (verdict.lost, verdict.repeated) == ((1,), 1)


# -- the schedule -------------------------------------------------------------------------------------------------

LANES: dict[str, Service] = {f"mosquitto/{n}": "mosquitto" for n in range(4)} | {
    f"endpoint/{n}": "endpoint" for n in range(4)
}


@given(seed=st.integers(0, 10_000))
def test_a_schedule_depends_on_its_seed_alone_fits_and_has_every_kind(seed: int) -> None:
    wanted = {"seconds": 420.0, "per_lane": 26, "longest": 30.0, "always_told": False}
    faults = make_schedule(seed, LANES, **wanted)  # type: ignore[arg-type]
    assert faults == make_schedule(seed, LANES, **wanted)  # type: ignore[arg-type]
    assert faults != make_schedule(seed + 1, LANES, **wanted)  # type: ignore[arg-type]
    assert len(faults) == 8 * 26
    assert {fault.kind for fault in faults} == {*NETWORK, *PROTOCOL}
    for lane, service in LANES.items():
        mine = [fault for fault in faults if fault.lane == lane]
        assert len(mine) == 26
        assert {fault.kind for fault in mine} <= set(kinds_of(service))
        for fault, following in pairwise(mine):
            assert fault.at + fault.seconds <= following.at
        assert mine[-1].at + mine[-1].seconds <= 420.001


def test_a_schedule_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        make_schedule(1, LANES, seconds=5, per_lane=26, longest=30, always_told=True)


# -- the reports --------------------------------------------------------------------------------------------------


@given(first=st.integers(0), last=st.integers(-1), text=st.text(st.characters(codec="utf-8"), max_size=100))
def test_a_report_is_read_as_it_was_written(first: int, last: int, text: str) -> None:
    read = Report.read(Report("note", first, last, text).line())
    assert (read.first, read.last, read.text) == (first, last, text.replace("\n", " "))


@pytest.mark.parametrize("line", [b"handled 3 3", b"handl", b"", b"stored 1\n", b"cheers 1 2 \n"])
def test_a_line_that_was_cut_off_is_no_report(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a report"):
        Report.read(line)


def test_reports_go_through_a_pipe() -> None:
    reading, writing = os.pipe()
    reporter = Reporter(writing)
    reporter.tell("handed", 3, 7)
    reporter.tell("handled", 4)
    reporter.note("two\nlines")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert [Report.read(line) for line in pipe] == [
            Report("handed", 3, 7),
            Report("handled", 4, 4),
            Report("note", 0, -1, "two lines"),
        ]


# -- what the scripts insist on ---------------------------------------------------------------------------------------


def outcome_of(*, faults: int = 224, skipped: int = 0, each_way: int = 140_000, growth: float = 0.0) -> Outcome:
    good = Verdict(promised=each_way, arrived=each_way)
    return Outcome("ours", 8, faults, skipped, good, good, 0, 0, growth, 400.0)


def test_the_long_form_insists_on_its_faults_and_messages_and_no_other_does() -> None:
    assert failures(outcome_of(), whole=True) == []
    assert "only 199 faults" in failures(outcome_of(skipped=25), whole=True)[0]
    assert "only 199,998 messages" in failures(outcome_of(each_way=99_999), whole=True)[0]
    assert failures(outcome_of(faults=64, each_way=18_000), whole=False) == []
    assert failures(outcome_of(growth=17.0), whole=False)


def test_of_many_renewals_all_but_one_in_a_hundred_must_be_within_the_budget_of_few_the_median() -> None:
    assert judged_gap([20.0, 30.0, 150.0]) == 30.0
    assert judged_gap([20.0] * 490 + [150.0] * 10) == 150.0
    assert judged_gap([20.0] * 496 + [150.0] * 4) == 20.0
