"""Applications to build from source, from a tiny one to one of 500 packages, and their builders."""

import json
import shutil
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.builds.base_images import ASSEMBLE, root_file_system, run, write_tree
from tests.support.builds.written_images import Layer

_DOWNLOAD_SECONDS = 300
_SYSTEM = ("base-files", "dash", "coreutils")
_PYTHON_PACKAGES = ("flask==3.1.0", "gunicorn==23.0.0", "requests==2.32.3")
_EXPRESS = {"express": "4.21.2"}
_TOOLS = {
    "eslint": "8.57.1",
    "jest": "29.7.0",
    "mocha": "10.8.2",
    "nodemon": "3.1.9",
    "supertest": "7.0.0",
    "webpack": "5.97.1",
}
_BUILDER = "LABEL io.openshift.s2i.scripts-url=image:///usr/libexec/s2i\nUSER 1001\n"
_NODE_BASE = f"""\
COPY --chown=1001:0 app /opt/app
ENV PATH=/usr/local/bin:/usr/bin HOME=/opt/app
{_BUILDER}"""
_PYTHON_BASE = f"""\
COPY --chown=1001:0 app /opt/app
ENV PATH=/usr/bin HOME=/opt/app
{_BUILDER}"""
_RUN = "#!/bin/sh\nexec sleep 1\n"
_PIP_ASSEMBLE = """\
#!/bin/sh -e
cd /opt/app
cp -R /tmp/src/. .
pip install --no-index --no-cache-dir --break-system-packages --target=packages \
  --find-links=wheels -r requirements.txt
rm -rf wheels
"""
_NPM_ASSEMBLE = """\
#!/bin/sh -e
cd /opt/app
cp -R /tmp/src/. .
npm ci --offline --ignore-scripts --no-audit --no-fund --cache /tmp/src/.npm
rm -rf .npm
"""


@dataclass(frozen=True)
class App:
    """An application, and the builder image that turns its source into an image."""

    name: str
    write_source: Callable[[Path], None]
    write_builder: Callable[[Path], None]
    """Writes what the builder has besides Debian's packages."""
    debian: Sequence[str]
    """Debian's packages in the builder; none: a static busybox."""
    lines: str
    """Of the builder's Dockerfile, after its files."""


def _write_tiny_source(root: Path) -> None:
    write_tree(root, {"index.html": "hello\n"})


def _write_busybox(root: Path) -> None:
    scripts = {"assemble": ASSEMBLE, "run": _RUN}
    layer = Layer()
    for folder in ("usr", "usr/libexec", "usr/libexec/s2i"):
        layer.folder(folder)
    for name, text in scripts.items():
        layer.file(f"usr/libexec/s2i/{name}", text.encode())
    (root / "etc").mkdir(exist_ok=True)
    (root.parent / "root.tar").write_bytes(root_file_system())
    (root.parent / "scripts.tar").write_bytes(layer.tar())


def _write_python_source(root: Path) -> None:
    write_tree(root, {"requirements.txt": "\n".join(_PYTHON_PACKAGES) + "\n"})
    write_tree(root / "src", {f"module{index}.py": f"VALUE = {index}\n" for index in range(30)})
    wheels = ("--dest", str(root / "wheels"), "--only-binary=:all:", "--python-version=3.13")
    run("pip", "download", "--quiet", *wheels, *_PYTHON_PACKAGES, seconds=_DOWNLOAD_SECONDS)


def _write_python_builder(root: Path) -> None:
    """Write what ca-certificates' scripts would: pip reads it even if it fetches nothing."""
    target = root / "etc/ssl/certs/ca-certificates.crt"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ssl.get_default_verify_paths().openssl_cafile, target)
    write_tree(root / "usr/libexec/s2i", {"assemble": _PIP_ASSEMBLE, "run": _RUN})


def _node_source(packages: dict[str, str], least: int) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        manifest = {"name": "shop", "version": "1.0.0", "dependencies": packages}
        modules = {f"module{index}.js": f"exports.value = {index}\n" for index in range(30)}
        write_tree(root, {"package.json": json.dumps(manifest), **modules})
        # With addresses, so that the build needs nothing but the archives themselves.
        lock = "--omit-lockfile-registry-resolved=false"
        flags = (lock, "--ignore-scripts", "--no-audit", "--no-fund", f"--cache={root / '.npm'}")
        run("npm", "install", *flags, cwd=root, seconds=_DOWNLOAD_SECONDS)
        shutil.rmtree(root / "node_modules")  # the build makes it of the lock file and the cache
        found = len(json.loads((root / "package-lock.json").read_text())["packages"]) - 1
        assert found >= least, found

    return write


def _write_node_builder(root: Path) -> None:
    """Write npm and the scripts of Source-to-Image: Debian's npm is four hundred packages."""
    flags = ("--ignore-scripts", "--no-audit", "--no-fund", f"--prefix={root / 'usr/local'}")
    run("npm", "install", "--global", *flags, "npm@10.9.2", seconds=_DOWNLOAD_SECONDS)
    write_tree(root / "usr/libexec/s2i", {"assemble": _NPM_ASSEMBLE, "run": _RUN})


TINY = App("tiny", _write_tiny_source, _write_busybox, (), f"ENV PATH=/bin\n{_BUILDER}")
PYTHON = App(
    "python", _write_python_source, _write_python_builder, ("python3", "python3-pip"), _PYTHON_BASE
)
_NODE = ("nodejs", "tar")
"""The builder of applications of Node.js: s2i hands the source in by tar."""
EXPRESS = App("express", _node_source(_EXPRESS, 60), _write_node_builder, _NODE, _NODE_BASE)
LARGE_NODE = App(
    "node-500",
    _node_source({**_EXPRESS, **_TOOLS}, 500),
    _write_node_builder,
    _NODE,
    _NODE_BASE,
)


class BuilderImageContext:
    """The context that an app's builder images are built from: each has another first layer."""

    def __init__(self, app: App, folder: Path) -> None:
        self.folder = folder
        (folder / "extra/etc").mkdir(parents=True)
        (folder / "app").mkdir()
        app.write_builder(folder / "extra")
        layers = ["ADD root.tar /"]
        if app.debian:
            _require("mmdebstrap", "pip", "npm")
            packages = f"--include={','.join((*_SYSTEM, *app.debian))}"
            argv = ("mmdebstrap", "--variant=extract", packages, "trixie", f"{folder}/root.tar")
            run(*argv, seconds=_DOWNLOAD_SECONDS)
        else:
            layers.append("ADD scripts.tar /")
        # One layer, as a distribution's base is: a fix of one package changes all of it.
        recipe = "\n".join(["FROM scratch", *layers, "COPY extra /", app.lines])
        (folder / "Dockerfile").write_text(recipe)

    def change(self, fix: str) -> None:
        """Let the next image differ, as one with another fix does."""
        (self.folder / "extra/etc/fix").write_text(fix)


def _require(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"install {' '.join(missing)}")
