"""Variables of Secrets in a Dockerfile: RUN takes them, and what stays in the image may not."""

import pytest

from upwell.formats.dockerfile.instructions import read
from upwell.formats.dockerfile.lines import DockerfileError
from upwell.formats.dockerfile.secrets import check_secret_variables

NAMES = {"TOKEN", "_K1"}


@pytest.mark.parametrize(
    "line",
    [
        "FROM $TOKEN",
        "ENV A=$TOKEN",
        "ENV A ${TOKEN}",
        'ENV A="x${_K1}y"',
        "env A=1 \\\n  B=$TOKEN",
        "ENV A=${OTHER:-$TOKEN}",
        "ENV A=${TOKEN:+set}",
        "ARG A=$TOKEN",
        "LABEL $TOKEN=1",
        'COPY ["$TOKEN", "/a"]',
        "COPY --chown=$TOKEN a /a",
        "COPY <<EOF /a\nx $TOKEN\nEOF",
        "ADD https://x:$TOKEN@host.example/a /a",
        "USER $TOKEN",
        "WORKDIR /$TOKEN",
        "VOLUME /$TOKEN",
        "EXPOSE $TOKEN",
        "STOPSIGNAL $TOKEN",
        "RUN --mount=type=secret,id=$TOKEN true",
    ],
)
def test_what_would_stay_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(DockerfileError, match="comes from a Secret") as caught:
        check_secret_variables(read(f"FROM x\n{line}\n"), NAMES)
    assert caught.value.line == 2


@pytest.mark.parametrize(
    "line",
    [
        "RUN echo $TOKEN",
        'RUN ["sh", "-c", "echo $TOKEN"]',
        "RUN <<EOF\necho $TOKEN\nEOF",
        "ARG TOKEN",
        "ARG TOKEN=default",
        "ENV TOKEN=public",
        "ENV A=$TOKENS B=$MY_TOKEN C=TOKEN",
        "ENV A=\\$TOKEN",
        "CMD echo $TOKEN",
        "ENTRYPOINT exec app $TOKEN",
        "HEALTHCHECK CMD curl -u $TOKEN localhost",
        "ONBUILD RUN echo $TOKEN",
    ],
)
def test_what_a_shell_reads_is_not(line: str) -> None:
    check_secret_variables(read(f"FROM x\n{line}\n"), NAMES)
