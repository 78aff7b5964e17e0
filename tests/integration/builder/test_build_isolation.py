"""Hostile builds: each is refused, or finds nothing that it could harm."""

import io
import os
import socket
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.builder.test_docker_builds import plan
from tests.support.builds.base_images import BaseImages, Log, control_groups, inspect, write_tree

from upwell.builder.archive import ArchiveLimits
from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.interface import (
    BinaryKind,
    BinarySource,
    BuildError,
    BuilderStrategy,
    BuildLimits,
    ImagePath,
    InjectedFiles,
    SourceImage,
)
from upwell.git.interface import Proxies


async def printed(
    builder: BuildahBuilder, images: BaseImages, name: str, lines: str, /, **changes: Any
) -> str:
    log = Log()
    text = f"FROM base:1\n{lines}\n"
    await builder.build(plan(images, name, dockerfile=text, push=None, **changes), log)
    return log.text


async def test_root_in_the_build_is_nobody_outside(
    builder: BuildahBuilder, images: BaseImages
) -> None:
    text = await printed(
        builder, images, "ids", "RUN cat /proc/self/uid_map; cat /proc/self/status"
    )
    mapped = next(line.split() for line in text.splitlines() if line.split()[-1:] == ["65536"])
    assert mapped[0] == "0"
    assert int(mapped[1]) > 1_000_000_000
    assert "Seccomp:\t2" in text


async def test_a_base_is_unpacked_once_and_for_nobody_else(
    settings: BuildahSettings, images: BaseImages, tmp_path: Path
) -> None:
    own = replace(settings, storage_root=tmp_path / "root", run_root=tmp_path / "run")
    context = write_tree(tmp_path / "tree", {"file": "x"})
    lines = "COPY file /file\nRUN ls -ln /file"
    text = await printed(
        BuildahBuilder(own, dialer=None), images, "unpacked", lines, context=context
    )
    assert any(line.split()[2:4] == ["0", "0"] for line in text.splitlines() if "/file" in line)
    [busybox] = (tmp_path / "root").glob("overlay/*/diff/bin/busybox")
    assert busybox.stat().st_uid > 1_000_000_000


@pytest.mark.parametrize("first", [False, True], ids=["turned on", "turned off"])
async def test_a_store_outlives_the_switch_of_user_namespaces(
    settings: BuildahSettings, images: BaseImages, tmp_path: Path, *, first: bool
) -> None:
    own = replace(settings, storage_root=tmp_path / "root", run_root=tmp_path / "run")
    for shifted in (first, not first):
        builder = BuildahBuilder(replace(own, user_namespaces=shifted), dialer=None)
        lines = f"RUN touch /made && echo {shifted} >/made && stat -c %u /bin/busybox /made"
        text = await printed(builder, images, "switched", lines)
        assert text.splitlines().count("0") == 2


async def test_a_fork_bomb_stops_at_its_limit(builder: BuildahBuilder, images: BaseImages) -> None:
    bomb = "RUN i=0; while [ $i -lt 200 ]; do sleep 20 & i=$((i+1)); done; echo survived"
    with pytest.raises(BuildError):
        await printed(builder, images, "forks", bomb, limits=BuildLimits(pids=50))
    assert control_groups(builder) == []


