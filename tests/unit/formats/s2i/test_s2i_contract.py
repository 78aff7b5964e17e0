import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.formats.dockerfile.instructions import instructions
from upwell.formats.s2i.contract import (
    BuilderImage,
    S2iError,
    environment_instructions,
    generated_labels,
    image_path,
    metadata_labels,
    parse_environment,
)
from upwell.formats.s2i.recipe import Assembly, assemble_recipe
from upwell.oci import ImageConfig, Platform


def config(
    env: tuple[str, ...] = (),
    labels: Mapping[str, str] | None = None,
    user: str = "",
    on_build: tuple[str, ...] = (),
) -> ImageConfig:
    platform = Platform("linux", "amd64")
    return ImageConfig(platform, env=env, user=user, labels=labels or {}, on_build=on_build)


NEW_URL = {"io.openshift.s2i.scripts-url": "image:///new"}
OLD_URL = {"io.s2i.scripts-url": "image:///old"}


def test_the_newest_name_of_a_setting_wins() -> None:
    env = ("STI_SCRIPTS_URL=image:///env", "STI_LOCATION=/env")
    assert BuilderImage.of(config(env, NEW_URL | OLD_URL)).scripts_url == "image:///new"
    assert BuilderImage.of(config(env, OLD_URL)).scripts_url == "image:///old"
    assert BuilderImage.of(config(env)).scripts_url == "image:///env"
    assert BuilderImage.of(config(env)).destination == "/env"
    assert BuilderImage.of(config(env, {"io.s2i.destination": "/old"})).destination == "/old"
    assert BuilderImage.of(config()).destination == "/tmp"  # noqa: S108  # the contract's default


def test_the_assemble_user_is_the_label_or_the_images_user() -> None:
    labelled = config(user="1001", labels={"io.openshift.s2i.assemble-user": "5"})
    assert BuilderImage.of(labelled).assemble_user == "5"
    assert BuilderImage.of(labelled).user == "1001"
    assert BuilderImage.of(config(user="1001")).assemble_user == "1001"


def test_a_wanted_assemble_user_goes_before_all() -> None:
    labels = {
        "io.openshift.s2i.assemble-user": "5",
        "io.openshift.s2i.assemble-runtime-user": "6",
        "io.openshift.s2i.assemble-input-files": "/a:b",
    }
    labelled = config(user="1001", labels=labels, on_build=("RUN x",))
    assert BuilderImage.of(labelled, "7").assemble_user == "7"
    assert BuilderImage.of_runtime(labelled).assemble_user == "6"
    assert BuilderImage.of_runtime(labelled, "8").assemble_user == "8"
    assert BuilderImage.of(labelled).on_build == ("RUN x",)
    assert BuilderImage.of(labelled).input_files == "/a:b"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("image:///usr/libexec/s2i", "/usr/libexec/s2i"),
        ("image:///usr/libexec/s2i/", "/usr/libexec/s2i"),
        ("https://example.test/s2i", None),
        ("", None),
    ],
)
def test_image_urls_name_paths(url: str, path: str | None) -> None:
    assert image_path(url) == path


def test_environment_files_are_read_line_by_line() -> None:
    text = "# comment\nA=1\n B = two words \n  #Y=2\nQ='x' \"$A\"\nnone\n=empty\nE=\nA=3\nU=a=b\n"
    assert dict(parse_environment(text)) == {
        "A": "3",
        "B": "two words",
        "#Y": "2",
        "Q": "'x' \"$A\"",
        "E": "",
        "U": "a=b",
    }


@given(st.text())
def test_any_environment_file_gives_names_without_blanks_around(text: str) -> None:
    for name, value in parse_environment(text):
        assert name == name.strip() != ""
        assert value == value.strip()


def test_labels_have_both_prefixes_and_the_plans_win() -> None:
    labels = generated_labels(
        {"io.openshift.build.commit.id": "abc", "io.k8s.display-name": "Shop"}, "r/b@sha256:1", "x"
    )
    assert labels == {
        "io.openshift.build.image": "r/b@sha256:1",
        "io.openshift.s2i.build.image": "r/b@sha256:1",
        "io.openshift.build.commit.id": "abc",
        "io.openshift.s2i.build.commit.id": "abc",
        "io.k8s.display-name": "Shop",
    }


