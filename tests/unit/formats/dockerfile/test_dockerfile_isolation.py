"""Instructions of a Dockerfile that the machine that builds it refuses."""

import pytest

from upwell.formats.dockerfile.isolation import (
    Download,
    check_isolation,
    check_trigger,
    downloads,
)
from upwell.formats.dockerfile.lines import DockerfileError


@pytest.mark.parametrize(
    "line",
    [
        "RUN --network=host id",
        'RUN --network="host" id',
        "RUN --network=$NET id",
        "RUN \\\n --network=host id",
        "run --security=insecure id",
        "RUN --device=/dev/kvm id",
        "RUN --mount=type=bind,source=../../etc,target=/x id",
        "RUN --mount=src=a/../../b,target=/x id",
        "RUN --mount=type=volume,target=/x id",
        "COPY ../secret /x",
        "COPY a/../../b /x",
        'ADD ["../secret", "/x"]',
    ],
)
def test_what_reaches_out_of_the_build_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(DockerfileError, match=r"line [23][:,]"):
        check_isolation(f"FROM base\n{line}\n")


@pytest.mark.parametrize(
    "line",
    [
        "RUN --network=none id",
        "RUN --network=default --security=sandbox id",
        "RUN --mount=type=cache,target=/x id",
        "RUN --mount=type=bind,from=tools,source=/bin,target=/x id",
        "RUN --mount=type=secret,id=token id",
        "RUN echo --network=host ../x",
        "RUN <<E\nCOPY ../x /y\nE",
        "COPY a..b /x/../y",
        "ADD https://example.test/a/../b /x",
    ],
)
def test_what_stays_inside_passes(line: str) -> None:
    check_isolation(f"FROM base\n{line}\n")


def test_the_hosts_network_passes_where_it_is_allowed() -> None:
    check_isolation("FROM base\nRUN --network=host id\n", host_network=True)
    with pytest.raises(DockerfileError, match="insecure"):
        check_isolation("FROM base\nRUN --security=insecure id\n", host_network=True)


def hosts(text: str, **arguments: str) -> list[Download]:
    return list(downloads(text, arguments))


def test_every_fetched_host_is_named() -> None:
    text = (
        "ARG G=global.test\nFROM a\nARG G\nARG P=http\nENV H=one.test V=1\n"
        "ADD https://plain.test/x-$V-$UNKNOWN.tgz git@git.test:a/b.git local /x\n"
        "ADD ${P}://$H:8080/ /x\nADD http://$G/ /x\n"
        'FROM b\nARG U\nADD ["${U}", "/x"]\n'
    )
    assert hosts(text, U="ftp-not://x") == [
        Download(6, "plain.test"),
        Download(6, "git.test"),
        Download(7, "one.test"),
        Download(8, "global.test"),
    ]
    assert hosts(text, U="https://given.test/a")[-1] == Download(11, "given.test")


@pytest.mark.parametrize(
    "lines",
    [
        "FROM a\nADD $FROM_THE_IMAGE /x",
        "FROM a\nENV U=https://good.test\nFROM b\nADD ${U} /x",
        "FROM a\nADD https://${HOST}/x /x",
    ],
)
def test_an_address_that_only_the_build_knows_is_refused(lines: str) -> None:
    with pytest.raises(DockerfileError, match="not known before the build"):
        hosts(lines)


def test_a_variable_of_the_environment_wins_over_an_argument() -> None:
    text = "FROM a\nENV U=https://env.test/\nARG U=https://arg.test/\nADD $U /x"
    assert hosts(text) == [Download(4, "env.test")]


@pytest.mark.parametrize(
    "lines",
    [
        'FROM a\nADD ht""tp://127.0.0.1/x /x',
        "FROM a\nADD h\\ttp://127.0.0.1/x /x",
        "FROM a\nADD 'http'://127.0.0.1/x /x",
        'FROM a\nADD ["\\u0068ttp://127.0.0.1/x", "/x"]',
        'FROM a\nENV S=ht"t"p\nADD $S://127.0.0.1/x /x',
        "FROM a\nADD http://127.0.0.1/${x:-a}/$UNKNOWN /x",
        "FROM a\nONBUILD USER x\nADD \\\n  http://127.0.0.1/x \\\n /x",
    ],
)
def test_no_spelling_hides_an_address(lines: str) -> None:
    assert [found.host for found in hosts(lines)] == ["127.0.0.1"]


@pytest.mark.parametrize(
    "trigger",
    [
        "RUN --network=host id",
        "RUN id\nRUN --network=host id",
        "RUN id \\\n --x",
        "COPY --from=other /a /a",
        "RUN --mount=type=bind,from=other,target=/x id",
        "RUN \\\u00a0\nRUN id",
        "FROM other",
        "",
    ],
)
def test_a_trigger_of_an_image_has_one_reading(trigger: str) -> None:
    with pytest.raises(DockerfileError):
        check_trigger(trigger)
    check_trigger("COPY . /src")
    check_trigger("RUN --mount=type=cache,target=/c echo 'a  b'")
