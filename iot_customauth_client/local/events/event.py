"""What every event has: its place in the log, its time, and how it is shown.

It must never show a payload: that may be anything, and is told by its length.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    sequence: place in the log of its endpoint, from 1; 0 as long as it is in no log.
    at: time of the day, aware, when it came into the log; None as long as it is in no log.
    """

    kind: ClassVar[str] = "event"

    sequence: int = field(default=0, kw_only=True)
    at: datetime | None = field(default=None, kw_only=True)

    def fields(self) -> dict[str, object]:
        """Return kind, sequence, time and all fields, fit for JSON.

        `at` is ISO 8601 text, a tuple is a list, and `payload` is replaced by `payload_bytes`, its length.
        """
        shown: dict[str, object] = {"sequence": self.sequence, "at": None, "kind": self.kind}
        if self.at is not None:
            shown["at"] = self.at.isoformat()
        for each in fields(self):
            if each.name in shown:
                continue
            value: object = getattr(self, each.name)
            if isinstance(value, bytes):
                shown[f"{each.name}_bytes"] = len(value)
            elif isinstance(value, tuple):
                shown[each.name] = list(value)
            elif isinstance(value, Mapping):
                shown[each.name] = dict(value)
            else:
                shown[each.name] = value
        return shown

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self.fields().items() if name not in {"kind", "at"})
        return f"{type(self).__name__}({', '.join(shown)})"
