"""The SQLite outbox when the disk is full, the file is damaged, old or strange, or somebody else has it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlite_support import PATIENCE_SECONDS, opened, run_python, start_python

from iot_customauth_client import ConfigurationError, Credentials, SqliteOutbox, connect

SECRET = b"nobody may see this payload"


def stored_file(directory: Path, messages: int = 200) -> Path:
    """Return a file with messages in it, cleanly closed."""
    path = directory / "outbox.db"
    with opened(path) as it:
        it.add_now(*(f"topic/{number}" for number in range(messages)), payload=SECRET * 5)
    return path


def refused(path: Path, code: str) -> ConfigurationError:
    """Open a file that cannot be used, and return the error."""
    with pytest.raises(ConfigurationError) as caught:
        opened(path).close()
    error = caught.value
    assert error.code == code
    assert str(path) in error.message
    assert error.what_to_do
    assert SECRET.decode() not in str(error)
    return error


# -- damage -----------------------------------------------------------------------------------------------------------


def _scribble_on_the_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"this is no database at all")


def _cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _cut_within_a_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1_000)


def _wipe_a_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 & ~0xFFF)
        file.write(bytes(4096))


def _flip_a_bit_of_a_payload(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(SECRET, SECRET[:-1] + b"e"))


def _flip_a_bit_of_a_topic(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"topic/77", b"topic/76"))


def _make_a_topic_no_text(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"topic/77", b"topic/\xff7"))


def _empty_but_its_log(path: Path) -> None:
    path.with_name(path.name + "-wal").write_bytes(path.read_bytes())
    os.truncate(path, 0)


@pytest.mark.parametrize(
    "damage",
    [
        _scribble_on_the_header,
        _cut_in_half,
        _cut_within_a_page,
        _wipe_a_page,
        _flip_a_bit_of_a_payload,
        _flip_a_bit_of_a_topic,
        _make_a_topic_no_text,
        _empty_but_its_log,
    ],
)
def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = stored_file(tmp_path)
    damage(path)
    before = path.read_bytes()
    error = refused(path, "outbox_damaged")
    assert "move outbox.db and outbox.db-wal aside" in (error.what_to_do or "")
    assert path.read_bytes() == before
    refused(path, "outbox_damaged")  # and its lock was let go


def test_after_the_damaged_file_was_moved_aside_a_new_one_is_made(tmp_path: Path) -> None:
    path = stored_file(tmp_path)
    _cut_in_half(path)
    refused(path, "outbox_damaged")
    path.rename(tmp_path / "old.db")
    with opened(path) as it:
        assert it.loaded == []
        it.add("a")


# -- versions ---------------------------------------------------------------------------------------------------------

FIRST_SCHEMA = """
PRAGMA application_id = 1229935682;
PRAGMA user_version = 1;
CREATE TABLE client (number INTEGER PRIMARY KEY, client_id TEXT NOT NULL UNIQUE);
CREATE TABLE run (number INTEGER PRIMARY KEY, wall_offset REAL NOT NULL);
CREATE TABLE message (
    number INTEGER PRIMARY KEY, run INTEGER NOT NULL, accepted REAL NOT NULL, qos INTEGER NOT NULL,
    retain INTEGER NOT NULL, expiry INTEGER, topic TEXT NOT NULL, payload BLOB NOT NULL, properties TEXT
);
CREATE TABLE memo (client INTEGER, name TEXT, value TEXT NOT NULL, PRIMARY KEY (client, name)) WITHOUT ROWID;
INSERT INTO client VALUES (1, 'another'), (2, 'device');
INSERT INTO run VALUES (7, 1767225600.0);
INSERT INTO message VALUES
    (1099511627776, 7, 10.0, 1, 0, NULL, 'of another', x'00', NULL),
    (2199023255553, 7, 11.0, 1, 0, 60, 'first', x'0102', '["text/plain", null, "ff", [["a", "b"]]]'),
    (2199023255557, 7, 12.0, 1, 1, NULL, 'second', x'', NULL);