async def test_the_limit_holds_in_every_step(builder: BuildahBuilder, images: BaseImages) -> None:
    bomb = "RUN true\nRUN i=0; while [ $i -lt 90 ]; do sleep 9 & i=$((i+1)); done; echo survived"
    with pytest.raises(BuildError):
        await printed(builder, images, "steps", bomb, limits=BuildLimits(pids=50))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("RUN --network=host id", "line 2: RUN --network=host"),
        ("RUN --security=insecure id", "line 2: RUN --security=insecure"),
        ("RUN --device=/dev/kvm id", "line 2: RUN --device"),
        ("RUN --mount=type=bind,source=../../../etc,target=/x ls /x", "leaves its tree"),
        ("RUN --mount=type=bind,source=/outside,target=/x ls /x", "no such file"),
        ("COPY ../outside /x", "may not leave the build context"),
        ("COPY leak /x", "no such file|not found|no items"),
        ("ADD http://127.0.0.1:1/x /x", "the building machine itself"),
        ("ADD http://localhost:1/x /x", "the building machine itself"),
        ("ADD http://[::1]/x /x", "the building machine itself"),
        ("ADD http://169.254.169.254/latest/meta-data /x", "the building machine itself"),
        ("RUN mknod /disk b 8 0", "not permitted|exit status"),
        ("RUN mount -t tmpfs none /srv", "denied|permitted|exit status"),
    ],
)
async def test_a_dockerfile_does_not_reach_the_machine(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, *, lines: str, message: str
) -> None:
    context = write_tree(tmp_path / "tree", {"file": "x"})
    (tmp_path / "outside").write_text("secret")
    (context / "leak").symlink_to(tmp_path / "outside")
    with pytest.raises(BuildError, match=message):
        await printed(builder, images, "hostile", lines, context=context)


async def test_triggers_of_a_base_are_held_to_the_same(
    builder: BuildahBuilder, images: BaseImages, log: Log
) -> None:
    target = images.reference("vendor/trap:1")
    text = "FROM base:1\nONBUILD RUN --network=host id\n"
    made = await builder.build(plan(images, "trap", dockerfile=text, push=target), log)
    assert made.digest is not None
    pins = {"base:1": target.with_digest(made.digest)}
    with pytest.raises(BuildError, match="ONBUILD instruction that is refused"):
        await printed(builder, images, "trapped", "RUN id", images=pins)


async def test_a_frontend_of_somebody_else_is_not_run(
    builder: BuildahBuilder, images: BaseImages
) -> None:
    text = "# syntax=127.0.0.1:1/evil/frontend:1\nFROM base:1\nRUN echo as written\n"
    log = Log()
    await builder.build(plan(images, "syntax", dockerfile=text, push=None), log)
    assert "as written" in log.text


@pytest.fixture
def listener() -> Iterator[tuple[int, list[object]]]:
    """A service of the machine that only loopback reaches, and who came."""
    visitors: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, address = server.accept()
                except TimeoutError:
                    continue
                visitors.append(address)
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1], visitors
        over.set()
        thread.join()


async def test_the_machines_loopback_is_not_the_builds(
    builder: BuildahBuilder, images: BaseImages, listener: tuple[int, list[object]]
) -> None:
    port, visitors = listener
    text = await printed(
        builder,
        images,
        "loopback",
        f"RUN nc -w 2 127.0.0.1 {port} </dev/null && echo in || echo out",
    )
    assert "out" in text.splitlines()
    assert visitors == []


async def test_the_machines_network_needs_a_wish_and_the_administrators_permission(
    settings: BuildahSettings, images: BaseImages, listener: tuple[int, list[object]]
) -> None:
    port, visitors = listener
    lines = f"RUN nc -w 2 127.0.0.1 {port} </dev/null && echo in || echo out"
    with pytest.raises(BuildError, match="the administrator allows it with `host-network = true`"):
        await printed(
            BuildahBuilder(settings, dialer=None), images, "wish", lines, host_network=True
        )
    allowing = BuildahBuilder(replace(settings, allow_host_network=True), dialer=None)
    text = await printed(allowing, images, "granted", lines, host_network=True)
    assert "in" in text.splitlines()
    assert visitors


async def test_a_machine_without_limits_says_so_and_builds(
    settings: BuildahSettings, images: BaseImages
) -> None:
    builder = BuildahBuilder(replace(settings, limits_resources=False), dialer=None)
    limits = BuildLimits(memory_bytes=32 * 1024**2)
    hungry = f"RUN dd if=/dev/zero of=/dev/null bs=64M count=1 && echo {id(builder)} done"
    text = await printed(builder, images, "unlimited", hungry, limits=limits)
    assert "Warning: this machine cannot limit memory" in text
    assert "done" in text


