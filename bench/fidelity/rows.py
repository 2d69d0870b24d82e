"""One row for each single behaviour of the service that is known, or known to be unknown; read and checked.

The rows stand in `tests/fidelity/section_*.toml`. A row that claims something about the endpoint names the tests that
show it, and the smallest change of the package's text that takes the behaviour out: with that change one of these
tests has to fail (`prove.py`). Without such a change there is no claim, only hope.

    here           means                                                                     needs
    implemented    the endpoint does it, or, if unknown, does what `choice` says             tests, taken_out
    refused        it is left out on purpose; `why` says so, and what a client gets          tests, taken_out; or none
    missing        it is left out, and should not be                                         why
    elsewhere      a fact about clients or the control plane: an endpoint cannot show it     why

`setting` names what makes the endpoint do otherwise, a field of `Choices` as `Choices.name`; where there is a choice
and no setting for it, `none: ` and why not. Each field of `Choices` has to be named by a row.

This file never imports the package that the rows are about: the prover has to choose which copy of it is loaded.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
ROWS: Final = ROOT / "tests" / "fidelity"
PACKAGE: Final = "iot_customauth_client"
CHOICES: Final = "local/choices.py"
"""Of the package: the settings of what is not known."""

STATUSES: Final = ("documented", "observed", "unknown")
STANDINGS: Final = ("implemented", "refused", "missing", "elsewhere")

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NODE = re.compile(r"(?P<file>[a-z0-9_/]+\.py)::test_\w+(\[.+\])?")
_CHOICE = re.compile(r"`Choices\.(\w+)`")
_KEYS: Final = frozenset(
    {"id", "behaviour", "status", "source", "here", "why", "choice", "setting", "tests", "taken_out"}
)


class BadRows(Exception):
    """Rows that cannot be used; `str()` is one problem a line."""


@dataclass(frozen=True, slots=True)
class Change:
    """A replacement of text that stands exactly once in a file. `file` is relative to the package."""

    file: str
    find: str
    replace: str


@dataclass(frozen=True, slots=True)
class Row:
    """One behaviour. `tests` are pytest's node ids, relative to `tests/`."""

    id: str
    section: str
    behaviour: str
    status: str
    source: str
    here: str
    why: str
    choice: str
    setting: str
    tests: tuple[str, ...]
    taken_out: Change | None

    @property
    def test_files(self) -> tuple[str, ...]:
        """The files of its tests, each once."""
        return tuple(dict.fromkeys(node.partition("::")[0] for node in self.tests))


@dataclass(frozen=True, slots=True)
class Section:
    """A file of rows; `number` and `title` are those of its heading."""

    number: str
    title: str
    rows: tuple[Row, ...]


def read_sections(directory: Path = ROWS) -> tuple[Section, ...]:
    """Read all sections in their order. Raises `BadRows` with everything that is wrong with them."""
    problems: list[str] = []
    sections: list[Section] = []
    for path in sorted(directory.glob("section_*.toml"), key=lambda path: _number(path.stem)):
        try:
            document = tomllib.loads(path.read_text())
        except tomllib.TOMLDecodeError as error:
            problems.append(f"{path.name}: {error}")
            continue
        rows = tuple(_row(table, path.stem, problems) for table in document.get("row", ()))
        sections.append(Section(str(document.get("section", "?")), str(document.get("title", "?")), rows))
    seen: set[str] = set()
    for row in every_row(sections):
        if row.id in seen:
            problems.append(f"{row.id}: this id is given twice")
        seen.add(row.id)
    if problems:
        raise BadRows("\n".join(problems))
    return tuple(sections)


def every_row(sections: Iterable[Section]) -> list[Row]:
    """Return the rows of all sections, in their order."""
    return [row for section in sections for row in section.rows]


