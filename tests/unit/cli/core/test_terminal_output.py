"""Output of commands: it shows what objects say, and none of that acts on a terminal."""

import asyncio
import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.support.paths import ROOT

from upwell.cli.core.terminal import LogFilter, json_shown, shown

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

TITLE = "\x1b]0;gone\x07"
HOSTILE = f"{TITLE}\x1b[2J\x9b31m\r\x08evil\u202e"
SHOWN = r"\x1b]0;gone\x07\x1b[2J\x9b31m\x0d\x08evil\u202e"
ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


async def put_hostile(client: "FakeClient") -> None:
    await client.put(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "settings",
                "namespace": "default",
                "annotations": {"note": HOSTILE},
            },
            "data": {"key": HOSTILE},
        }
    )
    await client.put(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "e1", "namespace": "default"},
            "involvedObject": {"kind": "Build", "name": "shop-1", "namespace": "default"},
            "type": "Warning",
            "reason": HOSTILE,
            "message": HOSTILE,
        }
    )
    await client.put(
        {
            "apiVersion": "upwell.dev/v1alpha1",
            "kind": "Release",
            "metadata": {"name": "shop-9", "namespace": "default"},
            "spec": {
                "pipeline": HOSTILE,
                "cause": HOSTILE,
                "components": [{"name": HOSTILE, "image": f"a/b@sha256:{'a' * 64}"}],
            },
        }
    )


@pytest.mark.parametrize(
    "command",
    [
        ("get", "releases"),
        ("get", "releases", "-o", "wide"),
        ("get", "events"),
        ("get", "configmaps"),
        ("release", "list"),
        ("release", "describe", "shop-9"),
        ("describe", "configmap/settings"),
        ("describe", "release/shop-9"),
        ("explain", "release/shop-9"),
        ("events",),
        ("get", f"configmap/{HOSTILE}"),
    ],
    ids=lambda command: " ".join(command)[:25],
)
def test_what_commands_print_acts_on_no_terminal(
    upwell: Upwell, client: "FakeClient", command: tuple[str, ...]
) -> None:
    asyncio.run(put_hostile(client))

    result = upwell(*command)

    assert not ACTIVE.search(result.stdout + result.stderr)
    if command[0] == "get" and "releases" not in command and "configmaps" not in command:
        assert "evil" in result.stdout + result.stderr


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_data_stays_data(
    upwell: Upwell, client: "FakeClient", output: str, load: Callable[[str], object]
) -> None:
    asyncio.run(put_hostile(client))

    text = upwell("get", "configmap/settings", "-o", output).stdout

    found = load(text)
    assert isinstance(found, dict)
    assert found["data"]["key"] == HOSTILE
    assert not ACTIVE.search(text)


def test_controls_are_shown_and_lines_stay() -> None:
    assert shown(HOSTILE) == SHOWN
    assert shown("a\tb\nü 漢 \U0001f600") == "a\tb\nü 漢 \U0001f600"
    assert shown("\ud800") == r"\ud800"


@given(st.text())
def test_shown_text_can_be_printed_anywhere(text: str) -> None:
    assert not ACTIVE.search(shown(text))
    shown(text).encode()


@given(st.text())
def test_json_keeps_its_meaning(text: str) -> None:
    assert json.loads(json_shown(json.dumps([text], ensure_ascii=False))) == [text]


LOG = b"\x1b[31;1mred\x1b[0m 50%\rdone\n" + TITLE.encode() + "ü\x9b2J漢".encode()
ON_A_TERMINAL = (
    b"\x1b[31;1mred\x1b[0m 50%\rdone\n" + rb"\x1b]0;gone\x07" + "ü".encode() + rb"\x9b2J"
)


@given(st.lists(st.integers(0, len(LOG)), max_size=6))
def test_a_log_keeps_its_colours_alone_however_it_is_cut(cuts: list[int]) -> None:
    filtered, places = LogFilter(is_terminal=True), [0, *sorted(cuts), len(LOG)]
    pieces = (LOG[start:end] for start, end in pairwise(places))
    written = b"".join(filtered.feed(piece) for piece in pieces) + filtered.end()
    assert written == ON_A_TERMINAL + "漢".encode()


@given(st.binary(), st.binary())
def test_no_other_sequence_passes_and_a_file_gets_the_bytes(one: bytes, other: bytes) -> None:
    filtered = LogFilter(is_terminal=True)
    written = filtered.feed(one) + filtered.feed(other) + filtered.end()
    assert not re.search(rb"\x1b(?!\[[0-9;:]{0,32}m)", written)
    assert LogFilter(is_terminal=False).feed(one) == one


def test_no_command_writes_past_the_filter() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "src/upwell/cli").rglob("*.py")
        if "click.echo(" in path.read_text() and path.name != "terminal.py"
    ]
    assert found == []
