import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.formats.dockerfile.parse import DockerfileError, parse, rewrite

MULTI_STAGE = """\
# syntax=docker/dockerfile:1
ARG VERSION=11
ARG BASE="vendor/debian:${VERSION}"
FROM --platform=linux/amd64 ${BASE} AS Build
COPY --from=busybox:1.36 /bin/sh /bin/sh
RUN --mount=type=bind,from=tools/lint:3,target=/lint --mount=type=cache,target=/c \\
    # a comment inside
    make
FROM build AS test
FROM $BASE
COPY --from=build /out /out
COPY --from=0 /out /out
ADD --chown=1 --from=busybox:1.36 /a /a
"""


def test_external_images_are_found_in_order_with_their_lines() -> None:
    document = parse(MULTI_STAGE)

    assert document.images == ("vendor/debian:11", "busybox:1.36", "tools/lint:3")
    assert [(use.name, use.line) for use in document.uses] == [
        ("vendor/debian:11", 4),
        ("busybox:1.36", 5),
        ("tools/lint:3", 6),
        ("vendor/debian:11", 10),
        ("busybox:1.36", 13),
    ]


def test_stages_know_their_parents() -> None:
    stages = parse(MULTI_STAGE).stages

    assert [(stage.name, stage.base, stage.parent) for stage in stages] == [
        ("Build", "vendor/debian:11", None),
        ("test", "build", 0),
        ("", "vendor/debian:11", None),
    ]


def test_a_build_argument_overrides_a_declared_default_only() -> None:
    assert parse(MULTI_STAGE, {"VERSION": "12"}).final_base == "vendor/debian:12"
    assert parse("FROM a:${X:-1}\n", {"X": "2"}).final_base == "a:1"


def test_the_final_base_is_the_root_of_the_last_stage() -> None:
    assert parse("FROM a AS x\nFROM b AS y\nFROM x AS z\nFROM z\n").final_base == "a"
    assert parse("FROM a AS x\nFROM scratch\nCOPY --from=x / /\n").final_base is None


@pytest.mark.parametrize(
    ("word", "image"),
    [
        ("a:${T}", "a:1"),
        ("a:$T", "a:1"),
        ("a:${NO:-2}", "a:2"),
        ("a:${T:-2}", "a:1"),
        ("a:${T:+3}", "a:3"),
        ("a:x${NO:+3}", "a:x"),
        ("a:${NO:-${T}}", "a:1"),
        ('"a:${T}"', "a:1"),
    ],
)
def test_variables_are_substituted_as_buildkit_does(word: str, image: str) -> None:
    assert parse(f"ARG T=1\nARG NO\nFROM {word}\n").images == (image,)


def test_heredocs_are_not_instructions() -> None:
    text = "FROM a\nRUN <<EOF sh -s\nFROM b\nEOF\nCOPY <<-'X' <<Y /d/\nFROM c\n\tX\nFROM d\nY\n"
    assert parse(text).images == ("a",)


def test_a_quoted_heredoc_marker_is_none() -> None:
    assert parse('FROM a\nRUN echo "x <<EOF y"\nFROM b\n').images == ("a", "b")


def test_the_escape_directive_changes_continuations() -> None:
    assert parse("# escape=`\nFROM `\n  a\nRUN dir C:\\\nFROM b\n").images == ("a", "b")


def test_a_continued_from_and_windows_line_ends_are_read() -> None:
    assert parse("FROM \\\r\n# why\r\n\r\n  a:1 \\\r\n  AS x\r\nFROM x\r\n").images == ("a:1",)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 1, "no FROM"),
        ("# nothing\n", 1, "no FROM"),
        ("RUN x\nFROM a\n", 1, "before the first FROM"),
        ("FROM a\n\nFROM a b\n", 3, "FROM takes"),
        ("FROM a b c\n", 1, "FROM takes"),
        ("ARG X\nFROM $X\n", 2, "names no image"),
        ("FROM a\nCOPY --from=3 / /\n", 2, "no earlier stage 3"),
        ("FROM a\nCOPY --from= / /\n", 2, "names no image"),
        ("FROM a\nRUN <<EOF\nx\n", 2, "has no end"),
        ("FROM ${X\n", 1, "not closed"),
        ("FROM ${X#y}\n", 1, "not supported"),
        ("FROM ${}\n", 1, "no variable name"),
        ("# escape=x\nFROM a\n", 1, "escape=x"),
    ],
)
def test_faults_name_their_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(DockerfileError, match=f"^Dockerfile line {line}: ") as caught:
        parse(text)
    assert problem in str(caught.value)
    assert caught.value.line == line


def test_pins_replace_images_and_leave_the_rest() -> None:
    pins = {"vendor/debian:11": "r/d@1", "busybox:1.36": "r/b@2", "tools/lint:3": "r/l@3"}

    pinned = rewrite(MULTI_STAGE, pins)

    assert pinned == (
        MULTI_STAGE.replace("${BASE} AS", "r/d@1 AS")
        .replace("FROM $BASE", "FROM r/d@1")
        .replace("busybox:1.36", "r/b@2")
        .replace("tools/lint:3", "r/l@3")
    )


def test_a_pin_in_a_continued_instruction_lands_at_its_place() -> None:
    text = "FROM a\nCOPY --chown=1 \\\n # why\n  --from=b \\\n  /x /x\n"
    assert rewrite(text, {"a": "A", "b": "B"}) == text.replace("FROM a", "FROM A").replace(
        "--from=b", "--from=B"
    )


def test_a_missing_pin_is_an_error() -> None:
    with pytest.raises(DockerfileError, match=r"line 2: the image 'b'"):
        rewrite("FROM a\nFROM b\n", {"a": "A"})


def test_lines_are_added_after_every_from() -> None:
    text = "FROM a AS x\nRUN 1\nFROM x"
    assert rewrite(text, {"a": "A"}, after_from=["ENV K=v"]) == (
        "FROM A AS x\nENV K=v\nRUN 1\nFROM x\nENV K=v"
    )


names = st.from_regex(r"[a-z][a-z0-9]{0,8}(/[a-z0-9]{1,8})?(:[a-z0-9.]{1,5})?", fullmatch=True)
noise = st.sampled_from(
    ["RUN echo FROM x", "# FROM y", "", "ENV A=1 \\\n  B=2", "RUN <<E\nFROM z\nE", "COPY . /"]
)


@given(st.lists(st.tuples(names, noise), min_size=1, max_size=6))
def test_rewriting_pins_every_image_and_nothing_else(stages: list[tuple[str, str]]) -> None:
    text = "".join(f"FROM {name}\n{filler}\n" for name, filler in stages)
    pins = {name: f"registry/{index}@sha256:0" for index, (name, _) in enumerate(stages)}

    pinned = rewrite(text, pins)

    assert parse(pinned).images == tuple(dict.fromkeys(pins[name] for name, _ in stages))
    assert pinned == "".join(f"FROM {pins[name]}\n{filler}\n" for name, filler in stages)


@given(st.text(alphabet="FROM AS\\\n\"'$#<=-{}:ax\t", max_size=60))
def test_any_text_parses_or_is_refused_with_a_line(text: str) -> None:
    try:
        document = parse(text)
    except DockerfileError as error:
        assert 1 <= error.line <= text.count("\n") + 1  # noqa: PT017  # either outcome is right
    else:
        images = {name: name for name in document.images}
        assert parse(rewrite(text, images)).images == document.images
