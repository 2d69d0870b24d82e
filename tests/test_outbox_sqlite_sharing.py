"""The SQLite outbox between connections, threads, processes and users of one machine, and when nobody needs it."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import stat
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from sqlite_support import PATIENCE_SECONDS, Opened, opened, run_python, start_python, until

from iot_customauth_client import ConfigurationError
from iot_customauth_client.errors import ConnectionClosed
from iot_customauth_client.outbox_sqlite import SqliteOutbox

# -- who may use it ---------------------------------------------------------------------------------------------------


def test_a_second_outbox_on_the_file_in_this_process_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "outbox.db"):
        (tmp_path / "link.db").symlink_to(tmp_path / "outbox.db")
        with pytest.raises(ConfigurationError, match="one SqliteOutbox for the file") as caught:
            opened(tmp_path / "link.db")
        assert caught.value.code == "outbox_in_use"


def test_a_second_connection_of_one_client_id_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    with opened(outbox), pytest.raises(ConfigurationError, match="in use by another connection"):
        opened(outbox)
    opened(outbox).close()


def test_a_connection_dropped_without_close_leaves_nothing(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    it = opened(outbox)
    it.add("a")
    it.journal.settled(it.stored[0])
    journal = weakref.ref(it.journal)
    del it
    gc.collect()
    until(lambda: journal() is None and outbox._store is not None and outbox._store.wait_closed(1))
    with opened(tmp_path / "outbox.db") as again:  # a stranger to `outbox`: the file was let go
        assert again.loaded == []


def test_the_writer_ends_when_there_is_nothing_to_write_and_begins_again(tmp_path: Path) -> None:
    with opened(tmp_path / "outbox.db") as it:
        it.add("a")
        until(lambda: "iot-customauth-outbox" not in {thread.name for thread in threading.enumerate()})
        it.add("b")
        assert len(it.stored) == 2


def test_where_no_thread_can_be_had_close_writes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")  # as at the end of the interpreter

    it = opened(tmp_path / "outbox.db")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        it.add_now("a", "b")
        it.close()
    assert len(it.stored) == 2
    with opened(tmp_path / "outbox.db") as again:
        assert again.loaded_topics == ["a", "b"]


def test_a_callback_that_fails_stops_nobody_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.db")

    def fail(*_: object) -> None:
        raise ValueError("not my day")

    with opened(outbox, client_id="bad") as bad, opened(outbox, client_id="good") as good:
        bad.journal.start(fail, fail)
        bad.add_now("a")
        good.add("b")
        assert bad.journal.flush(PATIENCE_SECONDS)
    assert "not my day" in caplog.text
    with opened(outbox, client_id="bad") as again:
        assert again.loaded_topics == ["a"]


def test_nothing_is_taken_after_close(tmp_path: Path) -> None:
    it = opened(tmp_path / "outbox.db")
    it.close()
    with pytest.raises(ConnectionClosed):
        it.add_now("late")


def test_a_message_settled_after_a_rest_is_deleted_without_another_message(tmp_path: Path) -> None:
    with opened(tmp_path / "outbox.db") as it:
        (entry,) = it.add("a")
        it.journal.settled(entry)
        store = it.journal._store

        def left() -> int:
            with store.reading() as db:
                return int(db.execute("SELECT count(*) FROM message").fetchone()[0])

        until(lambda: left() == 0)


def _in_the_child(it: Opened, answers: Any) -> None:
    try:
        it.add_now("from the child")
    except ConfigurationError as error:
        answers.put(error.code)
    try:
        opened(it.outbox)
    except ConfigurationError as error:
        answers.put((error.code, str(os.getppid()) in str(error)))
    it.close()


def test_a_forked_child_writes_nothing_and_holds_nothing(tmp_path: Path) -> None:
    it = opened(tmp_path / "outbox.db")
    it.add("a")
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_in_the_child, args=(it, answers))
    child.start()
    assert answers.get() == "used_after_fork"
    assert answers.get() == ("outbox_in_use", True)
    child.join(20)
    it.add("b")
    it.close()
    with opened(tmp_path / "outbox.db") as again:
        assert again.loaded_topics == ["a", "b"]


FORKING = """
import os, sys, threading
from pathlib import Path
from sqlite_support import opened, until
it = opened(Path(sys.argv[1]))
it.add("a")
until(lambda: threading.active_count() == 1)  # the writer rests: only now does nothing else hold the file
log = Path(sys.argv[1] + "-wal")
before = log.stat().st_size
if not os.fork():
    sys.exit(0)  # with everything that Python does at its end
assert os.wait()[1] == 0
assert log.stat().st_size == before > 0, "the child took the log away"
it.add("b")
it.close()
"""


def test_a_forked_child_that_ends_like_a_script_leaves_the_log_to_its_parent(tmp_path: Path) -> None:
    run_python(FORKING, str(tmp_path / "outbox.db"))
    with opened(tmp_path / "outbox.db") as again:
        assert again.loaded_topics == ["a", "b"]


OUTLIVING = """
import os, sys
from pathlib import Path
from sqlite_support import opened
it = opened(Path(sys.argv[1]))
it.add("a")
if not os.fork():
    sys.stdin.read()
    os._exit(0)
print("forked", flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_forked_child_that_outlives_its_parent_does_not_keep_the_file(tmp_path: Path) -> None:
    parent = start_python(OUTLIVING, str(tmp_path / "outbox.db"))
    assert parent.wait(PATIENCE_SECONDS) < 0
    try:
        with opened(tmp_path / "outbox.db") as again:
            assert again.loaded_topics == ["a"]
    finally:
        parent.communicate()  # its end of stdin closed: the child ends, too


# -- who may read it --------------------------------------------------------------------------------------------------


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_can_read_its_files(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(tmp_path / "outbox.db") as it:
            it.add("a")
            files = sorted(tmp_path.iterdir())
            assert {file.name: oct(_mode(file)) for file in files} == {
                f"outbox.db{suffix}": "0o600" for suffix in ("", "-lock", "-reserve", "-wal")
            }
    finally:
        os.umask(before)


def test_a_file_that_others_can_read_is_made_private_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "outbox.db"
    with opened(path) as it:
        it.add("a")
    path.chmod(0o664)
    with caplog.at_level(logging.WARNING), opened(path) as it:
        assert _mode(path) == 0o600
        assert it.loaded_topics == ["a"]
    assert "could be read by other users (mode 0664)" in caplog.text
