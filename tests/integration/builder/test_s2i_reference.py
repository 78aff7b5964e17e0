"""Builds with images after the reference's own: the same files, configuration and refusals."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.support.builds.base_images import BaseImages, Log, inspect, run, write_tree
from tests.support.builds.s2i_images import BuilderImages
from tests.support.faults.on_demand import on_demand

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.interface import (
    BuildError,
    BuilderStrategy,
    BuildPlan,
    ImagePath,
    InjectedFiles,
    PostCommit,
    RuntimeImage,
    SourceImage,
    SourceOptions,
)
from upwell.oci import Reference

ALLOWED = on_demand(
    "tests/integration/builder/test_s2i_reference.py::test_only_allowed_users_build"
)
"""Leaves users to the test that has them too."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree", {"Gemfile": "gem\n", "run": "#!/bin/sh\n"})


class PushedImage:
    """A pushed image: its configuration, and its files with owner, mode and content."""

    def __init__(self, image: Reference, folder: Path) -> None:
        document = inspect(image, "--config")
        self.config: dict[str, Any] = document["config"]
        self.history: str = json.dumps(document["history"])
        self.files: dict[str, bytes] = {}
        self.owners: dict[str, tuple[int, int]] = {}
        self.layers = b""
        target = folder / "layout"
        run("skopeo", "copy", "--src-tls-verify=false", f"docker://{image}", f"dir:{target}")
        manifest = json.loads((target / "manifest.json").read_text())
        for layer in manifest["layers"]:
            self._read(target / layer["digest"].partition(":")[2])

    def _read(self, layer: Path) -> None:
        with tarfile.open(layer) as tar:
            for member in tar:
                path = f"/{member.name.strip('/')}"
                content = tar.extractfile(member) if member.isreg() else None
                self.files[path] = content.read() if content else b""
                self.owners[path] = (member.uid, member.gid)
                self.layers += self.files[path]


class Fixture:
    """Builds on behalf of one test."""

    def __init__(self, builder: BuildahBuilder, images: BaseImages, folder: Path, log: Log) -> None:
        self.builder, self.images, self.folder, self.log = builder, images, folder, log

    async def build(self, image: Reference, tree: Path, name: str, **changes: Any) -> PushedImage:
        plan = BuildPlan(
            **{
                "id": f"uid-{name}",
                "namespace": "shop",
                "name": name,
                "strategy": BuilderStrategy.SOURCE,
                "context": tree,
                "images": {"builder": image},
                "push": self.images.reference(f"result/{name}:1"),
                "insecure_registries": frozenset({self.images.registry}),
                **changes,
            }
        )
        result = await self.builder.build(plan, self.log)
        assert plan.push is not None
        assert result.digest is not None
        folder = self.folder / f"pulled-{name}"
        folder.mkdir()
        return PushedImage(plan.push.with_digest(result.digest), folder)


@pytest.fixture
def s2i(builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log) -> Fixture:
    return Fixture(builder, images, tmp_path, log)


@pytest.mark.parametrize(
    ("name", "uid", "user"),
    [
        ("fake", 0, None),
        pytest.param("assemble-root", 0, "1001", marks=ALLOWED),
        ("assemble-user", 431, "1001"),
        ("user", 431, "maker"),
        pytest.param("numericuser", 431, "431", marks=ALLOWED),
        ("no-tar", 0, None),
    ],
)
async def test_assemble_runs_as_its_user_and_the_image_keeps_its_own(
    s2i: Fixture, fakes: BuilderImages, tree: Path, name: str, uid: int, user: str | None
) -> None:
    built = await s2i.build(fakes[name], tree, name)
    assert built.files["/sti-fake/assemble-invoked"] == f"{uid}\n".encode()
    assert built.files["/sti-fake/src/Gemfile"] == b"gem\n"
    assert built.owners["/tmp/src/Gemfile"][0] == uid  # noqa: S108  # in the image
    assert "/sti-fake/run-invoked" not in built.files
    assert built.config.get("User") == user
    assert built.config["Cmd"] == ["/usr/bin/sti-fake/run"]
    assert built.config["Labels"]["io.openshift.s2i.build.image"] == str(fakes[name])
    raw = inspect(s2i.images.reference(f"result/{name}:1"), "--config", "--raw")["config"]
    assert ("Healthcheck" in raw) == (name == "user")


async def test_settings_in_the_environment_are_those_of_old_images(
    s2i: Fixture, fakes: BuilderImages, tree: Path
) -> None:
    built = await s2i.build(fakes["env"], tree, "env")
    assert built.files["/opt/src/Gemfile"] == b"gem\n"
    assert built.config["Cmd"] == ["/usr/bin/sti-fake/run"]


