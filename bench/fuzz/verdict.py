"""What a run says about one target, and how it is printed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .findings import Finding

_SHOWN_OUTCOMES = 12


@dataclass(slots=True)
class Verdict:
    """The figures of one target.

    slowest_seconds, slowest_bytes: of the input that took longest. lines, lines_known: reached in the guided phase,
    and how many there are. memory: MiB of the process before and after.
    """

    name: str
    inputs: int = 0
    packets: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    slowest_seconds: float = 0.0
    slowest_bytes: int = 0
    lines: int = 0
    lines_known: int = 0
    missed: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    kept: int = 0
    memory: tuple[float, float] = (0.0, 0.0)
    findings: list[Finding] = field(default_factory=list[Finding])

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def line(self) -> str:
        """Return the line of the table."""
        rate = self.packets / self.seconds if self.seconds else 0.0
        share = 100 * self.lines / self.lines_known if self.lines_known else 0.0
        return (
            f"{self.name:<12}{self.packets:>10,}{self.inputs:>10,}{rate:>9,.0f}{len(self.outcomes):>10,}"
            f"{self.slowest_seconds * 1e3:>9.1f} ({self.slowest_bytes:>7,})"
            f"{share:>7.0f} %{self.memory[0]:>8.0f}{self.memory[1] - self.memory[0]:>+7.1f}"
            f"   {'ok' if self.passed else f'{len(self.findings)} FOUND'}"
        )

    def told(self) -> str:
        """Return the most frequent outcomes, and how many more there are."""
        common = self.outcomes.most_common(_SHOWN_OUTCOMES)
        more = len(self.outcomes) - len(common)
        text = ", ".join(f"{label} {count:,}" for label, count in common)
        return f"{self.name}: {text}{f', and {more} more' if more else ''}"


HEADING = (
    f"{'target':<12}{'packets':>10}{'inputs':>10}{'per s':>9}{'outcomes':>10}{'slowest ms (bytes)':>19}"
    f"{'lines':>9}{'MiB':>8}{'grown':>7}"
)
