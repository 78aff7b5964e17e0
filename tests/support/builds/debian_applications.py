"""A Python and a Node app with their dependencies, and base images made of Debian's packages."""

import json
import shutil
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.builds.base_images import run, write_tree

from upwell.builder.interface import BuilderStrategy

_DOWNLOAD_SECONDS = 300
_SYSTEM = ("base-files", "dash", "coreutils")
_PYTHON_APP = ("flask==3.1.0", "gunicorn==23.0.0", "requests==2.32.3")
_NODE_APP = {
    "express": "4.21.2",
    "eslint": "8.57.1",
    "jest": "29.7.0",
    "mocha": "10.8.2",
    "nodemon": "3.1.9",
    "supertest": "7.0.0",
    "webpack": "5.97.1",
}
_ASSEMBLE = """\
#!/bin/sh -e
cd /opt/app
cp -R /tmp/src/. .
npm ci --offline --ignore-scripts --no-audit --no-fund --cache /tmp/src/.npm
rm -rf .npm /tmp/src
"""


@dataclass(frozen=True)
class App:
    """An app, how it is built, and what its base image has."""

    name: str
    strategy: BuilderStrategy
    write_source: Callable[[Path], None]
    write_base: Callable[[Path], None]
    """Writes what the base image has besides Debian's packages."""
    debian: Sequence[str]
    base_lines: str
    recipe: str
    """Dockerfile with which a person would build it; `base:1` is the base image."""
    options: Sequence[str] = field(default=())
    """Of `buildah build`, for that person."""


def _write_python_source(root: Path) -> None:
    write_tree(root, {"requirements.txt": "\n".join(_PYTHON_APP) + "\n"})
    write_tree(root / "src", {f"module{index}.py": f"VALUE = {index}\n" for index in range(30)})
    wheels = ("--dest", str(root / "wheels"), "--only-binary=:all:", "--python-version=3.13")
    run("pip", "download", "--quiet", *wheels, *_PYTHON_APP, seconds=_DOWNLOAD_SECONDS)


def _write_python_base(root: Path) -> None:
    """Write what ca-certificates' scripts would: pip reads it even if it fetches nothing."""
    target = root / "etc/ssl/certs/ca-certificates.crt"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ssl.get_default_verify_paths().openssl_cafile, target)


def _write_node_source(root: Path) -> None:
    manifest = {"name": "shop", "version": "1.0.0", "dependencies": _NODE_APP}
    modules = {f"module{index}.js": f"exports.value = {index}\n" for index in range(30)}
    write_tree(root, {"package.json": json.dumps(manifest), **modules})
    # With addresses, so that the build needs nothing but the archives themselves.
    lock = "--omit-lockfile-registry-resolved=false"
    flags = (lock, "--ignore-scripts", "--no-audit", "--no-fund", f"--cache={root / '.npm'}")
    run("npm", "install", *flags, cwd=root, seconds=_DOWNLOAD_SECONDS)
    shutil.rmtree(root / "node_modules")  # the build makes it of the lock file and the cache
    packages = len(json.loads((root / "package-lock.json").read_text())["packages"]) - 1
    assert packages >= 500, packages


def _write_node_base(root: Path) -> None:
    """Write npm and the scripts of Source-to-Image: Debian's npm is four hundred packages."""
    flags = ("--ignore-scripts", "--no-audit", "--no-fund", f"--prefix={root / 'usr/local'}")
    run("npm", "install", "--global", *flags, "npm@10.9.2", seconds=_DOWNLOAD_SECONDS)
    write_tree(
        root / "usr/libexec/s2i",
        {"assemble": _ASSEMBLE, "run": "#!/bin/sh\nexec node /opt/app/module0.js\n"},
    )


PYTHON = App(
    name="python",
    strategy=BuilderStrategy.DOCKER,
    write_source=_write_python_source,
    write_base=_write_python_base,
    debian=("python3", "python3-pip"),
    base_lines="ENV PATH=/usr/bin\n",
    recipe=(
        "FROM base:1\n"
        "COPY requirements.txt /app/\nCOPY wheels /app/wheels\n"
        "RUN pip install --no-index --no-cache-dir --break-system-packages"
        " --find-links=/app/wheels -r /app/requirements.txt\n"
        'COPY src /app/src\nCMD ["python3", "/app/src/module0.py"]\n'
    ),
    options=("--layers",),
)
NODE = App(
    name="node",
    strategy=BuilderStrategy.SOURCE,
    write_source=_write_node_source,
    write_base=_write_node_base,
    debian=("nodejs",),
    base_lines=(
        "COPY --chown=1001:0 app /opt/app\nENV PATH=/usr/local/bin:/usr/bin HOME=/opt/app\n"
        "LABEL io.openshift.s2i.scripts-url=image:///usr/libexec/s2i\nUSER 1001\n"
    ),
    recipe=(  # as the reference implementation's --as-dockerfile has it
        "FROM base:1\nUSER root\nCOPY --chown=1001:0 . /tmp/src\nUSER 1001\n"
        'RUN /usr/libexec/s2i/assemble\nCMD ["/usr/libexec/s2i/run"]\n'
    ),
)


class BaseImageContext:
    """The context that an app's base images are built from: each has another first layer."""

    def __init__(self, app: App, folder: Path) -> None:
        for tool in ("mmdebstrap", "pip", "npm"):
            if shutil.which(tool) is None:
                pytest.skip(f"install {tool}")
        self.folder = folder
        (folder / "extra/etc").mkdir(parents=True, exist_ok=True)
        (folder / "app").mkdir()
        app.write_base(folder / "extra")
        packages = f"--include={','.join((*_SYSTEM, *app.debian))}"
        argv = ("mmdebstrap", "--variant=extract", packages, "trixie", str(folder / "root.tar"))
        run(*argv, seconds=_DOWNLOAD_SECONDS)
        # One layer, as a distribution's base is: a fix of one package changes all of it.
        recipe = f"FROM scratch\nADD root.tar /\nCOPY extra /\n{app.base_lines}"
        (folder / "Dockerfile").write_text(recipe)

    def change(self, fix: str) -> None:
        """Let the next image differ, as one with another fix does."""
        (self.folder / "extra/etc/fix").write_text(fix)
