"""Reads what a decision needs from a source tree that somebody else wrote."""

from pathlib import Path, PurePosixPath

from upwell.builder.interface import BuildError
from upwell.formats.dockerfile.parse import MAX_DOCKERFILE_BYTES


def read_dockerfile(context: Path, path: str) -> str:
    """Return the Dockerfile at `path` below `context`; a link that leaves the tree is refused.

    Raises BuildError ManageDockerfileFailed.
    """
    root = context.resolve()
    file = (root / path).resolve()
    if not file.is_relative_to(root):
        raise BuildError("ManageDockerfileFailed", f"the Dockerfile {path!r} is outside the source")
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_DOCKERFILE_BYTES + 1)
    except OSError as error:
        message = f"the Dockerfile {path!r} cannot be read: {error.strerror}"
        raise BuildError("ManageDockerfileFailed", message) from error
    return raw.decode(errors="replace")


def context_of(tree: Path, context_dir: str) -> Path:
    """Return the context inside `tree`; links are followed, and may not leave it.

    Raises BuildError InvalidContextDirectory.
    """
    wanted = PurePosixPath(context_dir.strip().lstrip("/"))
    path = (tree / wanted).resolve()
    if ".." in wanted.parts or not path.is_relative_to(tree.resolve()) or not path.is_dir():
        raise BuildError(
            "InvalidContextDirectory",
            f"The supplied context directory does not exist. ({context_dir!r})",
        )
    return path