async def test_inputs_join_a_docker_context(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path
) -> None:
    context = write_tree(tmp_path / "tree", {"file": "x"})
    paths = (ImagePath("/etc/passwd", "from-image"), ImagePath("/etc/.", "all"))
    lines = (
        "COPY . /all\nRUN --mount=type=secret,id=token cat /all/conf/app.ini /run/secrets/token"
        " /all/from-image/passwd; ls /all/all; env | grep -i proxy"
    )
    text = await printed(
        builder,
        images,
        "inputs",
        lines,
        context=context,
        inputs=(
            InjectedFiles("token", {"key": b"masked-in-the-log"}, "creds"),
            InjectedFiles("app", {"app.ini": b"an-ini-file\n"}, "conf", secret=False),
        ),
        source_images=(SourceImage(images.s2i, paths, as_names=("other",)),),
        proxies=Proxies(http="http://proxy.test:1"),
    )
    assert "an-ini-file" in text
    assert "********" in text
    assert "masked-in-the-log" not in text
    assert "maker:x:431" in text
    assert "HTTP_PROXY=http://proxy.test:1" in text
    assert not (context / "conf").exists()


async def test_an_input_does_not_follow_a_link_of_the_source(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path
) -> None:
    context = write_tree(tmp_path / "tree", {"file": "x"})
    (context / "conf").symlink_to(tmp_path)
    given = (InjectedFiles("app", {"app.ini": b"x"}, "conf"),)
    with pytest.raises(BuildError, match="is a link"):
        await printed(builder, images, "linked", "RUN id", context=context, inputs=given)
    assert not (tmp_path / "app.ini").exists()


async def test_an_upload_is_a_source(builder: BuildahBuilder, tmp_path: Path, log: Log) -> None:
    jar = tmp_path / "upload"
    jar.write_bytes(b"bytes")
    source = BinarySource(jar, BinaryKind.FILE, as_file="app.jar")
    checkout = await builder.unpack("uid-upload", source, log)
    assert (checkout.path / "app.jar").read_bytes() == b"bytes"
    assert checkout.revision is None
    for name in ("../x", "a/b", "..", "/x"):
        with pytest.raises(BuildError, match="not the name of a file"):
            await builder.unpack("uid-upload", BinarySource(jar, BinaryKind.FILE, name), log)
    with pytest.raises(BuildError, match="not a tar or zip archive") as caught:
        await builder.unpack("uid-upload", BinarySource(jar, BinaryKind.ARCHIVE), log)
    assert caught.value.reason == "FetchSourceFailed"


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


@pytest.mark.parametrize(
    ("hostile", "message"),
    [
        (entry("/etc/cron.d/x"), "'/etc/cron.d/x' is a path outside"),
        (entry("../../../x"), "is a path outside"),
        (entry("link", tarfile.SYMTYPE, "/etc/passwd"), "a link to '/etc/passwd', outside"),
        (entry("link", tarfile.LNKTYPE, "../x"), "is a path outside"),
        (entry("disk", tarfile.BLKTYPE), "'disk' is a device"),
        (entry("bomb"), "unpacks to more than 100000 bytes"),
    ],
    ids=["absolute", "parent", "link", "hard link", "device", "bomb"],
)
async def test_a_hostile_upload_is_refused_by_its_entry(
    settings: BuildahSettings, tmp_path: Path, log: Log, hostile: tarfile.TarInfo, message: str
) -> None:
    strict = replace(settings, archive_limits=ArchiveLimits(content_bytes=100_000))
    upload = tmp_path / "upload"
    with tarfile.open(upload, "w:gz") as tar:
        hostile.size = 1_000_000 if hostile.name == "bomb" else 0
        tar.addfile(hostile, io.BytesIO(bytes(hostile.size)))
    builder = BuildahBuilder(strict, dialer=None)
    with pytest.raises(BuildError, match=message) as caught:
        await builder.unpack("uid-hostile", BinarySource(upload, BinaryKind.ARCHIVE), log)
    assert caught.value.reason == "FetchSourceFailed"
    assert not caught.value.retryable
    await builder.discard("uid-hostile")
    assert sorted(os.listdir(tmp_path)) == ["upload", "work"]  # noqa: PTH208


