"""Printing events without ever stopping the endpoint.

A pipe that nobody reads blocks whoever writes to it. So events are written by a thread of its own, straight to the file
descriptor; the log is its queue, and what the log has forgotten by then is counted instead. When the reader is gone,
printing ends and serving goes on.

With JSON, stdout belongs to the events: what authorizer functions print goes to stderr then.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import TYPE_CHECKING

from ..local.event_text import event_json, event_line

if TYPE_CHECKING:
    from ..local.event_log import EventLog
    from ..local.events import Event

CLOSE_SECONDS = 2.0
"""How long `close` waits for the last lines to be taken."""

_STYLES = {
    "listening": "bold",
    "turned_away": "red",
    "refused": "bold red",
    "connected": "green",
    "authorizer_answered": "cyan",
    "authorizer_called": "cyan",
    "published": "yellow",
    "delivered": "yellow",
    "dropped": "red",
    "disconnected": "magenta",
    "session_ended": "magenta",
    "stopped": "bold",
}
_QUIET = "dim"


class EventOutput:
    """Prints all events of a log on stdout, as text or as one JSON object on each line."""

    def __init__(self, log: EventLog, *, as_json: bool) -> None:
        self._log = log
        self._as_json = as_json
        self._descriptor = sys.stdout.fileno()
        self._terminal = not as_json and sys.stdout.isatty()
        self._seen = 0
        self._arrived = threading.Event()
        self._closing = False
        self._broken = False
        self._thread: threading.Thread | None = None
        if as_json:
            sys.stdout = sys.stderr
        else:
            # What a function prints must appear when it is printed, between the lines of its events.
            reconfigure = getattr(sys.stdout, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(line_buffering=True)

    def text(self, text: str) -> None:
        """Print text as it is, before the thread starts."""
        self._write(text)

    def start(self) -> None:
        """Print what is in the log, and then whatever comes."""
        self._thread = threading.Thread(target=self._run, name="event-output", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Print what is left and end, within `CLOSE_SECONDS`."""
        self._closing = True
        self._arrived.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        with self._log.waking(self._arrived.set):
            while not self._broken:
                closing = self._closing  # before the last look, so that nothing is missed
                self._arrived.clear()
                self._print(self._log.since(self._seen))
                if closing:
                    return
                if not self._closing:
                    self._arrived.wait()

    def _print(self, events: list[Event]) -> None:
        if not events:
            return
        missed = events[0].sequence - self._seen - 1
        self._seen = events[-1].sequence
        if self._terminal:
            self._print_styled(events)
            return
        lines = [event_json(event) if self._as_json else event_line(event) for event in events]
        if missed > 0:
            notice = {"kind": "not_printed", "events": missed}
            lines.insert(0, json.dumps(notice) if self._as_json else f"({missed:,} events are not printed)")
        self._write("\n".join(lines) + "\n")

    def _print_styled(self, events: list[Event]) -> None:
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False, soft_wrap=True)
        for event in events:
            console.print(Text(event_line(event), style=_STYLES.get(event.kind, _QUIET)))

    def _write(self, text: str) -> None:
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:  # the reader is gone
            self._broken = True
