import pytest

from upwell.formats.dockerfile.lines import DockerfileError
from upwell.formats.dockerfile.parse import parse

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
    with pytest.raises(DockerfileError, match=f"^Dockerfile line {line}[:,] ") as caught:
        parse(text)
    assert problem in str(caught.value)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--mount=type=bind,target=/in", True),
        ("--mount=target=/in,source=a", True),
        ("--mount=type=bind,from=a,target=/in", False),
        ("--mount=type=cache,target=/in", False),
        ("--mount=type=secret,id=a", False),
    ],
)
def test_mounts_of_the_context_are_told_from_others(flag: str, *, expected: bool) -> None:
    assert parse(f"FROM a AS a\nFROM b\nRUN {flag} true\n").mounts_context is expected
