"""Kills a process that publishes with a SQLite outbox, at random moments, again and again; then counts what is lost.

Each child is a real process with the real outbox and a real file. It sends over a socket to this process, which
acknowledges what it has read; and it writes the number of every message that was *stored* into a pipe, whose content
outlives it. It is killed with SIGKILL: while it opens the file, loads, publishes, deletes, folds the log in, or closes.
The last child sends what is left. Every number that was ever stored must have arrived, first arrivals in order.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iot_customauth_client.clock import SystemClock
from iot_customauth_client.errors import CustomAuthError, OperationError
from iot_customauth_client.links.base import PublishOutcome
from iot_customauth_client.messages import PublishResult
from iot_customauth_client.outbox import Outbox
from iot_customauth_client.outbox_sqlite import SqliteOutbox
from iot_customauth_client.outgoing import Outgoing

IDS_PER_CHILD = 10_000_000
PAYLOADS = (b"", b"x" * 128, b"y" * 3_000, b"z" * 40_000)
FSYNCS = ("group", "group", "never", "each")
LONGEST_LIFE_SECONDS = 0.7
DRAIN_SECONDS = 120.0


# -- the child --------------------------------------------------------------------------------------------------------


class Pipe:
    """A link to the parent: as much of `links.base.Link` as the outbox uses."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._open: dict[bytes, tuple[Outgoing, Any]] = {}

    def publish(self, entry: Outgoing, done: Any) -> None:
        name = entry.topic.encode()
        self._open[name] = entry, done
        self._socket.sendall(name + b"\n")

    def read(self) -> None:
        for line in self._socket.makefile("rb"):
            entry, done = self._open.pop(line.rstrip())
            done(entry, PublishOutcome(reason_code=0))


class Note:
    """The promise of one message: tells the parent when it is stored."""

    def __init__(self, number: int) -> None:
        self._line = b"%d\n" % number

    def stored(self) -> None:
        os.write(1, self._line)

    def resolve(self, result: PublishResult) -> None:
        pass

    def reject(self, error: CustomAuthError) -> None:
        sys.stderr.write(f"{error}\n")


def failure_of(_: Outgoing, outcome: PublishOutcome) -> CustomAuthError | None:
    return None if outcome.error is None else OperationError(str(outcome.error))


def be_child(path: Path, port: int, first: int, count: int, fsync: Any) -> None:
    """Publish `count` messages numbered from `first`, after what is left from earlier children; then close."""
    clock = SystemClock()
    journal = SqliteOutbox(path, fsync=fsync).open("device", clock=clock)
    outbox = Outbox(monotonic=time.monotonic, failure_of=failure_of)
    link: Any = Pipe(port)
    threading.Thread(target=link.read, daemon=True).start()
    outbox.open(journal)
    most_waiting = 5_000 if first // IDS_PER_CHILD % 3 == 0 else 500
    os.write(1, b"loaded %d\n" % outbox.unacknowledged)
    outbox.attach(link, 100)
    for number in range(first, first + count):
        payload = PAYLOADS[number % 7 % len(PAYLOADS)]
        outbox.accept(Outgoing(str(number), payload, promise=Note(number), accepted_at=time.monotonic()))
        if outbox.unacknowledged > most_waiting:
            outbox.wait_empty(0.02)
    emptied = outbox.wait_empty(DRAIN_SECONDS)
    journal.close(DRAIN_SECONDS)
    sys.exit(0 if emptied else 3)


# -- the parent -------------------------------------------------------------------------------------------------------


