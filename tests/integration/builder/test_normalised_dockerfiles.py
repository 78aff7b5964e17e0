"""Images of Dockerfiles as Upwell writes them, beside those that Buildah makes of the originals."""

import json
import random
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.integration.builder.test_build_isolation import printed
from tests.support.builds.base_images import BaseImages, Log, write_tree
from tests.support.openshift import TESTDATA

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.commands import BuildahCommands, ImageStore, Recipe
from upwell.builder.confinement.sandbox import UserIds
from upwell.builder.interface import BuildError
from upwell.formats.dockerfile.normalise import normalise
from upwell.formats.dockerfile.parse import parse
from upwell.machine.process import SYSTEM_PATH, Launcher

LANGUAGE = """\
# syntax=docker/dockerfile:1
ARG FIRST=1 SECOND="two words"
from BASE as tools
COPY --chown="1:1" file \\
  # in between

  /a\\
/b
FROM BASE
env OLD  style value
ENV A=1 B="two words" C='$A' \\
    D=$A\\ x
ARG LATE=${A}
LABEL one="1" "two"='2 \\
 lines' three=$LATE
COPY [ "file", "/x y" ]
COPY --from=tools /a/b /from
ADD file file2 /d/
WORKDIR  /d
WORKDIR e
USER 1001:0
USER 0
EXPOSE 80 $A/udp
VOLUME /v /w
VOLUME ["/json"]
STOPSIGNAL SIGINT
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --interval=5s --timeout=3s CMD test -f /x || exit 1
ONBUILD copy . /src
ONBUILD RUN [ "true" ]
RUN echo   "a  b" '# c' \\
 && echo $A > /made
RUN [ -d /d ] && echo [yes]
RUN ["/bin/sh", "-c", "echo \\"A\\"\\ttab > /json-made"]
RUN <<EOF
# not a comment
echo FROM nowhere > /here \\
  && echo done
EOF
RUN cat <<-"Q" >/quoted && cat /quoted
\tkeeps $A
\tQ
COPY <<one.txt <<two.txt /docs/
first
one.txt
second $A
two.txt
MAINTAINER  Somebody <x@y.test>
ENTRYPOINT exec sh
CMD ["-c", "é"]
"""
WINDOWS = "\ufeff# escape=`\r\nFROM BASE\r\nRUN echo a `\r\n  b\\c\r\nLABEL x=`\r\n1\r\nCMD a\\\r\n"
LINES = (
    "ENV {n}={v}",
    'ENV {n}="{v} \\\n {v}"',
    "LABEL {n}='{v}'   l{n}={v}",
    "ARG {n}={v}",
    "WORKDIR /{n}/$UNSET{v}",
    "USER {n}",
    "EXPOSE {k}/tcp   {k}1",
    'CMD [ "{v}" ,\\\n "${n}"]',
    "CMD {v}  '{v}' \\\n# no\n   \"$x\"",
    'ENTRYPOINT ["{v}"]',
    "VOLUME /{n} \\\n\n /b{n}",
    "STOPSIGNAL {k}",
    "ENV   {n} {v}   {v}",
    "HEALTHCHECK --retries={k} CMD {v}",
    "ONBUILD   ENV {n}={v}",
)


def generated(seed: int) -> str:
    """Return a Dockerfile of many instructions in many spellings."""
    chance = random.Random(seed)  # noqa: S311  # to be made again
    lines = ["FROM BASE"]
    for at in range(12):
        value = "".join(chance.choices("abc.:/_-é", k=6))
        line = chance.choice(LINES).replace("{n}", f"N{at}").replace("{v}", value)
        keyword, _, rest = line.replace("{k}", str(1000 + at)).partition(" ")
        keyword = chance.choice([keyword, keyword.lower(), f"  {keyword}"])
        lines.append(f"{keyword}{chance.choice([' ', '  ', chr(9)])}{rest}")
        lines += chance.choices(["", "# FROM x", "  "], k=chance.randrange(2))
    return "\n".join(lines)


