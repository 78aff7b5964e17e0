"""Reads what a decision needs from a source tree that somebody else wrote."""

from pathlib import Path, PurePosixPath

from upwell.builder.interface import BuildError
from upwell.formats.dockerfile.parse import MAX_DOCKERFILE_BYTES
from upwell.machine.beneath import LeavesFolderError, read_beneath, resolve_beneath


def read_dockerfile(context: Path, path: str) -> str:
    """Return the Dockerfile at `path` below `context`; a link that leaves the tree is refused.

    What is no UTF-8 becomes lone surrogates: in comments it does no harm. Raises BuildError
    ManageDockerfileFailed.
    """
    try:
        raw = read_beneath(context, path, MAX_DOCKERFILE_BYTES)
    except LeavesFolderError as error:
        message = f"the Dockerfile {path!r} is outside the source"
        raise BuildError("ManageDockerfileFailed", message) from error
    except OSError as error:
        message = f"the Dockerfile {path!r} cannot be read: {error.strerror}"
        raise BuildError("ManageDockerfileFailed", message) from error
    return raw.decode(errors="surrogateescape")


def context_of(tree: Path, context_dir: str) -> Path:
    """Return the context inside `tree`; links are followed, and may not leave it.

    Raises BuildError InvalidContextDirectory.
    """
    wanted = PurePosixPath(context_dir.strip().lstrip("/"))
    try:
        path = resolve_beneath(tree, str(wanted))
        found = ".." not in wanted.parts and path.is_dir()
    except OSError:
        found = False
    if not found:
        raise BuildError(
            "InvalidContextDirectory",
            f"The supplied context directory does not exist. ({context_dir!r})",
        )
    return path
