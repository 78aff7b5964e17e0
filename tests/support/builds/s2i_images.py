"""Builder images after the reference implementation's own test images, made from busybox."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.builds.base_images import BaseImages, root_file_system
from tests.support.builds.written_images import Layer, WrittenImage

from upwell.oci import Reference

SCRIPTS = {
    "assemble": """\
#!/bin/sh -e
mkdir -p /sti-fake/src
cp -R "${STI_LOCATION:-/tmp}/src/." /sti-fake/src
[ ! -d "${STI_LOCATION:-/tmp}/artifacts" ] || cp -R "${STI_LOCATION:-/tmp}/artifacts/." /sti-fake
id -u > /sti-fake/assemble-invoked
[ ! -s /tmp/secret ] || touch /sti-fake/secret-delivered
[ ! -s secret/token ] || touch /sti-fake/relative-secret-delivered
""",
    "run": "#!/bin/sh\ntouch /sti-fake/run-invoked\n",
    "save-artifacts": "#!/bin/sh -e\ncd /sti-fake\ntouch save-artifacts-invoked\n"
    "tar -cf - save-artifacts-invoked\n",
    "usage": "#!/bin/sh\necho how to use sti-fake\n",
}
URL = "io.openshift.s2i.scripts-url"
IN_IMAGE = {"Labels": {URL: "image:///usr/bin/sti-fake"}}


@dataclass(frozen=True)
class ImageChanges:
    """Difference of an image from the shared base with the scripts."""

    config: Mapping[str, Any]
    folders: Mapping[str, int] = field(default_factory=lambda: {"/sti-fake": 0o777})
    """Modes by path, parents first."""
    removed: Sequence[str] = ()


def assembled_by(user: str) -> dict[str, Any]:
    labels = {**IN_IMAGE["Labels"], "io.openshift.s2i.assemble-user": user}
    return {"Labels": labels, "User": "1001"}


def with_triggers(*triggers: str, user: str = "") -> ImageChanges:
    source = "/sti-fake/src"
    on_build = [f"COPY . {source}", *triggers]
    config = {"WorkingDir": source, "OnBuild": on_build, **({"User": user} if user else {})}
    return ImageChanges(config, {"/sti-fake": 0o755, source: 0o755})


RECIPES: Mapping[str, ImageChanges] = {
    "fake": ImageChanges({**IN_IMAGE, "WorkingDir": "/srv"}, {"/sti-fake": 0o777, "/srv": 0o777}),
    "assemble-root": ImageChanges(assembled_by("0")),
    "assemble-user": ImageChanges(assembled_by("431")),
    "env": ImageChanges(
        {"Env": ["STI_SCRIPTS_URL=image:///usr/bin/sti-fake", "STI_LOCATION=/opt"]}
    ),
    "user": ImageChanges(
        {**IN_IMAGE, "User": "maker", "Healthcheck": {"Test": ["CMD-SHELL", "true"]}}
    ),
    "numericuser": ImageChanges({**IN_IMAGE, "User": "431"}),
    "scripts": ImageChanges(IN_IMAGE),
    "no-save-artifacts": ImageChanges(IN_IMAGE, removed=["/usr/bin/sti-fake/save-artifacts"]),
    "no-tar": ImageChanges(IN_IMAGE, removed=["/bin/tar"]),
    "onbuild": with_triggers(),
    "onbuild-rootuser": with_triggers("USER root", user="431"),
    "onbuild-numericuser": with_triggers("USER 431", user="431"),
    "runtime": ImageChanges(
        {
            "WorkingDir": "/srv/app",
            "User": "1001",
            "Labels": {
                "io.openshift.s2i.assemble-input-files": "/sti-fake/src;"
                "/sti-fake/assemble-invoked:got"
            },
        },
        {"/srv": 0o755, "/srv/app": 0o777},
    ),
}


@dataclass(frozen=True)
class BuilderImages:
    """The pinned images, by the name of the reference's test image without `sti-`."""

    pinned: Mapping[str, Reference]

    def __getitem__(self, name: str) -> Reference:
        return self.pinned[name]


def push_builder_images(images: BaseImages) -> BuilderImages:
    """Write every image on the shared base, and push it."""
    system, scripts = root_file_system(), _scripts()
    return BuilderImages(
        {
            name: WrittenImage(
                [system, scripts, _changes(recipe)],
                {"Cmd": ["/bin/sh"], **recipe.config, "Env": _environment(recipe)},
                docker_format=True,
            ).push(images.reference(f"fake/{name}:1"))
            for name, recipe in RECIPES.items()
        }
    )


def _environment(recipe: ImageChanges) -> list[str]:
    return ["PATH=/bin", "BASE=1", *recipe.config.get("Env", ())]


def _scripts() -> bytes:
    layer = Layer()
    for folder in ("usr", "usr/bin", "usr/bin/sti-fake"):
        layer.folder(folder)
    for name, text in SCRIPTS.items():
        layer.file(f"usr/bin/sti-fake/{name}", text.encode())
    return layer.tar()


def _changes(recipe: ImageChanges) -> bytes:
    layer = Layer()
    for path, mode in recipe.folders.items():
        layer.folder(path, mode)
    for path in recipe.removed:
        layer.folder(path.rpartition("/")[0])
        layer.remove(path)
    return layer.tar()