def corpus() -> list[str]:
    """Return every inline Dockerfile of OpenShift's cases."""
    found = []
    for path in sorted(TESTDATA.rglob("*.y*ml")):
        try:
            waiting = [document for document in yaml.safe_load_all(path.read_text()) if document]
        except yaml.YAMLError:
            continue
        while waiting:
            value = waiting.pop()
            waiting += value.values() if isinstance(value, dict) else ()
            waiting += value if isinstance(value, list) else ()
            if isinstance(value, dict) and isinstance(value.get("dockerfile"), str):
                found.append(value["dockerfile"])
    return found


async def made(
    settings: BuildahSettings, folder: Path, context: Path, text: str
) -> tuple[object, list[object]]:
    """Build a text as it is; return the configuration and the history of the image."""
    assert settings.storage_root is not None
    assert settings.run_root is not None
    launcher = Launcher(str(folder))
    ids = UserIds(launcher, SYSTEM_PATH, shifted=True)
    store = ImageStore(settings.storage_root.resolve(), settings.run_root.resolve(), ids)
    environment = {
        "PATH": SYSTEM_PATH,
        "CONTAINERS_CONF": str(settings.containers_conf),
        "_CONTAINERS_OVERLAY_DISABLE_IDMAP": "yes",
    }
    commands = BuildahCommands(launcher, store, environment)
    (folder / "hooks").mkdir(parents=True)
    folder.chmod(0o711)  # noqa: ASYNC240
    file = folder / "Dockerfile"
    file.write_text(text, newline="")
    log = Log()
    recipe = Recipe(file, context, docker_format=True, layers=False, use_cache=False)
    outcome, image = await commands.build(recipe, folder, log)
    assert outcome.code == 0, log.text
    argv = ("buildah", *await store.flags(), "inspect", "--type=image", image)
    shown = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)  # noqa: ASYNC221
    docker = shown["Docker"]
    config = docker["config"]
    config.pop("Hostname")  # is made up
    # Texts of instructions, whose keywords and blanks may have been in another spelling.
    config["OnBuild"] = [_plain(trigger) for trigger in config["OnBuild"] or ()]
    return config, [_plain(step["created_by"]) for step in docker["history"]]


def _plain(text: str) -> str:
    return "".join(text.lower().split())


@pytest.mark.parametrize(
    "text",
    [LANGUAGE, WINDOWS, generated(1)],
    ids=["language", "windows", "generated"],
)
async def test_both_make_the_same_image(
    settings: BuildahSettings,
    builder: BuildahBuilder,
    images: BaseImages,
    passage: Path,
    tmp_path: Path,
    text: str,
) -> None:
    await printed(builder, images, "pulled", "LABEL pulled=1")
    context = write_tree(tmp_path / "tree", {"file": "x", "file2": "y"})
    text = text.replace("BASE", str(images.base))
    document = parse(text)
    written = normalise(document, {name: name for name in document.images})
    expected = await made(settings, passage / f"{tmp_path.name}-given", context, text)
    assert await made(settings, passage / f"{tmp_path.name}-written", context, written) == expected


def test_openshifts_own_dockerfiles_are_read() -> None:
    for text in corpus():
        document = parse(text)
        written = normalise(document, {name: name for name in document.images})
        assert parse(written).images == document.images


@pytest.mark.parametrize(
    "lines",
    [
        "RUN id \\\u00a0\nRUN --network=host id",
        "RUN id \\\v\nRUN --network=host id",
        "RUN id \\\u3000\nRUN --network=host id",
        "RUN id\rRUN --network=host id",
        'RUN --net"work"=host id',
        'ADD ht""tp://127.0.0.1:1/x /x',
        "ADD h\\ttp://127.0.0.1:1/x /x",
        'ADD ["\\u0068ttp://127.0.0.1:1/x", "/x"]',
        "ARG S=http\nADD ${S}://127.0.0.1:1/x /x",
        "RUN echo ${x^} <<E\nRUN --network=host id\nE",
    ],
)
async def test_no_spelling_reaches_the_machines_network(
    builder: BuildahBuilder, images: BaseImages, lines: str
) -> None:
    with pytest.raises(BuildError, match=r"Dockerfile line \d"):
        await printed(builder, images, "spelling", lines)
