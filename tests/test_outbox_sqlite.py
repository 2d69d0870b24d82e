"""The SQLite outbox: what is stored is there after a restart, in order, and lives as long as it should."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_support import Opened, message_of, opened, run_python, until

from iot_customauth_client import ConfigurationError, ManualClock
from iot_customauth_client.outbox_sqlite import SqliteOutbox
from iot_customauth_client.outgoing import Outgoing


def test_a_stored_message_is_there_for_the_next_process(tmp_path: Path) -> None:
    with opened(tmp_path / "outbox.db") as first:
        first.add("a", "b", "c")
    with opened(tmp_path / "outbox.db") as second:
        assert second.loaded_topics == ["a", "b", "c"]


def test_a_settled_message_is_gone(tmp_path: Path) -> None:
    with opened(tmp_path / "outbox.db") as first:
        a, _, c = first.add("a", "b", "c")
        first.journal.settled(a)
        first.journal.settled(c)
    with opened(tmp_path / "outbox.db") as second:
        assert second.loaded_topics == ["b"]
        second.journal.settled(second.loaded[0])
    with opened(tmp_path / "outbox.db") as third:
        assert third.loaded == []


def test_stored_is_told_in_the_order_of_add_and_only_for_what_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with opened(path) as it:
        it.add(*(str(number) for number in range(5_000)))
        assert [entry.topic for entry in it.stored] == [str(number) for number in range(5_000)]


def test_what_comes_later_goes_behind_what_was_left(tmp_path: Path) -> None:
    for topic in "abc":
        with opened(tmp_path / "outbox.db") as it:
            it.add(topic)
    with opened(tmp_path / "outbox.db") as it:
        assert it.loaded_topics == ["a", "b", "c"]


@settings(max_examples=examples(40))
@given(
    messages=st.lists(
        st.fixed_dictionaries(
            {
                "topic": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
                "payload": st.binary(max_size=300),
                "qos": st.sampled_from([0, 1]),
                "retain": st.booleans(),
                "expiry_seconds": st.none() | st.integers(1, 0xFFFFFFFF),
                "content_type": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
                "response_topic": st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
                "correlation_data": st.none() | st.binary(max_size=20),
                "user_properties": st.lists(
                    st.tuples(*2 * [st.text(st.characters(exclude_categories=["Cs"]), max_size=9)]), max_size=3
                ).map(tuple),
            }
        ),
        max_size=5,
    )
)
def test_every_property_survives(tmp_path_factory: pytest.TempPathFactory, messages: list[dict[str, Any]]) -> None:
    path = tmp_path_factory.mktemp("outbox") / "outbox.db"
    with opened(path) as first:
        first.add_entries([message_of(**message) for message in messages])
    with opened(path) as second:
        found = [{name: getattr(entry, name) for name in messages[0]} for entry in second.loaded]
        assert found == messages


@settings(max_examples=examples(25))
@given(steps=st.lists(st.sampled_from(["add", "first", "last", "middle", "flush", "reopen"]), max_size=60))
def test_what_is_left_is_what_was_added_and_not_settled(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    path = tmp_path_factory.mktemp("outbox") / "outbox.db"
    expected: list[str] = []
    it = opened(path)
    live: list[Outgoing] = []
    for number, step in enumerate(steps):
        if step == "add":
            live += it.add_now(str(number))
            expected.append(str(number))
        elif step == "flush":
            assert it.journal.flush(20)
        elif step == "reopen":
            it.close()
            it = opened(path)
            live = it.loaded
            assert it.loaded_topics == expected
        elif live:
            index = {"first": 0, "last": -1, "middle": len(live) // 2}[step]
            it.journal.settled(live.pop(index))
            expected.pop(index)
    it.close()
    with opened(path) as last:
        assert last.loaded_topics == expected


def test_one_file_keeps_the_messages_of_many_client_ids_apart(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    journals = [opened(outbox, client_id=f"device-{number}") for number in range(20)]
    for each in journals:
        each.add_now("1", "2")
    writers = [thread for thread in threading.enumerate() if thread.name == "iot-customauth-outbox"]
    assert len(writers) <= 1
    for each in journals:
        each.close()
    for number in range(20):
        with opened(outbox, client_id=f"device-{number}") as again:
            assert again.loaded_topics == ["1", "2"]
    with opened(outbox, client_id="another") as another:
        assert another.loaded == []


def test_threads_of_many_connections_lose_nothing(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    journals = [opened(outbox, client_id=str(number)) for number in range(4)]

    def publish(it: Opened) -> None:
        for number in range(500):
            (entry,) = it.add_now(str(number))
            if number % 3:
                it.journal.settled(entry)

    threads = [threading.Thread(target=publish, args=(each,)) for each in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in journals:
        each.close()
    for number in range(4):
        with opened(outbox, client_id=str(number)) as again:
            assert again.loaded_topics == [str(number) for number in range(0, 500, 3)]


def test_a_message_withdrawn_before_its_turn_is_not_stored(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db", fsync="each")
    with opened(outbox) as it:
        entries = it.add_now(*(str(number) for number in range(50)))
        for entry in entries[1:]:
            it.journal.settled(entry)
        assert it.journal.flush(20)
    with opened(outbox) as again:
        assert again.loaded_topics == ["0"]


@pytest.mark.parametrize("fsync", ["group", "each", "never"])
def test_each_way_of_syncing_stores(tmp_path: Path, fsync: Any) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db", fsync=fsync)
    with opened(outbox) as it:
        it.add("a", "b", "c")
    with opened(outbox) as again:
        assert again.loaded_topics == ["a", "b", "c"]


def test_a_message_that_cannot_be_stored_is_told_and_the_others_are_stored(tmp_path: Path) -> None:
    with opened(tmp_path / "outbox.db") as it:
        bad = [message_of("bad", user_properties=((b"secret", "x"),)), message_of("\ud800")]
        it.add_entries([message_of("a"), *bad, message_of("b")])
        until(lambda: len(it.stored) == 2)
        assert [(entry, error.code) for entry, error in it.not_stored] == [
            (entry, "outbox_not_storable") for entry in bad
        ]
        assert "secret" not in str(it.not_stored[0][1])
    with opened(tmp_path / "outbox.db") as again:
        assert again.loaded_topics == ["a", "b"]


# -- time -------------------------------------------------------------------------------------------------------------


def test_age_goes_on_while_no_process_runs(tmp_path: Path) -> None:
    clock = ManualClock()
    with opened(tmp_path / "outbox.db", clock=clock) as first:
        first.add_entries([message_of("a", clock=clock, expiry_seconds=600)])
    later = ManualClock(datetime.fromtimestamp(clock.now().timestamp() + 500, UTC))
    later.advance(3)
    with opened(tmp_path / "outbox.db", clock=later) as second:
        (entry,) = second.loaded
        assert entry.expiry_seconds == 600
        assert later.monotonic() - entry.accepted_at == pytest.approx(503, abs=1)


@pytest.mark.parametrize(
    ("accepted", "started"),
    [
        (datetime(2026, 5, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)),  # no clock at the second start
        (datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)),  # none at the first
        (datetime(2026, 5, 2, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)),  # put back
    ],
)
def test_where_no_clock_can_tell_the_age_it_counts_from_the_start(
    tmp_path: Path, accepted: datetime, started: datetime
) -> None:
    clock = ManualClock(accepted)
    with opened(tmp_path / "outbox.db", clock=clock) as first:
        first.add_entries([message_of("a", clock=clock)])
    later = ManualClock(started)
    with opened(tmp_path / "outbox.db", clock=later) as second:
        assert second.loaded[0].accepted_at == later.monotonic()


class _LateClock(ManualClock):
    """A clock that is set to the true time by the network after a while."""

    ahead = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(super().now().timestamp() + self.ahead, UTC)


def test_a_clock_that_is_set_late_corrects_the_age_of_what_was_accepted_before(tmp_path: Path) -> None:
    clock = _LateClock(datetime(2026, 1, 1, tzinfo=UTC))
    with opened(tmp_path / "outbox.db", clock=clock) as first:
        first.add_entries([message_of("before", clock=clock)])
        clock.ahead = 90 * 86_400.0
        first.add_entries([message_of("after", clock=clock)])
    later = ManualClock(datetime.fromtimestamp(clock.now().timestamp() + 60, UTC))
    with opened(tmp_path / "outbox.db", clock=later) as second:
        ages = [later.monotonic() - entry.accepted_at for entry in second.loaded]
        assert ages == pytest.approx([60, 60], abs=1)


# -- memory beyond the process ----------------------------------------------------------------------------------------


def test_what_is_remembered_survives_and_can_be_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path / "outbox.db") as first:
        assert first.journal.recall("back-off") is None
        first.journal.remember("back-off", "17")
        first.journal.remember("back-off", "18")
        first.journal.remember("other", "x")
        assert first.journal.recall("back-off") == "18"
    with opened(tmp_path / "outbox.db") as second:
        assert second.journal.recall("back-off") == "18"
        second.journal.remember("back-off", None)
    with opened(tmp_path / "outbox.db") as third:
        assert third.journal.recall("back-off") is None
        assert third.journal.recall("other") == "x"
    with opened(tmp_path / "outbox.db", client_id="another") as another:
        assert another.journal.recall("other") is None


# -- what a user gives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": ""},
        {"path": "with\0null"},
        {"path": ":memory:"},
        {"fsync": "always"},
        {"when_full": "block"},
        {"max_messages": 0},
        {"max_bytes": -1},
        {"max_age_seconds": 0},
    ],
)
def test_arguments_that_cannot_work_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        SqliteOutbox(**({"path": tmp_path / "outbox.db"} | wrong))


def test_a_relative_path_stays_where_it_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outbox = SqliteOutbox("outbox.db")
    monkeypatch.chdir("/")
    opened(outbox).close()
    assert (tmp_path / "outbox.db").exists()


def test_sqlite_is_not_loaded_before_a_connection_opens_it() -> None:
    run_python(
        "import sys; from iot_customauth_client.outbox_sqlite import SqliteOutbox; SqliteOutbox('x.db');"
        "assert 'sqlite3' not in sys.modules"
    )