async def test_the_strategys_image_replaces_the_last_from_alone(
    builder: BuildahBuilder, images: BaseImages
) -> None:
    text = (
        "FROM base:1 AS one\nRUN id -u | tee /uid\n"
        "FROM base:1\nCOPY --from=one /uid /uid\nRUN id -u; cat /uid\n"
    )
    log = Log()
    wanted = plan(images, "final", dockerfile=text, push=None, final_image=images.s2i)
    await builder.build(wanted, log)
    assert "\n1001\n0\n" in log.text


async def test_a_squashed_image_has_one_layer_more(
    builder: BuildahBuilder, images: BaseImages, log: Log
) -> None:
    text = "FROM base:1\nRUN touch /a\nRUN touch /b\n"
    wanted = plan(images, "squash", dockerfile=text, squash=True)
    await builder.build(wanted, log)
    assert wanted.push is not None
    assert len(inspect(wanted.push)["Layers"]) <= len(inspect(images.base)["Layers"]) + 1


async def test_a_custom_builder_gets_its_build_and_no_socket(
    builder: BuildahBuilder, images: BaseImages, log: Log
) -> None:
    text = 'FROM base:1\nCMD ["/bin/sh", "-c", "env; ls -l $PUSH_DOCKERCFG_PATH"]\n'
    target = images.reference("vendor/custom:1")
    made = await builder.build(plan(images, "custom", dockerfile=text, push=target), log)
    assert made.digest is not None
    custom = {
        "strategy": BuilderStrategy.CUSTOM,
        "images": {"builder": target.with_digest(made.digest)},
        "build_document": '{"kind":"Build"}',
        "env": (("MINE", "1"),),
    }
    result = await builder.build(plan(images, "custom-run", **custom), log)
    assert result.digest is None
    for line in (
        'BUILD={"kind":"Build"}',
        f"OPENSHIFT_CUSTOM_BUILD_BASE_IMAGE={custom['images']['builder']}",  # type: ignore[index]
        f"OUTPUT_REGISTRY={images.registry}",
        "OUTPUT_IMAGE=shop/custom-run:latest",
        "MINE=1",
    ):
        assert line in log.text.splitlines()
    with pytest.raises(BuildError, match="no Docker socket"):
        await builder.build(plan(images, "socket", docker_socket=True, **custom), log)


async def test_pruning_takes_what_nobody_needs(
    settings: BuildahSettings, images: BaseImages, tmp_path: Path, log: Log
) -> None:
    own = replace(settings, storage_root=tmp_path / "root", run_root=tmp_path / "run")
    builder = BuildahBuilder(own, dialer=None)
    assert images.base.digest is not None
    text = "FROM base:1\nRUN true\n"  # whose step is kept for nobody: it would keep its base
    await builder.build(plan(images, "kept", dockerfile=text, push=None, step_scope=""), log)
    recent = await builder.prune(frozenset(), unused_for=timedelta(hours=1))
    planned = await builder.prune(frozenset(), unused_for=timedelta(0), dry_run=True)
    taken = await builder.prune(frozenset({images.base.digest}), unused_for=timedelta(0))
    rest = await builder.prune(frozenset(), unused_for=timedelta(0), dry_run=True)
    assert recent == ()
    assert str(images.base) in planned
    assert len(taken) == len(planned) - 1
    assert rest == (str(images.base),)
