"""A process that publishes on command, for the rows that receive: raw awscrt at full speed."""

from __future__ import annotations

from typing import Any

from harness import SPAWN, WAIT, Bench, Raw, payloads


def _serve(bench: Bench, pipe: Any) -> None:
    raw = Raw(bench)
    pipe.send("ready")
    while (task := pipe.recv()) is not None:
        topic, count, qos = task
        raw.publish_burst(topic, payloads(count), qos)
        pipe.send("sent")
    raw.close()


class Sender:
    """Publishes numbered messages from another process."""

    def __init__(self, bench: Bench) -> None:
        self._pipe, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(target=_serve, args=(bench, theirs), daemon=True)
        self._process.start()
        assert self._pipe.recv() == "ready"

    def start(self, topic: str, count: int, qos: int) -> None:
        """Begin to send; `finish()` waits for the end."""
        self._pipe.send((topic, count, qos))

    def finish(self) -> None:
        assert self._pipe.poll(WAIT)
        assert self._pipe.recv() == "sent"

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join(WAIT)