def test_metadata_labels_are_merged_in_order() -> None:
    raw = json.dumps({"labels": [{"a": "1", "b": "2"}, {"a": "3"}]}).encode()
    assert metadata_labels(raw) == {"a": "3", "b": "2"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"labels": {"a": "1"}}',
        b'{"labels": [{"a": 1}]}',
        b'{"labels": ["a"]}',
        b'{"labels": [{"a": "' + b"x" * 11000 + b'"}]}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_other_metadata_is_refused(raw: bytes) -> None:
    with pytest.raises(S2iError, match=r"^image_metadata\.json"):
        metadata_labels(raw)


def test_environment_values_stand_in_no_instruction() -> None:
    lines, values = environment_instructions([("A", 'x"\n$B'), ("C", "")])
    assert lines == ["ARG UPWELL_ENV_0 UPWELL_ENV_1", "ENV A=${UPWELL_ENV_0} C=${UPWELL_ENV_1}"]
    assert values == {"UPWELL_ENV_0": 'x"\n$B', "UPWELL_ENV_1": ""}


def test_no_environment_is_no_instruction() -> None:
    assert environment_instructions([]) == ([], {})


@pytest.mark.parametrize("name", ["", "A B", "A=B", 'A"', "A\nRUN", "$A", "A\\"])
def test_names_that_would_change_the_recipe_are_refused(name: str) -> None:
    with pytest.raises(S2iError, match="not the name"):
        environment_instructions([(name, "x")])


HOSTILE = (
    "1001\nRUN curl http://evil.test",
    "1001 \\\nRUN id",
    "1001\u2028RUN id",
    "1001\u00a0",
    "1001 AS x",
    "$USER",
    "--from=x",
    "a:b:c",
    "\ud800",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_label_of_the_builder_is_a_value_and_never_text_of_a_recipe(text: str) -> None:
    label = "io.openshift.s2i.assemble-user"
    for made in (config(user=text), config(labels={label: text})):
        with pytest.raises(S2iError, match=r"is no user: expected NAME\[:GROUP\]"):
            BuilderImage.of(made)
    with pytest.raises(S2iError, match="is no user"):
        BuilderImage.of_runtime(config(labels={"io.openshift.s2i.assemble-runtime-user": text}))
    with pytest.raises(S2iError, match="is no user"):
        BuilderImage.of(config(), text)
    assert BuilderImage.of(config(user="jboss:root")).user == "jboss:root"
    assert BuilderImage.of(config(user="1001:0")).assemble_user == "1001:0"


@pytest.mark.parametrize("text", ["image:///x\nRUN id", "/$X", "/a\\", "/\ud800", '/"'])
def test_a_place_in_the_builder_is_a_path(text: str) -> None:
    labels = ("io.openshift.s2i.scripts-url", "io.openshift.s2i.destination")
    for made in (
        *(config(labels={label: text}) for label in labels),
        config(env=(f"STI_SCRIPTS_URL={text}",)),
        replace(config(), working_dir=text),
    ):
        with pytest.raises(S2iError, match="is no path"):
            BuilderImage.of(made)


@given(st.text(), st.text(), st.text(), st.text())
def test_no_image_adds_an_instruction(user: str, scripts: str, folder: str, place: str) -> None:
    labels = {
        "io.openshift.s2i.assemble-user": user,
        "io.openshift.s2i.scripts-url": f"image://{scripts}",
        "io.openshift.s2i.destination": folder,
    }
    try:
        image = BuilderImage.of(replace(config(labels=labels, user="1"), working_dir=place))
    except S2iError:
        return
    script = f"{image_path(image.scripts_url)}/assemble"
    assembly = Assembly("b", image, {"assemble": script, "run": script})
    keywords = [one.keyword for one in instructions(assemble_recipe(assembly))]
    assert [one for one in keywords if one != "USER"] == ["FROM", "COPY", "RUN", "CMD"]