async def test_an_incremental_build_takes_up_the_artifacts_of_the_last(
    s2i: Fixture, fakes: BuilderImages, tree: Path
) -> None:
    first = await s2i.build(fakes["scripts"], tree, "incremental")
    assert "/sti-fake/save-artifacts-invoked" not in first.files
    previous = s2i.images.reference("result/incremental:1")
    options = SourceOptions(previous=previous)

    second = await s2i.build(fakes["scripts"], tree, "incremental2", source=options)

    assert "/sti-fake/save-artifacts-invoked" in second.files
    assert "Warning" not in s2i.log.text


@pytest.mark.parametrize("fault", ["no script", "no image", "no archive", "fails"])
async def test_without_artifacts_a_clean_build_is_made(
    s2i: Fixture, fakes: BuilderImages, tree: Path, fault: str
) -> None:
    name = "no-save-artifacts" if fault == "no script" else "scripts"
    previous = fakes[name] if fault != "no image" else s2i.images.reference("result/absent:1")
    if fault == "no archive":
        write_tree(tree, {".s2i/bin/save-artifacts": "#!/bin/sh\necho noise\n"})
    if fault == "fails":
        write_tree(tree, {".s2i/bin/save-artifacts": "#!/bin/sh\nexit 3\n"})
    slug = fault.replace(" ", "-")

    built = await s2i.build(fakes[name], tree, slug, source=SourceOptions(previous=previous))

    assert "/sti-fake/assemble-invoked" in built.files
    assert "Warning" in s2i.log.text
    required = SourceOptions(previous=previous, previous_required=True)
    with pytest.raises(BuildError):
        await s2i.build(fakes[name], tree, f"{slug}-required", source=required)


async def test_a_secret_is_seen_by_assemble_and_leaves_nothing(
    s2i: Fixture, fakes: BuilderImages, tree: Path
) -> None:
    secret, hidden = "correct-horse-battery", "staple-in-a-folder"
    write_tree(
        tree,
        {
            ".s2i/bin/assemble": "#!/bin/sh -e\ncat secret/token\n. /usr/bin/sti-fake/assemble\n"
            "rm secret/token; sed -i s/correct/other/ /tmp/secret; stat -c 'tmp %a' /tmp\n"
        },
    )
    built = await s2i.build(
        fakes["fake"],
        tree,
        "secret",
        inputs=(
            InjectedFiles("one", {"secret": secret.encode()}, "/tmp"),  # noqa: S108  # in the image
            InjectedFiles("two", {"token": hidden.encode()}, "secret"),
            InjectedFiles("three", {"app.ini": b"kept"}, "/etc/fake", secret=False),
        ),
    )
    assert "/sti-fake/secret-delivered" in built.files
    assert "/sti-fake/relative-secret-delivered" in built.files
    assert built.files["/etc/fake/app.ini"] == b"kept"
    for text in (secret, hidden):
        assert text.encode() not in built.layers
        assert text not in built.history
        assert text not in s2i.log.text
    assert "/srv/secret/token" not in built.files
    assert built.files["/tmp/secret"] == b""  # noqa: S108  # in the image
    assert "tmp 1777" in s2i.log.text


async def test_files_of_other_images_join_the_source(
    s2i: Fixture, fakes: BuilderImages, tree: Path
) -> None:
    paths = (
        ImagePath("/etc/passwd", "lib/"),
        ImagePath("/usr/bin/sti-fake", "lib"),
        ImagePath("/usr/bin/sti-fake/.", "flat"),
    )
    built = await s2i.build(
        fakes["fake"], tree, "images", source_images=(SourceImage(fakes["user"], paths),)
    )
    names = {name.removeprefix("/sti-fake/src/") for name in built.files}
    assert {"Gemfile", "lib/passwd", "lib/sti-fake/run", "flat/run"} <= names


async def test_a_runtime_image_gets_only_the_artifacts(
    s2i: Fixture, fakes: BuilderImages, tree: Path
) -> None:
    write_tree(
        tree,
        {
            ".s2i/bin/assemble-runtime": "id -u > assembled-by; pwd >> assembled-by\n",
            ".s2i/bin/run": "#!/bin/sh\n",
            ".s2i/environment": "A=1\n",
        },
    )
    options = SourceOptions(runtime=RuntimeImage(fakes["runtime"]))
    built = await s2i.build(fakes["fake"], tree, "runtime", source=options)
    assert built.files["/srv/app/src/Gemfile"] == b"gem\n"
    assert built.files["/srv/app/got/assemble-invoked"] == b"0\n"
    assert built.files["/srv/app/assembled-by"] == b"1001\n/srv/app\n"
    assert not [name for name in built.files if name.startswith("/sti-fake/")]
    assert built.config["User"] == "1001"
    assert built.config["Cmd"] == ["/srv/app/scripts/run"]
    assert "A=1" in built.config["Env"]


