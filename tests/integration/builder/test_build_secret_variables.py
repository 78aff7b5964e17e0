"""Variables with values of Secrets: seen by every command of a build, and in nothing of its image.

Neither in the configuration, history, layers and log, nor in the store or in the arguments of any
process on the machine.
"""

import asyncio
import gzip
import threading
from pathlib import Path

import pytest
from tests.integration.builder.test_docker_builds import plan
from tests.support.builds.base_images import BaseImages, Log, inspect, run, write_tree
from tests.support.builds.openshift_builds import files_of

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.interface import BuildError, BuilderStrategy, BuildPlan, PostCommit
from upwell.oci import Reference

HIDDEN = "pelican-zebra-41"
SECRETS = (("TOKEN", HIDDEN), ("LINES", f'a "q" $HOME \\\n{HIDDEN}'))
SHOWS = 'echo "shown: $TOKEN" && test "${#TOKEN}" = 16'
MOVES = "echo $TOKEN | tr a-z n-za-m > /seen"
"""Proof for the image that a command had the value, in letters that are not the value's."""

MOVED = HIDDEN.translate(str.maketrans("abcdefghijklmnopqrstuvwxyz", "nopqrstuvwxyzabcdefghijklm"))
WRITABLE = "/tmp/seen"  # noqa: S108  # in the image, for every user
DOCKERFILE = f"""\
ARG TOKEN
FROM base:1 AS first
ENV TOKEN=public
RUN {SHOWS} && {MOVES.replace("/seen", "/first")}
FROM base:1
ARG TOKEN=default
SHELL ["/bin/sh", "-ec"]
RUN {SHOWS} && {MOVES}
RUN ["/bin/sh", "-c", "{SHOWS.replace('"', chr(92) + '"')}"]
RUN <<EOF
printf '%s' "$LINES" | wc -l > /count
EOF
COPY --from=first /first /first
CMD echo $TOKEN
"""


class Arguments(threading.Thread):
    """Reads the arguments and variables of all processes for as long as a build takes."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()
        self.builds = 0
        self.showing: list[bytes] = []

    def run(self) -> None:
        while not self.ended.wait(0.02):
            for process in Path("/proc").iterdir():
                if process.name.isdecimal():
                    self._read(process)

    def _read(self, process: Path) -> None:
        try:
            words = (process / "cmdline").read_bytes()
            self.builds += words.startswith(b"buildah\0") and b"--iidfile" in words
            if HIDDEN.encode() in words:
                self.showing.append(words)
            if (
                words.startswith(b"buildah\0")
                and HIDDEN.encode() in (process / "environ").read_bytes()
            ):
                self.showing.append(words)
        except OSError:
            return  # it has ended


async def build(builder: BuildahBuilder, wanted: BuildPlan, log: Log, store: Path) -> Reference:
    """Build, look for the value wherever it must not be; return the image."""
    arguments = Arguments()
    arguments.start()
    try:
        result = await builder.build(wanted, log)
    finally:
        arguments.ended.set()
        await asyncio.to_thread(arguments.join)
    assert arguments.builds > 0
    assert arguments.showing == []
    assert HIDDEN not in log.text + repr(wanted)
    assert await asyncio.to_thread(holding, store) == []
    assert wanted.push is not None
    if result.digest is None:
        return wanted.push
    return wanted.push.with_digest(result.digest)


def holding(folder: Path) -> list[Path]:
    """Return the files below `folder` with the value in them."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in files if HIDDEN.encode() in path.read_bytes()]


def assert_clean(image: Reference, folder: Path) -> None:
    """Check every byte of an image: manifest, configuration with history, and layers."""
    run("skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{image}", f"dir:{folder}")
    blobs = [blob.read_bytes() for blob in folder.iterdir()]
    plain = [gzip.decompress(blob) if blob.startswith(b"\x1f\x8b") else blob for blob in blobs]
    assert any(b'"history"' in blob for blob in plain)
    assert not [blob for blob in plain if HIDDEN.encode() in blob]
    names = [entry.partition("=")[0] for entry in inspect(image, "--config")["config"]["Env"]]
    assert "LINES" not in names


