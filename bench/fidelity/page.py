"""`docs/fidelity.md`, made of the rows. Pure: rows in, text out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .rows import ROOT, STANDINGS, STATUSES, Row, Section, every_row

PAGE: Final = ROOT / "docs" / "fidelity.md"

_HEAD = """# Fidelity

What the belief in the local endpoint rests on: each behaviour of AWS IoT Core's custom authentication that is known,
where it is known from, whether the endpoint does the same, and the tests that show it. Written by `scripts/fidelity`
from the rows in `tests/fidelity/`; change those, not this page.

**Documented** is what AWS's pages, API models or SDK sources say. **Observed** was seen at the service by others, in
an issue or in software that works with it. **Unknown** is what nobody has said or shown: there the endpoint makes a
choice, and where another one is likely, a setting makes it.

**Implemented** means that a test fails when the behaviour is taken out: each row names the smallest change of the
package that does so, and the proof makes it. **Refused** is left out on purpose. **Missing** is left out and should
not be. **Elsewhere** are facts about clients or about AWS's control plane, which no endpoint can show.

```sh
scripts/fidelity --check                     # this page, the named tests and the changes fit the package
scripts/fidelity --prove                     # makes every change, one at a time, and runs its tests: minutes
scripts/fidelity --prove --only ROW ...      # the same for some rows
scripts/fidelity --prove --sample 20 --seed 7
```

A row proves that the endpoint does what the source says; not that the source is right, nor that it is still so today.
"""


def write_page(sections: Sequence[Section]) -> str:
    """Return the page's text."""
    parts = [_HEAD, _counts(every_row(sections)), _contents(sections)]
    parts += [_section(section) for section in sections]
    return "\n".join(parts)


def _counts(rows: Sequence[Row]) -> str:
    found = Counter((row.status, row.here) for row in rows)
    lines = ["## Counts", "", "| | " + " | ".join((*_HEADINGS, "all")) + " |", "|---" * (len(STANDINGS) + 2) + "|"]
    for status in STATUSES:
        counts = [found[status, here] for here in STANDINGS]
        lines.append(f"| {status} | " + " | ".join(map(str, (*counts, sum(counts)))) + " |")
    totals = [sum(found[status, here] for status in STATUSES) for here in STANDINGS]
    lines.append("| **all** | " + " | ".join(map(str, (*totals, sum(totals)))) + " |")
    return "\n".join(lines) + "\n"


_HEADINGS = ("implemented", "refused on purpose", "missing", "elsewhere")


def _contents(sections: Sequence[Section]) -> str:
    links = (f"[{section.title}](#{_anchor(_heading(section))})" for section in sections)
    return "Sections: " + ",\n".join(links) + ".\n"


def _heading(section: Section) -> str:
    return f"{section.number}. {section.title}"


def _anchor(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return "".join(each for each in heading.lower().replace(" ", "-") if each.isalnum() or each in "-_")


def _section(section: Section) -> str:
    lines = [
        f"## {_heading(section)}",
        "",
        "| row | behaviour | known from | here | shown by |",
        "|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in section.rows]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    known = f"{row.status}: {row.source}"
    return f"| `{row.id}` | {row.behaviour} | {known} | {_here(row)} | {_shown_by(row)} |"


def _here(row: Row) -> str:
    if row.choice:
        return f"choice: {row.choice}; setting: {row.setting}"
    told = row.here if not row.why else f"{row.here}: {row.why}"
    return f"{told}; setting: {row.setting}" if row.setting else told


def _shown_by(row: Row) -> str:
    return "<br>".join(_link(node) for node in row.tests)


def _link(node: str) -> str:
    file, _, test = node.partition("::")
    name = test.partition("[")[0].removeprefix("test_").replace("_", " ")
    return f"[{name}](../tests/{Path(file).as_posix()})"
