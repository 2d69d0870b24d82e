"""docs/conformance.md is true: every statement has its row, every row its tests, and every named test exists."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOCUMENT = HERE.parent.parent / "docs" / "conformance.md"

# Each section of appendix B with the number of its last statement, and in brackets what the numbering leaves out.
STATEMENTS = {
    "mqtt5": "1.5.4-3 1.5.5-1 1.5.7-1 2.1.3-1 2.2.1-6 2.2.2-1 3.1.0-2 3.1.2-30 3.1.3-12 3.1.4-6 3.2.0-2 3.2.2-22 "
    "3.3.1-13 3.3.2-20 3.3.4-10 3.4.2-3 3.5.2-3 3.6.1-1 3.6.2-3 3.7.2-3 3.8.1-1 3.8.3-5 3.8.4-8 3.9.2-2 3.9.3-2 "
    "3.10.1-1 3.10.3-2 3.10.4-6 3.11.2-2 3.11.3-2 3.12.4-1 3.14.0-1 3.14.1-1 3.14.2-4 3.14.4-3 3.15.1-1 3.15.2-3 "
    "4.1.0-2 4.2.0-1 4.3.1-1 4.3.2-5 4.3.3-13 4.4.0-2 4.5.0-2 4.6.0-6 4.7.0-1 4.7.1-2 4.7.2-1 4.7.3-4 4.8.2-6 "
    "4.9.0-3 4.12.0-7 4.12.1-2 4.13.1-1 4.13.2-1 6.0.0-4",
    "mqtt311": "1.5.3-3 2.2.2-2 2.3.1-7 3.1.0-2 3.1.2-24 3.1.3-11 3.1.4-5 3.2.0-1 3.2.2-6 3.3.1-12 3.3.2-3 3.3.4-1 "
    "3.3.5-2 3.6.1-1 3.8.1-1 3.8.3-4 3.8.4-6 3.9.3-2 3.10.1-1 3.10.3-2 3.10.4-6 3.12.4-1 3.14.1-1 3.14.4-3 4.1.0-2 "
    "4.3.1-1 4.3.2-2 4.3.3-2 4.4.0-1 4.5.0-2 4.6.0-6 4.7.1-3 4.7.2-1 4.7.3-4 4.8.0-2 6.0.0-4 7.0.0-2 7.1.1-1 7.1.2-1",
}
LEFT_OUT = {"mqtt5": {"2.2.1-1"}, "mqtt311": set[str]()}
SECTIONS = {"mqtt5": "## MQTT 5.0", "mqtt311": "## MQTT 3.1.1", "aws": "## Where AWS differs"}


def numbers(version: str) -> list[str]:
    """Every statement of appendix B."""
    ends = (each.rsplit("-", 1) for each in STATEMENTS[version].split())
    listed = [f"{section}-{number}" for section, last in ends for number in range(1, int(last) + 1)]
    return [each for each in listed if each not in LEFT_OUT[version]]


@cache
def functions(path: Path) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    body = ast.parse(path.read_text()).body
    return {each.name: each for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def marked() -> dict[str, defaultdict[str, set[str]]]:
    """What the marks of the tests say: kind of mark, then number or slug, then `file: test`."""
    found = {kind: defaultdict[str, set[str]](set) for kind in SECTIONS}
    for path in HERE.glob("test_*.py"):
        for name, function in functions(path).items():
            for call in function.decorator_list:
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in found:
                    for argument in call.args:
                        value = ast.literal_eval(argument.value if isinstance(argument, ast.Starred) else argument)
                        for each in [value] if isinstance(value, str) else value:
                            found[call.func.attr][each].add(f"{path.name}: {name}")
    return found


def rows(kind: str) -> dict[str, str]:
    """The rows of a table by their first cell, whole."""
    section = DOCUMENT.read_text().split(SECTIONS[kind])[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("| ")][1:]
    names = [re.sub("<[^>]*>", "", line.split("|")[1]).strip() for line in table]
    assert len(set(names)) == len(names)
    return dict(zip(names, table, strict=True))


def named(row: str) -> Iterator[tuple[str, str]]:
    """The tests that a row names: file and function."""
    for file, tests in re.findall(r"`([\w/]*test_\w+\.py)`: ((?:`test_\w+`(?:, )?)+)", row):
        for test in re.findall(r"`(\w+)`", tests):
            yield file, test


@pytest.mark.parametrize("version", ["mqtt5", "mqtt311"])
def test_every_statement_has_a_row_and_no_other_number_is_used(version: str) -> None:
    assert list(rows(version)) == numbers(version)
    assert set(marked()[version]) <= set(numbers(version))


@pytest.mark.parametrize("kind", list(SECTIONS))
def test_every_named_test_exists_and_every_row_names_the_tests_that_are_marked_with_it(kind: str) -> None:
    marks = marked()[kind]
    for name, row in rows(kind).items():
        here = {f"{file}: {test}" for file, test in named(row) if "/" not in file}
        assert here == marks[name], f"the row of {name} in {DOCUMENT.name} and the marks differ"
        for file, test in named(row):
            path = (HERE.parent if "/" in file else HERE) / file
            assert test in functions(path), f"{file} has no {test}, which the row of {name} names"


@pytest.mark.parametrize("version", ["mqtt5", "mqtt311"])
def test_a_row_without_a_test_says_why(version: str) -> None:
    deviations = rows("aws")
    for number, row in rows(version).items():
        differs = re.findall(r"\[([\w-]+)\]\(#([\w-]+)\)", row)
        assert all(shown == link and shown in deviations for shown, link in differs), row
        for slug, _ in differs:
            assert re.search(rf"[ (]{re.escape(number)}[,;)]", deviations[slug]), f"{slug} does not speak of {number}"
        reasons = ("the client's part", "does not arise: ")
        assert any(named(row)) or differs or any(reason in row for reason in reasons), row


def test_every_deviation_has_a_source_and_a_test() -> None:
    deviations = rows("aws")
    assert set(marked()["aws"]) <= set(deviations)
    for row in deviations.values():
        assert any(named(row)), row
        assert re.search(r'page "|seen at the service|choice', row.split("|")[4]), row


def test_the_counts_at_the_top_are_those_of_the_tables() -> None:
    top = DOCUMENT.read_text().split("\n## ")[0]
    for column, version in enumerate(("mqtt5", "mqtt311")):
        table = rows(version).values()
        differs = sum("AWS differs: " in row for row in table)
        client = sum("the client's part" in row for row in table)
        arises_not = sum("does not arise: " in row for row in table)
        counted = [len(table), len(table) - differs - client - arises_not, differs, client, arises_not]
        written = [
            int(line.split("|")[2 + column]) for line in re.findall(r"^\| [a-zA-Z].*\| \d+ \|.*$", top, re.MULTILINE)
        ]
        assert written == counted