async def test_every_command_of_a_dockerfile_sees_it(
    builder: BuildahBuilder, images: BaseImages, log: Log, tmp_path: Path, store: Path
) -> None:
    wanted = plan(
        images,
        "secret-docker",
        dockerfile=DOCKERFILE,
        secret_env=SECRETS,
        env=(("PLAIN", "stays"),),
        post_commit=PostCommit(script=f"{SHOWS} && echo checked"),
    )
    image = await build(builder, wanted, log, store)
    await asyncio.to_thread(assert_clean, image, tmp_path / "copied")
    found = await asyncio.to_thread(files_of, image)
    assert found["/seen"] == found["/first"] == f"{MOVED}\n".encode()
    assert found["/count"] == b"1\n"
    assert log.text.count("shown: ********") == 4
    assert "checked" in log.text
    assert "not in the image: LINES, TOKEN" in log.text
    assert "PLAIN=stays" in inspect(image, "--config")["config"]["Env"]


@pytest.mark.parametrize(
    "line",
    [
        "ENV OTHER=x$TOKEN",
        "LABEL a=${TOKEN:-none}",
        "COPY <<EOF /a\n$TOKEN\nEOF",
        "WORKDIR /a/$TOKEN",
        "ARG OTHER=$TOKEN",
    ],
)
async def test_an_instruction_that_would_keep_it_is_refused(
    builder: BuildahBuilder, images: BaseImages, log: Log, line: str
) -> None:
    wanted = plan(images, "secret-kept", dockerfile=f"FROM base:1\n{line}\n", secret_env=SECRETS)
    with pytest.raises(BuildError, match=r"\$TOKEN, which comes from a Secret") as caught:
        await builder.build(wanted, log)
    assert caught.value.reason == "ManageDockerfileFailed"


async def test_a_changed_value_is_no_cached_step(
    builder: BuildahBuilder, images: BaseImages, log: Log
) -> None:
    for value in ("first-value", "other-value"):
        text = "FROM base:1\nRUN echo $TOKEN | wc -c > /n; echo $TOKEN | cut -c1-5 > /seen\n"
        wanted = plan(images, "secret-new", dockerfile=text, secret_env=(("TOKEN", value),))
        result = await builder.build(wanted, log)
        assert wanted.push is not None
        assert result.digest is not None
        found = await asyncio.to_thread(files_of, wanted.push.with_digest(result.digest))
        assert found["/seen"] == f"{value[:5]}\n".encode()


async def test_assemble_and_the_hook_see_it(
    builder: BuildahBuilder, images: BaseImages, log: Log, tmp_path: Path, store: Path
) -> None:
    # The builder image sets BASE itself, and the source TOKEN.
    shows = f'{SHOWS} && echo "base: $BASE"'
    files = {
        ".s2i/bin/assemble": f"#!/bin/sh -e\n{shows}\n{MOVES.replace('/seen', WRITABLE)}\n",
        ".s2i/environment": "TOKEN=public\n",
    }
    wanted = plan(
        images,
        "secret-source",
        strategy=BuilderStrategy.SOURCE,
        images={"builder": images.s2i},
        context=write_tree(tmp_path / "tree", files),
        secret_env=(*SECRETS, ("BASE", f"not-{HIDDEN}")),
        post_commit=PostCommit(command=("/bin/sh", "-c", f"{shows} && echo checked")),
    )
    image = await build(builder, wanted, log, store)
    await asyncio.to_thread(assert_clean, image, tmp_path / "copied")
    found = await asyncio.to_thread(files_of, image)
    assert found[WRITABLE] == f"{MOVED}\n".encode()
    assert log.text.count("shown: ********") == 2
    assert log.text.count("base: ********") == 2
    assert "checked" in log.text


async def test_a_custom_builder_sees_it(
    builder: BuildahBuilder, images: BaseImages, log: Log, store: Path
) -> None:
    text = f"FROM base:1\nCMD {SHOWS} && echo it is there\n"
    target = images.reference("vendor/custom-secret:1")
    made = await builder.build(plan(images, "custom-secret", dockerfile=text, push=target), log)
    assert made.digest is not None
    wanted = plan(
        images,
        "custom-sees-secret",
        strategy=BuilderStrategy.CUSTOM,
        images={"builder": target.with_digest(made.digest)},
        secret_env=SECRETS,
    )
    await build(builder, wanted, log, store)
    assert "shown: ********" in log.text
    assert "it is there" in log.text


async def test_a_name_that_is_none_is_refused(
    builder: BuildahBuilder, images: BaseImages, log: Log
) -> None:
    wanted = plan(
        images, "secret-name", dockerfile="FROM base:1\nRUN true\n", secret_env=(("A=B", HIDDEN),)
    )
    with pytest.raises(BuildError, match="not the name of an environment variable"):
        await builder.build(wanted, log)