@dataclass
class Service:
    """Acknowledges what it has read, as fast as it likes, and remembers it in order."""

    random: random.Random
    arrived: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._serving: threading.Thread | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._server.accept()
            if self._serving is not None:
                self._serving.join()  # what an earlier child had sent counts first
            self._serving = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._serving.start()

    def _serve(self, connection: socket.socket) -> None:
        rest = b""
        try:
            while data := connection.recv(4096):
                *lines, rest = (rest + data).split(b"\n")
                self.arrived += map(int, lines)
                if self.random.random() < 0.3:
                    time.sleep(self.random.random() * 0.02)
                connection.sendall(b"".join(line + b"\n" for line in lines))
        except OSError:
            pass  # it was killed
        finally:
            connection.close()

    def wait_read(self) -> None:
        """Wait until all that a dead child had sent is read."""
        if self._serving is not None:
            self._serving.join()


@dataclass
class Told:
    """What a child wrote into its pipe."""

    stored: list[int] = field(default_factory=list)
    loaded: int | None = None

    def read(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith(b"loaded"):
                self.loaded = int(line.split()[1])
            else:
                self.stored.append(int(line))


def run_child(path: Path, port: int, first: int, count: int, fsync: str, life: float | None) -> tuple[Told, int]:
    """Run a child, for ever or for `life` seconds; return what it told and how it ended."""
    arguments = [str(path), str(port), str(first), str(count), fsync]
    child = subprocess.Popen([sys.executable, __file__, "--child", *arguments], stdout=subprocess.PIPE)
    told = Told()
    reader = threading.Thread(target=told.read, args=(child,))
    reader.start()
    try:
        child.wait(life if life is not None else 2 * DRAIN_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
    child.wait()
    reader.join()
    return told, child.returncode


def main() -> int:
    """Print a table; 0 if nothing was lost or reordered."""
    parser = argparse.ArgumentParser(prog="scripts/outbox_kill", description=__doc__)
    parser.add_argument("--short", action="store_true", help="10 kills instead of 100")
    parser.add_argument("--kills", type=int, help="how many kills")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the moments; printed")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        path, port, first, count, fsync = options.child
        be_child(Path(path), int(port), int(first), int(count), fsync)
    kills = options.kills or (10 if options.short else 100)
    chance = random.Random(options.seed)
    print(f"seed {options.seed}")
    print(f"{'child':>5} {'fsync':>5} {'life ms':>8} {'ended':>7} {'loaded':>7} {'stored':>7} {'arrived':>8}")
    stored: set[int] = set()
    killed = bad = 0
    with tempfile.TemporaryDirectory() as directory:
        database = Path(directory) / "outbox.db"
        service = Service(random.Random(options.seed + 1))
        number = 0
        while killed < kills:
            number += 1
            life = 0.1 + chance.random() * LONGEST_LIFE_SECONDS
            fsync = chance.choice(FSYNCS)
            count = chance.choice((50, 2_000, IDS_PER_CHILD))
            before = len(service.arrived)
            told, code = run_child(database, service.port, number * IDS_PER_CHILD, count, fsync, life)
            service.wait_read()
            stored.update(told.stored)
            killed += code == -signal.SIGKILL
            bad += code not in (0, -signal.SIGKILL)
            ended = "killed" if code == -signal.SIGKILL else f"exit {code}"
            loaded = "-" if told.loaded is None else told.loaded
            arrived = len(service.arrived) - before
            print(f"{number:5} {fsync:>5} {life * 1000:8.0f} {ended:>7} {loaded:>7} {len(told.stored):7} {arrived:8}")
        told, code = run_child(database, service.port, 0, 0, "group", None)
        service.wait_read()
        bad += code != 0
    firsts = list(dict.fromkeys(service.arrived))
    lost = stored - set(firsts)
    reordered = sum(later < earlier for earlier, later in itertools.pairwise(firsts))
    print(f"the last child loaded {told.loaded} and ended with {code}")
    print(
        f"kills {killed}, stored {len(stored)}, arrived {len(service.arrived)}, "
        f"duplicates {len(service.arrived) - len(firsts)}, reordered {reordered}, failed {bad}, lost {len(lost)}"
    )
    return 1 if lost or reordered or bad else 0


if __name__ == "__main__":
    sys.exit(main())
