"""The merge of container defaults gives what a build from the new base would."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.oci.rebase.merging import MergedSettings, SettingChange, commands, merged_settings

ENV = st.dictionaries(
    st.sampled_from(["A", "B", "PATH"]), st.sampled_from(["", "1", "/a:/b", "/a"]), max_size=3
)


def env(**values: str) -> dict[str, Any]:
    return {"Env": [f"{name}={text}" for name, text in values.items()]}


def merge(old: dict[str, Any], new: dict[str, Any], image: dict[str, Any]) -> MergedSettings:
    return merged_settings(old, new, image)


def test_what_the_image_has_of_its_base_is_renewed_and_its_own_stays() -> None:
    old = env(PATH="/bin", PYTHON_VERSION="3.11", LANG="C")
    new = env(PATH="/bin", PYTHON_VERSION="3.11.9", EXTRA="1", LANG="C.UTF-8")
    merged = merge(old, new, env(PATH="/bin", PYTHON_VERSION="3.11", LANG="de", APP="x"))
    assert dict(one.split("=", 1) for one in merged.settings["Env"]) == {
        "PATH": "/bin",
        "PYTHON_VERSION": "3.11.9",
        "EXTRA": "1",
        "LANG": "de",
        "APP": "x",
    }
    assert SettingChange("Env.PYTHON_VERSION", "3.11", "3.11.9") in merged.changes
    assert not merged.conflicts


def test_a_variable_that_the_new_base_has_not_is_gone() -> None:
    assert merge(env(GPG_KEY="1", A="2"), env(A="2"), env(GPG_KEY="1", A="2")).settings == env(
        A="2"
    )


@pytest.mark.parametrize(
    ("own", "merged"),
    [
        ("/opt/bin:/usr/bin:/bin", "/opt/bin:/new:/usr/bin:/bin"),
        ("/usr/bin:/bin:/opt/bin", "/new:/usr/bin:/bin:/opt/bin"),
        ("/a:/usr/bin:/bin:/z", "/a:/new:/usr/bin:/bin:/z"),
        ("/usr/bin:/bin", "/new:/usr/bin:/bin"),
    ],
)
def test_a_path_that_the_image_has_added_to_gets_the_new_bases_entries(
    own: str, merged: str
) -> None:
    made = merge(env(PATH="/usr/bin:/bin"), env(PATH="/new:/usr/bin:/bin"), env(PATH=own))
    assert made.settings == env(PATH=merged)
    assert not made.conflicts


@pytest.mark.parametrize("own", ["/usr/bin:/opt:/bin", "/opt/bin"])
def test_a_path_that_both_have_written_anew_is_a_conflict(own: str) -> None:
    made = merge(env(PATH="/usr/bin:/bin"), env(PATH="/new:/bin"), env(PATH=own))
    assert [one.path for one in made.conflicts] == ["Env.PATH"]


def test_a_value_that_was_made_of_the_bases_is_a_conflict() -> None:
    made = merge(env(V="3.11"), env(V="3.12"), env(V="python-3.11-slim"))
    assert [one.path for one in made.conflicts] == ["Env.V"]


@pytest.mark.parametrize("name", ["Labels", "ExposedPorts", "Volumes"])
def test_maps_are_merged_key_by_key(name: str) -> None:
    old, new = {name: {"a": "1", "b": "1", "c": "1"}}, {name: {"a": "2", "c": "2", "d": "2"}}
    merged = merge(old, new, {name: {"a": "1", "b": "1", "c": "own", "e": "own"}}).settings
    assert merged[name] == {"a": "2", "c": "own", "e": "own", "d": "2"}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("User", ("root", "app", "me")),
        ("WorkingDir", ("/", "/srv", "/me")),
        ("StopSignal", ("SIGTERM", "SIGINT", "SIGHUP")),
        ("Shell", (["/bin/sh"], ["/bin/bash"], ["/bin/me"])),
        ("Healthcheck", ({"Test": ["a"]}, {"Test": ["b"]}, {"Test": ["c"]})),
    ],
)
def test_single_values_are_the_new_bases_unless_the_image_has_its_own(
    name: str, values: tuple[Any, Any, Any]
) -> None:
    old, new, own = values
    assert merge({name: old}, {name: new}, {name: old}).settings == {name: new}
    assert merge({name: old}, {name: new}, {name: own}).settings == {name: own}
    assert merge({name: old}, {}, {name: old}).settings == {}
    assert merge({}, {name: new}, {name: ""}).settings == {name: new}


def test_an_image_with_its_own_entrypoint_inherits_no_command() -> None:
    old, new = {"Cmd": ["sh"]}, {"Cmd": ["bash"], "Entrypoint": ["/init"]}
    assert merge(old, new, {"Cmd": ["sh"]}).settings == new
    assert merge(old, new, {"Entrypoint": ["/app"]}).settings == {"Entrypoint": ["/app"]}
    assert merge(old, new, {"Cmd": ["x"]}).settings == {"Cmd": ["x"], "Entrypoint": ["/init"]}


def test_fields_that_nobody_knows_and_onbuild_stay_the_images() -> None:
    own = {"ArgsEscaped": True, "OnBuild": ["RUN x"], "Hostname": "h"}
    assert merge({}, {"OnBuild": ["RUN y"]}, own).settings == own


@pytest.mark.parametrize("env_value", [None, "text", [1, "A=1"], {"A": 1}])
def test_values_of_another_type_are_no_error(env_value: Any) -> None:
    merge({"Env": env_value, "Labels": []}, {"Env": env_value}, {"Env": env_value, "Volumes": None})


@given(ENV, ENV)
def test_an_image_that_adds_nothing_becomes_its_new_base(
    old: dict[str, str], new: dict[str, str]
) -> None:
    merged = merge(env(**old), env(**new), env(**old))
    assert merged.settings == env(**new)
    assert not merged.conflicts


@given(ENV, ENV)
def test_the_same_base_changes_nothing(base: dict[str, str], own: dict[str, str]) -> None:
    image = env(**(base | own))
    merged = merge(env(**base), env(**base), image)
    assert sorted(merged.settings["Env"]) == sorted(image["Env"])
    assert not merged.changes


def test_commands_are_the_words_of_both() -> None:
    assert [*commands({"Entrypoint": ["a", 1], "Cmd": ["b"]})] == ["a", "b"]
    assert [*commands({"Entrypoint": "a", "Cmd": None})] == []