INSERT INTO memo VALUES (2, 'back-off', '17');
"""


def test_a_file_of_the_first_schema_keeps_its_messages(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with sqlite3.connect(path) as db:
        db.executescript(FIRST_SCHEMA)
    db.close()
    with opened(path) as it:
        first, second = it.loaded
        assert (first.topic, first.payload, first.expiry_seconds) == ("first", b"\1\2", 60)
        assert (first.content_type, first.correlation_data) == ("text/plain", b"\xff")
        assert first.user_properties == (("a", "b"),)
        assert (second.topic, second.payload, second.retain) == ("second", b"", True)
        assert it.journal.recall("back-off") == "17"
        it.add("third")
    with opened(path) as again:
        assert again.loaded_topics == ["first", "second", "third"]
    with opened(path, client_id="another") as another:
        assert another.loaded_topics == ["of another"]


def test_a_migration_that_is_cut_short_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outbox.db"
    with sqlite3.connect(path) as db:
        db.executescript(FIRST_SCHEMA)
    db.close()

    def power_cut(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("iot_customauth_client.sqlite_schema.checksum_of", power_cut)
        with pytest.raises(KeyboardInterrupt):
            opened(path)
    with opened(path) as it:
        assert it.loaded_topics == ["first", "second"]


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = stored_file(tmp_path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert "schema 99" in refused(path, "outbox_newer").message
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM message").fetchone() == (200,)
    db.close()


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE photos (name TEXT)")
    db.close()
    refused(path, "outbox_foreign")
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("photos",)]
    db.close()


# -- places -----------------------------------------------------------------------------------------------------------


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path / "not" / "there" / "outbox.db", "outbox_unusable")
    assert f"no directory {tmp_path / 'not' / 'there'}" in error.message


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert "is a directory" in refused(tmp_path, "outbox_unusable").message
    assert list(tmp_path.parent.glob(tmp_path.name + "-*")) == []


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    assert "cannot be written" in refused(Path("/sys/outbox.db"), "outbox_unusable").message  # not even by root


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert "local disk" in (refused(tmp_path / "outbox.db", "outbox_lock_failed").what_to_do or "")


# -- two processes ----------------------------------------------------------------------------------------------------

HOLD = """
import os, sys
from pathlib import Path
from sqlite_support import opened
it = opened(Path(sys.argv[1]))
it.add("of the first")
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_told_who_has_the_file_and_comes_in_when_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    first = start_python(HOLD, str(path))
    try:
        assert first.stdout is not None
        pid = int(first.stdout.readline())
        assert f"(pid {pid})" in refused(path, "outbox_in_use").message
    finally:
        first.kill()
        first.communicate()
    assert first.returncode == -signal.SIGKILL
    with opened(path) as it:
        assert it.loaded_topics == ["of the first"]


