"""Dockerfiles as they are written for the builder: one reading, whoever reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.formats.dockerfile.instructions import Instruction, instructions
from upwell.formats.dockerfile.lines import DockerfileError
from upwell.formats.dockerfile.normalise import normalise
from upwell.formats.dockerfile.parse import parse


def written(
    text: str, images: dict[str, str] | None = None, after: tuple[str, ...] = (), final: str = ""
) -> str:
    """Return a Dockerfile as it is built; every image without a pin is its own."""
    document = parse(text)
    pins = {name: name for name in document.images} | (images or {})
    return normalise(document, pins, after, final=final or None)


MULTI_STAGE = """\
# syntax=docker/dockerfile:1
ARG VERSION=11
ARG BASE="vendor/debian:${VERSION}"
FROM --platform=linux/amd64 ${BASE} AS Build
COPY --from=busybox:1.36 /bin/sh /bin/sh
RUN --mount=type=bind,from=tools/lint:3,target=/lint --mount=type=cache,target=/c \\
    # a comment inside
    make
from build AS test
FROM $BASE
COPY --from=build /out /out
COPY --from=0 /out /out
ADD --chown=1 --from=busybox:1.36 /a /a
"""


def test_images_are_pinned_and_stages_are_named_as_they_were() -> None:
    pins = {"vendor/debian:11": "r/d@1", "busybox:1.36": "r/b@2", "tools/lint:3": "r/l@3"}
    assert written(MULTI_STAGE, pins) == (
        "ARG VERSION=11\n"
        'ARG BASE="vendor/debian:${VERSION}"\n'
        "FROM --platform=linux/amd64 r/d@1 AS Build\n"
        "COPY --from=r/b@2 /bin/sh /bin/sh\n"
        "RUN --mount=type=bind,from=r/l@3,target=/lint --mount=type=cache,target=/c make\n"
        "FROM Build AS test\n"
        "FROM r/d@1\n"
        "COPY --from=Build /out /out\n"
        "COPY --from=0 /out /out\n"
        "ADD --chown=1 --from=r/b@2 /a /a\n"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("run  echo  a   b ", "RUN echo  a   b"),
        ("RUN a \\\n  && b\\\r\n\n# c\n c", "RUN a   && b c"),
        ("RUN [ -f /x ] && echo [y]", "RUN [ -f /x ] && echo [y]"),
        ('RUN ["a","\\u0062"]', 'RUN ["a", "b"]'),
        ('RUN ["a","b c"]', 'RUN ["a","b c"]'),
        ('CMD [ "a" , "é" ]', 'CMD ["a", "é"]'),
        ('CMD ["a\u00a0"]', 'CMD ["a\\u00a0"]'),
        ('COPY --"chown"=1 a  b', "COPY --chown=1 a  b"),
        ("HEALTHCHECK --interval=5s CMD  curl x", "HEALTHCHECK --interval=5s CMD  curl x"),
        ('HEALTHCHECK cmd ["a" ,"b"]', 'HEALTHCHECK CMD ["a", "b"]'),
        ("HEALTHCHECK NONE", "HEALTHCHECK NONE"),
        ('ONBUILD  run  [\\\n "a"]', 'ONBUILD RUN ["a"]'),
        ("ENV A='x y' \\\n  B=\"$A\"", "ENV A='x y'   B=\"$A\""),
        ('LABEL a="x\u00a0y"', 'LABEL a="x\u00a0y"'),
        ("RUN <<E cat >/x\n# \\\nFROM b\nE", "RUN <<E cat >/x\n# \\\nFROM b\nE"),
        (
            "COPY <<-'a.txt' <<B /d/\n\tx\n\ta.txt\ny\nB",
            "COPY <<-'a.txt' <<B /d/\n\tx\na.txt\ny\nB",
        ),
        ("RUN cat <<E >${HOME:-/x}\nx\nE", "RUN cat <<E >${HOME:-/x}\nx\nE"),
        ("RUN cat <<<x; echo $((1<<2))", "RUN cat <<<x; echo $((1<<2))"),
        ("CMD", "CMD"),
        ("WORKDIR /a \\", "WORKDIR /a"),
    ],
)
def test_an_instruction_is_one_line(line: str, expected: str) -> None:
    assert written(f"FROM a\n{line}\n") == f"FROM a\n{expected}\n"


def test_another_escape_character_stays() -> None:
    text = "# escape=`\nFROM a\nRUN dir `\n  C:\\\n"
    assert written(text) == "# escape=`\nFROM a\nRUN dir   C:\\\n"
    assert written("# syntax=x\n# escape=`\n\ufeffFROM a\n".replace("\ufeff", "")) == (
        "# escape=`\nFROM a\n"
    )


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("FROM a\nRUN id \\\u00a0\nRUN --network=host id", (2, 9), "NO-BREAK SPACE"),
        ("FROM a\nRUN id \\\v\nRUN --network=host id", (2, 9), "control character U+000B"),
        ("FROM a\nRUN id \\\u3000\nRUN id", (2, 9), "IDEOGRAPHIC SPACE"),
        ("FROM a\n\u2003RUN id", (2, 1), "EM SPACE"),
        ("FROM a\nRUN id\x85", (2, 7), "control character U+0085"),
        ("FROM a\nRUN 'id\u2028'\u2028", (2, 10), "LINE SEPARATOR"),
        ("FROM a\nRUN it's\u00a0", (2, 9), "NO-BREAK SPACE"),
        ("FROM a\nRUN echo \0", (2, 10), "control character U+0000"),
        ("FROM a\nRUN echo \rFROM b", (2, 10), "control character U+000D"),
        ("FROM a\nENV X=\udcff", (2, 7), "not UTF-8"),
        ("FROM a\nRUN <<E\nx\0\nE", (3, 2), "not UTF-8 text, or NUL"),
        ("FROM a\nCOPY a \\\n  --from=b\u2009 c", (3, 11), "THIN SPACE"),
        ('FROM a\nRUN ["a"] && b', (2, 10), "something follows"),
        ('FROM a\nRUN ["a", 1]', (2, 5), "strings alone"),
        ('FROM a\nRUN ["\\ud800"]', (2, 5), "surrogate"),
        ("FROM a\nRUN --mount='type=cache\\' id", (2, 5), "not a flag"),
        ("FROM a\nRUN -- id", (2, 5), "not a flag"),
        ("FROM a\nRUN --network=\u00e4 id", (2, 5), "not a flag"),
        ("FROM a\nRUNN id", (2, 1), "no instruction RUNN"),
        ("FROM a\nONBUILD FROM b", (2, 9), "ONBUILD takes no instruction FROM"),
        ("FROM a\nRUN cat <<$X\n$X", (2, 9), "plain name"),
        ('FROM a\nRUN cat <<E"F"\nEF', (2, 9), "plain name"),
        ("FROM a\nRUN echo ${x^} <<E\nRUN b\nE", (2, 16), "more than a default"),
        ("FROM a\nRUN echo \\\\", (2, 10), "nothing follows"),
    ],
)
def test_what_has_two_readings_is_refused_where_it_stands(
    text: str, where: tuple[int, int], why: str
) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == where
    assert why in str(caught.value)
    assert f"line {where[0]}, column {where[1]}" in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "COPY --from=a --from=b /x /x",
        "RUN --mount=type=bind,from=a,from=b,target=/x id",
        "ONBUILD COPY --from=b /x /x",
        "ONBUILD RUN --mount=from=b,target=/x id",
        "ONBUILD",
        "FROM a AS 0",
        "FROM a AS b/c",
    ],
)
def test_an_image_is_named_once_and_where_it_can_be_pinned(line: str) -> None:
    with pytest.raises(DockerfileError, match="line 2"):
        parse(f"FROM a\n{line}\n")


def test_what_is_no_text_does_no_harm_in_a_comment() -> None:
    assert written("# caf\udce9\u00a0\x00\nFROM a \n  # \u3000\n") == "FROM a\n"


def test_a_missing_pin_is_an_error() -> None:
    with pytest.raises(DockerfileError, match=r"line 2: the image 'b'"):
        normalise(parse("FROM a\nFROM b\n"), {"a": "A"})


def test_lines_are_added_after_every_from() -> None:
    text = "FROM a AS x\nRUN 1\nFROM x"
    assert written(text, {"a": "A"}, ("ENV K=v",)) == (
        "FROM A AS x\nENV K=v\nRUN 1\nFROM x\nENV K=v\n"
    )


def test_only_the_last_from_is_replaced_by_the_strategys_image() -> None:
    text = "FROM base AS one\nRUN x\nFROM base\nCOPY --from=base /a /a\n"
    assert written(text, {"base": "B"}, final="F") == (
        "FROM B AS one\nRUN x\nFROM F\nCOPY --from=B /a /a\n"
    )
    stages = "FROM base AS one\nFROM one AS two\n"
    assert written(stages, {"base": "B"}, final="F") == "FROM B AS one\nFROM F AS two\n"
    assert written("ARG A=base\nFROM $A\n", final="F") == "ARG A=base\nFROM F\n"


def meaning(instruction: Instruction) -> tuple[object, ...]:
    """Return all of an instruction but where it stands."""
    return (
        instruction.keyword,
        tuple(map(str, instruction.flags)),
        instruction.arguments if instruction.array is not None else instruction.rest,
        instruction.heredocs,
        instruction.trigger and meaning(instruction.trigger),
    )


PIECES = st.sampled_from(
    [
        *("FROM a\n", "FROM a AS b\n", "RUN ", "COPY ", "ADD ", "ENV A=", "ONBUILD ", "LABEL x="),
        *(
            "\\\n",
            "\\ \n",
            "\n",
            "\r\n",
            "#",
            "`",
            "\\",
            '"',
            "'",
            "[",
            "]",
            '["a"]',
            ",",
            "$",
            "${A}",
        ),
        *(
            "<<E",
            "<<-'E' ",
            "\nE\n",
            "\tE\n",
            "--from=b ",
            "--mount=from=a,target=/x ",
            "--",
            "=",
            "{",
        ),
        *(
            "x",
            " ",
            "\t",
            "\u00a0",
            "\v",
            "\f",
            "\x85",
            "\u3000",
            "\0",
            "é",
            "# escape=`\n",
            "\u2028",
        ),
    ]
)


@given(st.lists(PIECES, max_size=24).map("".join))
def test_what_is_written_is_read_again_as_the_same(tail: str) -> None:
    for text in (tail, f"FROM a\n{tail}"):
        try:
            document = parse(text)
        except DockerfileError as error:
            assert 1 <= error.line <= text.count("\n") + 1  # noqa: PT017  # either outcome is right
            continue
        once = normalise(document, {name: name for name in document.images})
        again = parse(once)
        assert [meaning(one) for one in instructions(once)] == [
            meaning(one) for one in parse(once).script.instructions
        ]
        assert again.images == document.images
        assert normalise(again, {name: name for name in again.images}) == once
        heredocs = [
            line for one in again.script.instructions for doc in one.heredocs for line in doc.lines
        ]
        begins = [line for line in once.split("\n") if line and line not in heredocs]
        assert not any(
            line.lstrip().startswith("#") for line in begins if not line.startswith("# escape")
        )


@given(text=st.text(max_size=200), behind=st.booleans())
def test_any_text_has_a_reading_or_a_place_of_its_fault(*, text: str, behind: bool) -> None:
    whole = f"FROM a\n{text}" if behind else text
    try:
        parse(whole)
    except DockerfileError as error:
        assert 1 <= error.line <= whole.count("\n") + 1  # noqa: PT017  # either outcome is right
