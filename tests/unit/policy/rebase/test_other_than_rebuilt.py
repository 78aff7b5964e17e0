"""Images that a rebase would leave otherwise than a build on the new base makes them."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.policy.rebase.test_rebase_safety import (
    FOLDER,
    LIB,
    NEW,
    OLD,
    Settings,
    faults,
    file,
    findings,
    layer,
    link,
)

from upwell.inventory.interface import ElfFacts, LayerFiles
from upwell.policy.rebase.findings import RebaseFault

DOCS = "usr/share/doc"
TOOL = "opt/tool-1.2"


def folder(**paths: str) -> LayerFiles:
    return layer({DOCS: FOLDER, **{f"{DOCS}/{name}": file(text) for name, text in paths.items()}})


@pytest.mark.parametrize(
    "own",
    [
        layer(removed=frozenset({f"{DOCS}/a", f"{DOCS}/b"})),
        layer({f"{DOCS}/a": file("a", uid=5), f"{DOCS}/b": file("b", uid=5)}),
        layer({f"{DOCS}/a": file("a", mode=0o775), f"{DOCS}/b": file("b", mode=0o775)}),
    ],
)
def test_a_step_that_met_all_of_a_folder_would_meet_what_the_base_update_adds(
    own: LayerFiles,
) -> None:
    old = folder(a="a", b="b")
    found = findings(old, folder(a="a", b="b", c="c"), own)
    assert [(one.fault, one.paths) for one in found] == [(RebaseFault.FILE_OVERLAP, (DOCS,))]
    assert findings(old, folder(a="a", b="b"), own) == [], "nothing is added"


def test_a_step_that_met_a_part_of_a_folder_meets_no_more() -> None:
    old, new = folder(a="a", b="b"), folder(a="a", b="b", c="c")
    assert findings(old, new, layer(removed=frozenset({f"{DOCS}/a"}))) == []
    replaced = layer({f"{DOCS}/a": file("mine"), f"{DOCS}/b": file("mine")})
    assert findings(old, new, replaced) == []
    assert findings(layer({DOCS: FOLDER}), folder(c="c"), layer({DOCS: FOLDER})) == []


def test_what_is_hidden_or_a_link_is_not_waited_for() -> None:
    more = {f"{DOCS}/.keep": file(), f"{DOCS}/z": link("a")}
    old, new = (layer({**one.entries, **more}) for one in (folder(a="a"), folder(a="a", c="c")))
    assert faults(old, new, layer({f"{DOCS}/a": file("a", gid=5)})) == {RebaseFault.FILE_OVERLAP}


def test_an_empty_folder_with_other_rights_is_one_that_was_met() -> None:
    own = layer({DOCS: replace(FOLDER, mode=0o775)})
    assert faults(layer({DOCS: FOLDER}), folder(a="a"), own) == {RebaseFault.FILE_OVERLAP}


def test_a_file_in_a_folder_that_the_new_base_has_not_is_a_fault() -> None:
    old = layer({f"{TOOL}/lib/a": file("a")})
    own = layer({TOOL: FOLDER, f"{TOOL}/lib": FOLDER, f"{TOOL}/lib/mine": file("mine")})
    assert faults(old, layer({"opt/tool-1.3/lib/a": file("a")}), own) == {RebaseFault.MISSING_FILE}
    assert findings(old, layer({f"{TOOL}/lib/b": file("b")}), own) == []


@pytest.mark.parametrize(
    "path", [f"{LIB}/libssl.a", "usr/local/lib/rustlib/x/libstd.rlib", "usr/local/go/src/net/a.go"]
)
def test_a_program_may_be_linked_with_what_the_base_update_replaces(path: str) -> None:
    own = layer({"app/run": file()}, elf={"app/run": ElfFacts()})
    old, new = layer({path: file("1")}), layer({path: file("2")})
    found = findings(old, new, own)
    assert [(one.fault, one.paths) for one in found] == [(RebaseFault.BASE_COPY, ("app/run",))]
    assert findings(old, new, layer({"app/run.py": file()})) == []
    assert findings(layer(), new, own) == [], "it was not there to be linked"


@pytest.mark.parametrize(
    ("path", "rows"), [("etc/passwd", "app:x:{}:9::/:"), ("etc/group", "app:x:{}:")]
)
def test_files_of_a_name_with_another_id_are_a_fault(path: str, rows: str) -> None:
    def base(number: str) -> LayerFiles:
        return layer({path: file(number)}, texts={path: f"root:x:0:0::/:\n{rows.format(number)}"})

    own = layer({"srv/a": file(uid=100, gid=100)})
    assert faults(base("100"), base("101"), own) == {RebaseFault.USER}
    assert faults(base("100"), layer(), own) == {RebaseFault.USER}
    assert findings(base("100"), base("101"), layer({"srv/a": file(uid=7, gid=7)})) == []
    assert findings(base("100"), base("100"), own) == []


def test_a_library_of_the_same_name_elsewhere_is_not_the_one_that_is_loaded() -> None:
    old = layer({f"{LIB}/libfoo.so.1": file("1")})
    elf = {"app/run": ElfFacts(needed=("libfoo.so.1",))}
    for path, expected in (
        ("opt/other/libfoo.so.1", {RebaseFault.MISSING_LIBRARY}),
        ("usr/local/lib/libfoo.so.1", set[RebaseFault]()),
    ):
        own = layer({"app/run": file(), path: file("mine")}, elf=elf)
        assert faults(old, layer({f"{LIB}/other": file()}), own) == expected


def test_a_command_of_a_shell_names_paths_too() -> None:
    settings: Settings = ({}, {}, {"Cmd": ["/bin/sh", "-c", "cd /srv && exec /usr/bin/tool -x"]})
    old = layer({"usr/bin/tool": file(), "srv": FOLDER})
    assert faults(old, layer({"srv": FOLDER}), settings=settings) == {RebaseFault.MISSING_FILE}
    assert findings(old, old, settings=settings) == []


@pytest.mark.parametrize(
    "own",
    [
        {"Env": ["HOME_OF=/opt/t-1", "LD_LIBRARY_PATH=/opt/t-1/lib"]},
        {"Env": ["HOME_OF=/opt/t-1"], "Labels": {"of": "/opt/t-1"}},
        {"Env": ["HOME_OF=/opt/t-1"], "WorkingDir": "/opt/t-1"},
        {"Env": ["HOME_OF=/opt/t-1"], "Cmd": ["/opt/t-1/run"]},
    ],
)
def test_a_setting_that_has_the_value_of_a_variable_of_the_base_is_a_conflict(
    own: dict[str, Any],
) -> None:
    old, new = {"Env": ["HOME_OF=/opt/t-1"]}, {"Env": ["HOME_OF=/opt/t-2"]}
    assert faults(OLD, NEW, settings=(old, new, own)) == {RebaseFault.SETTING_CONFLICT}
    assert findings(OLD, NEW, settings=(old, old, own)) == []
    longer = {"Env": ["HOME_OF=/opt/t-1", "OTHER=/opt/t-10"]}
    assert findings(OLD, NEW, settings=(old, new, longer)) == []


def test_more_variables_than_can_be_looked_for_are_unknown() -> None:
    names = range(5_000)
    old, new = ({"Env": [f"V{name}={name}{end}" for name in names]} for end in "ab")
    own = {**old, "Labels": {f"l{name}": "text" for name in names}}
    assert faults(OLD, NEW, settings=(old, new, own)) == {RebaseFault.UNKNOWN}


def test_what_steps_wrote_below_a_volume_of_the_old_base_alone_is_missing() -> None:
    volume: dict[str, Any] = {"Volumes": {"/data": {}}}
    settings: Settings = (volume, {}, volume)
    assert faults(OLD, NEW, settings=settings) == {RebaseFault.SETTING_CONFLICT}
    mine: Settings = ({}, {}, volume)
    assert findings(OLD, NEW, settings=mine) == []