@pytest.mark.parametrize(
    "name",
    [
        "onbuild",
        "onbuild-rootuser",
        pytest.param("onbuild-numericuser", marks=ALLOWED),
    ],
)
async def test_a_builder_with_triggers_needs_no_scripts(
    s2i: Fixture, fakes: BuilderImages, tree: Path, name: str
) -> None:
    own = name == "onbuild-rootuser"
    if own:
        (tree / "run").unlink()
        scripts = {"assemble": "id -u >assembled\n", "run": "#!/bin/sh\n"}
        write_tree(tree, {f".s2i/bin/{script}": text for script, text in scripts.items()})
    built = await s2i.build(fakes[name], tree, name, env=(("A", "1"),))
    assert built.files["/sti-fake/src/Gemfile"] == b"gem\n"
    assert built.files.get("/sti-fake/src/assembled") == (b"0\n" if own else None)
    assert built.config["Entrypoint"] == ["./run"]
    assert "A=1" in built.config["Env"]


@pytest.mark.parametrize(
    ("name", "assemble_user", "allowed"),
    [
        ("numericuser", "", True),
        ("assemble-user", "", True),
        ("user", "", False),
        ("fake", "", False),
        ("assemble-root", "", False),
        ("numericuser", "0", False),
        ("numericuser", "maker", False),
        ("onbuild-rootuser", "", False),
        ("onbuild-numericuser", "", True),
    ],
)
async def test_only_allowed_users_build(
    s2i: Fixture,
    fakes: BuilderImages,
    tree: Path,
    *,
    name: str,
    assemble_user: str,
    allowed: bool,
) -> None:
    options = SourceOptions(allowed_uids="1-", assemble_user=assemble_user)
    slug = f"uids-{name}-{assemble_user or 'own'}"
    if allowed:
        await s2i.build(fakes[name], tree, slug, source=options)
    else:
        with pytest.raises(BuildError, match="runs as"):
            await s2i.build(fakes[name], tree, slug, source=options)


async def test_excluded_paths_do_not_arrive(s2i: Fixture, fakes: BuilderImages, tree: Path) -> None:
    write_tree(tree, {"a/x.log": "", "b[1].log": "", "kept.txt": "", ".git/config": ""})
    options = SourceOptions(exclude=r"\.log$")
    built = await s2i.build(fakes["fake"], tree, "exclude", source=options)
    names = {name for name in built.files if name.startswith("/sti-fake/src/")}
    assert not [name for name in names if name.endswith(".log")]
    assert {"/sti-fake/src/kept.txt", "/sti-fake/src/.git/config"} <= names


async def test_ignored_paths_do_not_arrive_and_some_come_back(
    s2i: Fixture, fakes: BuilderImages, tree: Path
) -> None:
    rules = "*.log\n!keep.log\nout\n!out/kept\ndeep/*\n!deep/kept\n#note\n!.git\n"
    names = ("a.log", "keep.log", "out/kept", "deep/x", "deep/kept", "in/b.log", "#note", ".git/x")
    write_tree(tree, {**dict.fromkeys(names, ""), ".s2iignore": rules})
    built = await s2i.build(fakes["fake"], tree, "ignore")
    folder = "/sti-fake/src/"
    found = {name.removeprefix(folder) for name in built.files if name.startswith(folder)}
    assert found & set(names) == {"keep.log", "deep/kept", "in/b.log", "#note"}
    assert {"Gemfile", ".s2iignore"} <= found


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (PostCommit(script='test "$1" = 2', args=("1",)), "exited with 1"),
        pytest.param(
            PostCommit(command=("/bin/false",)),
            "exited with 1",
            marks=on_demand(
                "tests/integration/builder/test_openshift_build_cases.py::"
                "test_case_18_a_failing_hook_pushes_nothing"
            ),
        ),
        (PostCommit(script="exit 7"), "exited with 7"),
    ],
)
async def test_a_failing_post_commit_hook_keeps_the_image_back(
    s2i: Fixture, fakes: BuilderImages, tree: Path, hook: PostCommit, message: str
) -> None:
    with pytest.raises(BuildError, match=message) as caught:
        await s2i.build(fakes["fake"], tree, "unpushed", post_commit=hook)
    assert caught.value.reason == "PostCommitHookFailed"
    with pytest.raises(AssertionError, match=r"manifest unknown|name unknown"):
        inspect(s2i.images.reference("result/unpushed:1"))


async def test_a_post_commit_hook_cannot_change_the_image(
    s2i: Fixture, fakes: BuilderImages, tree: Path
) -> None:
    hook = PostCommit(
        script="test -f /sti-fake/src/Gemfile && touch /changed && test $1 = 1", args=("1",)
    )
    built = await s2i.build(fakes["fake"], tree, "hooked", post_commit=hook)
    assert "/changed" not in built.files
    assert built.config["Cmd"] == ["/usr/bin/sti-fake/run"]
