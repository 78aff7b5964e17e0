"""Builder images after the reference implementation's own test images, made from busybox."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.builds.base_images import BaseImages, run, write_tree

from upwell.oci import Digest, Reference

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
URL = "LABEL io.openshift.s2i.scripts-url={url}\n"
IN_IMAGE = URL.format(url="image:///usr/bin/sti-fake")
MAKE = "RUN mkdir -p /sti-fake && chmod 777 /sti-fake\n"
ONBUILD = "RUN mkdir -p /sti-fake/src\nWORKDIR /sti-fake/src\nONBUILD COPY . /sti-fake/src\n"

RECIPES: Mapping[str, str] = {
    "fake": MAKE + IN_IMAGE + "WORKDIR /srv\nRUN chmod 777 /srv\n",
    "assemble-root": MAKE + IN_IMAGE + "LABEL io.openshift.s2i.assemble-user=0\nUSER 1001\n",
    "assemble-user": MAKE + IN_IMAGE + "LABEL io.openshift.s2i.assemble-user=431\nUSER 1001\n",
    "env": MAKE + "ENV STI_SCRIPTS_URL=image:///usr/bin/sti-fake STI_LOCATION=/opt\n",
    "user": MAKE + IN_IMAGE + "USER maker\nHEALTHCHECK CMD true\n",
    "numericuser": MAKE + IN_IMAGE + "USER 431\n",
    "scripts": MAKE + IN_IMAGE,
    "no-save-artifacts": MAKE + IN_IMAGE + "RUN rm /usr/bin/sti-fake/save-artifacts\n",
    "no-tar": MAKE + IN_IMAGE + "RUN rm /bin/tar\n",
    "onbuild": ONBUILD,
    "onbuild-rootuser": ONBUILD + "ONBUILD USER root\nUSER 431\n",
    "onbuild-numericuser": ONBUILD + "ONBUILD USER 431\nUSER 431\n",
    "runtime": "WORKDIR /srv/app\nRUN chmod 777 /srv/app\nUSER 1001\n"
    "LABEL io.openshift.s2i.assemble-input-files='/sti-fake/src;/sti-fake/assemble-invoked:got'\n",
}


@dataclass(frozen=True)
class BuilderImages:
    """The pinned images, by the name of the reference's test image without `sti-`."""

    pinned: Mapping[str, Reference]

    def __getitem__(self, name: str) -> Reference:
        return self.pinned[name]


def push_builder_images(images: BaseImages, containers_conf: Path, folder: Path) -> BuilderImages:
    """Build every image on the shared base, and push it."""
    context = write_tree(folder / "context", {f"scripts/{n}": t for n, t in SCRIPTS.items()})
    store = ["buildah", f"--root={folder / 'store'}", f"--runroot={folder / 'run'}"]
    environment = {"CONTAINERS_CONF": str(containers_conf)}
    plain = ("--tls-verify=false",)
    pinned = {}
    for name, recipe in RECIPES.items():
        text = f"FROM {images.base}\nCOPY scripts /usr/bin/sti-fake\n{recipe}"
        (folder / "Dockerfile").write_text(text)
        file = f"--file={folder / 'Dockerfile'}"
        build = (
            "build",
            *plain,
            "--layers",  # most begin alike
            "--ulimit=nproc=1024:1024",
            "--format=docker",
            f"--tag={name}",
            file,
            str(context),
        )
        run(*store, *build, env=environment)
        tagged = images.reference(f"fake/{name}:1")
        digest = f"--digestfile={folder / 'digest'}"
        run(*store, "push", *plain, digest, name, f"docker://{tagged}", env=environment)
        pinned[name] = tagged.with_digest(Digest.parse((folder / "digest").read_text()))
    return BuilderImages(pinned)
