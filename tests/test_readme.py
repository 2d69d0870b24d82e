"""The README's code runs as it is printed; only where the endpoint is differs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from iot_customauth_client.local import LocalEndpoint

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
ENDPOINT_LINE = '"xxxxxxxxxxxx-ats.iot.ap-northeast-1.amazonaws.com",'
FIRST_SCREEN_LINES = 40


def allow_all(event: dict[str, object], context: object) -> dict[str, object]:
    return {
        "isAuthenticated": True,
        "principalId": "device1",
        "disconnectAfterInSeconds": 3600,
        "refreshAfterInSeconds": 300,
        "policyDocuments": [
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        ],
    }


def test_the_first_example_is_on_the_first_screen() -> None:
    lines = README.splitlines()
    assert "```python" in lines[:FIRST_SCREEN_LINES]
    assert "```" in lines[:FIRST_SCREEN_LINES]


def test_the_first_example_runs_with_only_the_endpoint_line_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    example = BLOCKS[0]
    assert example.count(ENDPOINT_LINE) == 1
    with LocalEndpoint({"custom_auth_mqtt": allow_all}) as endpoint:
        code = example.replace(ENDPOINT_LINE, 'endpoint.settings("client_id"),')
        exec(compile(code, "README.md", "exec"), {"endpoint": endpoint})
    assert capsys.readouterr().out == "{'counter': 1}\n"


def test_the_example_with_a_local_endpoint_runs_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(BLOCKS[1], "README.md", "exec"), {})
    assert capsys.readouterr().out == "my-topic\n"


def test_every_link_of_the_documents_leads_to_a_file() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