def misplaced_changes(rows: Iterable[Row], root: Path = ROOT) -> list[str]:
    """Say which changes do not fit the package as it is: their text has to stand there exactly once."""
    problems: list[str] = []
    texts: dict[str, str | None] = {}
    for row in rows:
        change = row.taken_out
        if change is None:
            continue
        if change.file not in texts:
            path = root / PACKAGE / change.file
            texts[change.file] = path.read_text() if path.is_file() else None
        text = texts[change.file]
        if text is None:
            problems.append(f"{row.id}: taken_out.file {change.file} does not exist in {PACKAGE}")
        elif (times := text.count(change.find)) != 1:
            problems.append(f"{row.id}: taken_out.find stands {times} times in {change.file}, and must once")
    return problems


def unfit_settings(rows: Iterable[Row], root: Path = ROOT) -> list[str]:
    """Say which fields of `Choices` the rows name that do not exist, and which exist and no row names."""
    tree = ast.parse((root / PACKAGE / CHOICES).read_text())
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "Choices")
    parts = (part for found in classes for part in found.body if isinstance(part, ast.AnnAssign))
    fields = [part.target.id for part in parts if isinstance(part.target, ast.Name)]
    named = [(field, row) for row in rows for field in _CHOICE.findall(row.setting)]
    problems = [f"{row.id}: there is no field {field} of Choices" for field, row in named if field not in fields]
    missed = sorted(set(fields) - {field for field, _ in named})
    return problems + [f"Choices.{field}: no row says which unknown it settles" for field in missed]


def _number(stem: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", stem)))


def _row(table: Mapping[str, object], file: str, problems: list[str]) -> Row:
    name = str(table.get("id", f"a row of {file} without id"))

    def text(key: str) -> str:
        value = table.get(key, "")
        if not isinstance(value, str):
            problems.append(f"{name}: {key} must be text")
            return ""
        if "\n" in value.strip() or "|" in value:
            problems.append(f"{name}: {key} must be one line without `|`, for it stands in a table")
        return value.strip()

    row = Row(
        id=name,
        section=file,
        behaviour=text("behaviour"),
        status=text("status"),
        source=text("source"),
        here=text("here"),
        why=text("why"),
        choice=text("choice"),
        setting=text("setting"),
        tests=tuple(map(str, _list(table.get("tests", [])))),
        taken_out=_change(table.get("taken_out"), name, problems),
    )
    problems += [f"{name}: {problem}" for problem in _problems(row)]
    problems += [f"{name}: {key} is not a key of a row" for key in table if key not in _KEYS]
    return row


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _change(value: object, name: str, problems: list[str]) -> Change | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"file", "find", "replace"}:
        problems.append(f"{name}: taken_out must have file, find and replace")
        return None
    change = Change(str(value["file"]), str(value["find"]), str(value["replace"]))
    if change.find == change.replace:
        problems.append(f"{name}: taken_out changes nothing")
    return change


def _problems(row: Row) -> list[str]:
    """Return what a row lacks or must not have."""
    problems: list[str] = []
    if not _ID.fullmatch(row.id):
        problems.append("the id must be lower-case words joined by `-`")
    if row.status not in STATUSES:
        problems.append(f"status must be one of {', '.join(STATUSES)}")
    if row.here not in STANDINGS:
        problems.append(f"here must be one of {', '.join(STANDINGS)}")
    problems += [f"{key} is missing" for key in ("behaviour", "source") if not getattr(row, key)]
    problems += [f"{node!r} is no node id relative to tests/" for node in row.tests if not _NODE.fullmatch(node)]
    if row.here == "implemented" and not row.tests:
        problems.append("what is implemented needs tests")
    if bool(row.tests) != (row.taken_out is not None):
        problems.append("tests and taken_out belong together")
    if row.here in ("missing", "elsewhere") and row.tests:
        problems.append(f"what is {row.here} has no tests")
    if row.here != "implemented" and not row.why:
        problems.append(f"what is {row.here} needs `why`")
    if (row.status == "unknown" and row.here == "implemented") != bool(row.choice):
        problems.append("choice says what is done where nothing is known, and stands there only")
    if row.choice and not row.setting:
        problems.append("a choice needs a setting, or `none: ` and why there is none")
    if row.setting and row.here not in ("implemented", "refused"):
        problems.append(f"what is {row.here} has no setting")
    return problems
