"""Calls that `oc` 4.22 makes for the tasks on docs/oc.md: recorded there, and made again here.

What only running parts can answer is left out: logs, entered containers, finished builds. The
page's own test runs the client itself, where it is installed.
"""

import json
from pathlib import Path
from typing import Any

from tests.support.server.api_server import serving

from upwell.server.http.limits import ServerLimits
from upwell.uploads.files import FileInputs

CALLS = Path(__file__).with_name("oc_calls.jsonl")
"""A line for each call: the command, the request, and the status and kind of its answer."""


async def test_the_calls_of_oc_are_answered_as_it_expects(tmp_path: Path) -> None:
    calls: list[dict[str, Any]] = [json.loads(line) for line in CALLS.read_text().splitlines()]
    inputs = FileInputs(tmp_path / "inputs", limit_bytes=100_000)
    wrong = []
    async with serving(ServerLimits(), inputs=inputs) as api:
        for call in calls:
            answer = await api.send(
                call["method"],
                call["path"],
                call.get("body"),
                call.get("type", "application/json"),
                Accept=call["accept"],
            )
            found = (answer.status, answer.json.get("kind", "") if answer.text else "")
            if found != (call["status"], call["kind"] or found[1]):
                said = f"{found}, not {call['status'], call['kind']}: {answer.text[:300]}"
                wrong.append(f"oc {call['oc']}: {call['method']} {call['path']}\n  {said}")
    assert len(calls) > 50
    assert not wrong, "\n".join(wrong)