def test_a_lock_file_that_was_deleted_lets_no_second_process_in(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    first = start_python(HOLD, str(path))
    try:
        assert first.stdout is not None
        first.stdout.readline()
        (tmp_path / "outbox.db-lock").unlink()
        refused(path, "outbox_in_use")
    finally:
        first.kill()
        first.communicate()


# -- through connect() ------------------------------------------------------------------------------------------------


def refused_by_connect(path: Path) -> ConfigurationError:
    """Connect with an outbox that cannot be used; nobody listens at the port, which is not found out."""
    with pytest.raises(ConfigurationError) as caught:
        connect(
            "localhost",
            port=9,
            client_id="device",
            credentials=Credentials.from_password("user", "password"),
            outbox=SqliteOutbox(path),
            timeout=PATIENCE_SECONDS,
        )
    return caught.value


@pytest.mark.parametrize(
    ("column", "value"),
    [("payload", "text"), ("topic", b"bytes"), ("accepted", "text"), ("expiry", "text"), ("qos", 3)],
)
def test_a_row_that_nobody_wrote_so_is_damage_and_connecting_says_so(
    tmp_path: Path, column: str, value: str | bytes | int
) -> None:
    path = stored_file(tmp_path, messages=3)
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE message SET {column} = ? WHERE topic = 'topic/1'", (value,))
    db.close()
    assert refused_by_connect(path).code == "outbox_damaged"
    refused(path, "outbox_damaged")  # and the file was let go


def test_a_name_that_no_file_can_have_is_said_at_once(tmp_path: Path) -> None:
    error = refused_by_connect(tmp_path / ("x" * 300))
    assert error.code == "outbox_unusable"
    assert "name too long" in error.message


def test_connecting_ends_at_once_whatever_opening_the_outbox_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(SqliteOutbox, "open", out_of_memory)
    error = refused_by_connect(tmp_path / "outbox.db")
    assert error.code == "outbox_unusable"
    assert isinstance(error.__cause__, MemoryError)


# -- files of others --------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_regular_one_is_refused_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    path.chmod(0o666)
    assert "not a regular file" in refused(path, "outbox_unusable").message
    assert path.stat().st_mode & 0o777 == 0o666
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_of_another_program_keeps_its_mode(tmp_path: Path) -> None:
    text, photos = tmp_path / "passwd", tmp_path / "photos.db"
    text.write_text("root:x:0:0:root:/root:/bin/bash\n" * 100)
    with sqlite3.connect(photos) as db:
        db.execute("CREATE TABLE photos (name TEXT)")
    db.close()
    for path, code in ((text, "outbox_damaged"), (photos, "outbox_foreign")):
        path.chmod(0o644)
        refused(path, code)
        assert path.stat().st_mode & 0o777 == 0o644


# -- a full disk ------------------------------------------------------------------------------------------------------

FILL = """
import sys
from pathlib import Path
from iot_customauth_client import OutboxFull
from sqlite_support import opened, until

path = Path(sys.argv[1])
make_room = sys.argv[2] == "the outbox makes room by itself"
ballast = path.with_name("ballast")
if not make_room:
    ballast.write_bytes(bytes(3 << 20))
it = opened(path)
number = 0
while not it.not_stored:
    it.add_now(str(number), payload=bytes(20_000))
    assert it.journal.flush(20), "what could be done was not done"
    number += 1
entry, error = it.not_stored[0]
assert type(error) is OutboxFull and error.code == "outbox_disk_full", error
assert str(path) in error.message and "df" in error.what_to_do
kept = [entry.topic for entry in it.stored]
assert kept == [str(each) for each in range(number - 1)] and len(kept) > 20

# It stays usable: what is small may or may not fit, what is stored can be loaded by a later process.
it.close()
it = opened(path)
assert it.loaded_topics == kept, (len(it.loaded), len(kept))
if make_room:
    for entry in it.loaded:
        it.journal.settled(entry)
    assert it.journal.flush(20), "nothing can be deleted on a full disk"
    kept = []
else:
    ballast.unlink()
before = len(it.stored)
it.add_now("after", payload=bytes(20_000))
assert it.journal.flush(20)
assert [entry.topic for entry in it.stored] == ["after"], [str(error) for _, error in it.not_stored]
it.close()
it = opened(path)
assert it.loaded_topics == [*kept, "after"]
it.close()
print("through")
"""


MOUNT = 'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"'


def _private_mounts(place: Path) -> list[str] | None:
    """Return the command that gives a child a small file system at `place`, or `None` where that is not allowed."""
    unshare = shutil.which("unshare")
    assert unshare, "util-linux is not installed"
    for options in (["--mount"], ["--mount", "--map-root-user"]):
        before = [unshare, *options, "sh", "-c", MOUNT, str(place)]
        if not subprocess.run([*before, "true"], capture_output=True).returncode:
            return before
    return None


@pytest.mark.kernel_may_forbid
@pytest.mark.parametrize("way", ["the outbox makes room by itself", "somebody makes room"])
def test_a_full_disk_loses_nothing_stored_and_is_left_behind(tmp_path: Path, way: str) -> None:
    before = _private_mounts(tmp_path)
    if before is None:
        pytest.skip("the kernel allows no mounts here")
    assert run_python(FILL, str(tmp_path / "outbox.db"), way, before=before) == "through\n"


LIMIT = """
import resource, sys
from pathlib import Path
from sqlite_support import opened

resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, resource.RLIM_INFINITY))
path = Path(sys.argv[1])
it = opened(path)
number = 0
while not it.not_stored:
    it.add_now(str(number), payload=bytes(20_000))
    assert it.journal.flush(20)
    number += 1
assert it.not_stored[0][1].code == "outbox_disk_full", it.not_stored[0][1]
kept = [entry.topic for entry in it.stored]
assert len(kept) > 20
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
it.add("after")
it.close()
it = opened(path)
assert it.loaded_topics == [*kept, "after"]
it.close()
print("through")
"""


def test_a_limit_for_the_size_of_files_is_a_full_disk_too(tmp_path: Path) -> None:
    assert run_python(LIMIT, str(tmp_path / "outbox.db")) == "through\n"


DEAD_DISK = """
import resource, sys
from pathlib import Path
from sqlite_support import opened, until

path = Path(sys.argv[1])
it = opened(path)
entries = it.add("a", "b", "c")
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
it.add_now("too late")
until(lambda: it.not_stored)
it.journal.settled(entries[0])
it.journal.remember("back-off", "17")
assert not it.journal.flush(1)
it.journal.close(1)
it.journal.close(1)
assert it.journal.flush(1)  # at once: there is nothing to wait for any more
until(lambda: it.journal._store.wait_closed(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
it = opened(path)
assert it.loaded_topics == ["a", "b", "c"], it.loaded_topics
it.close()
print("through")
"""


def test_closing_on_a_disk_that_takes_nothing_ends_and_loses_nothing(tmp_path: Path) -> None:
    assert run_python(DEAD_DISK, str(tmp_path / "outbox.db")) == "through\n"


def test_a_disk_that_takes_nothing_for_a_while_is_waited_for(tmp_path: Path) -> None:
    code = (
        DEAD_DISK.partition("it.journal.close(1)")[0]
        + """
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert it.journal.flush(20)
it.close()
it = opened(path)
assert it.loaded_topics == ["b", "c"] and it.journal.recall("back-off") == "17"
it.close()
print("through")
"""
    )
    assert run_python(code, str(tmp_path / "outbox.db")) == "through\n"
