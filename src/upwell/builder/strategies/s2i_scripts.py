"""Finds the S2I scripts of a source build, each on its own: URL, source tree, builder image."""

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from upwell.builder.interface import BuildError, MissingScriptsError, UnknownSchemeError
from upwell.formats.s2i.contract import (
    REQUIRED_SCRIPTS,
    RUNTIME_SCRIPTS,
    SCRIPTS,
    SOURCE_SCRIPT_FOLDERS,
    image_path,
)
from upwell.machine.beneath import LeavesFolderError, read_beneath
from upwell.outbound.dialing import Dialer
from upwell.outbound.downloads import DownloadError, DownloadLimits, DownloadRequest, download

_MAX_SCRIPT_BYTES = 1024 * 1024
_LIMITS = DownloadLimits(_MAX_SCRIPT_BYTES)
_HOST = re.compile(r"[\w.:-]+")
_PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy"})


@dataclass(frozen=True, slots=True)
class ScriptSources:
    """Sources of scripts, in order of precedence."""

    override_url: str
    tree: Path
    image_url: str
    dialer: Dialer
    """Connects to where scripts are downloaded from."""
    allow_local: bool = False
    """True if a `file://` URL may name a path of this machine."""
    optional: bool = False
    """True if the image does without scripts."""
    runtime: bool = False
    """True if the image is a runtime image, with scripts of its own."""
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Through what scripts are downloaded, by the scheme of their URL. May hold passwords."""


def download_proxies(env: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the proxies that a build's environment names, in either spelling, by URL scheme.

    Raises BuildError GenericBuildFailed for one that is no URL.
    """
    proxies = {}
    for name, value in env:
        if name.lower() not in _PROXY_VARIABLES or not value:
            continue
        url = value if "://" in value else f"http://{value}"
        if not _names_a_host(url):
            # The value stays out of the message: it may hold a password.
            raise BuildError("GenericBuildFailed", f"the variable {name} is not the URL of a proxy")
        proxies[name.lower().removesuffix("_proxy")] = url
    return proxies


def _names_a_host(url: str) -> bool:
    try:
        return _HOST.fullmatch(urlsplit(url).hostname or "") is not None
    except ValueError:
        return False


async def collect_scripts(sources: ScriptSources, upload: Path) -> dict[str, str]:
    """Put external scripts into `upload`, executable; return where the image holds the others.

    Raises BuildError GenericBuildFailed if a required script is nowhere, or none came from the URL
    that was asked for.
    """
    in_image: dict[str, str] = {}
    missing = []
    wanted = bool(sources.override_url) and image_path(sources.override_url) is None
    required: Collection[str] = RUNTIME_SCRIPTS if sources.runtime else REQUIRED_SCRIPTS
    if sources.optional:
        required = ()
    for name in RUNTIME_SCRIPTS if sources.runtime else SCRIPTS:
        content = None
        path = image_path(sources.override_url)
        if path is None:
            content = await _fetch(sources, sources.override_url, name)
            wanted = wanted and content is None
            if content is None:
                content = await asyncio.to_thread(_from_tree, sources.tree, name)
            path = image_path(sources.image_url)
            if content is None and path is None:
                content = await _fetch(sources, sources.image_url, name)
        if content is not None:
            await asyncio.to_thread(_install, upload / name, content)
        elif path is not None:
            in_image[name] = f"{path.rstrip('/')}/{name}"
        elif name in required:
            missing.append(name)
    if wanted:
        message = f"there are no scripts at {sources.override_url!r}: is the scripts URL right?"
        raise BuildError("GenericBuildFailed", message)
    if missing:
        raise MissingScriptsError(
            "GenericBuildFailed",
            f"failed to install {missing}: neither the scripts URL, nor .s2i/bin in the source,"
            " nor the builder image's label io.openshift.s2i.scripts-url gives them: name a"
            " builder image (`upwell builders list` has some) in the place of this one",
        )
    return in_image


def _from_tree(tree: Path, name: str) -> bytes | None:
    """Return a script of the source; BuildError for a link that leads out of it."""
    for folder in SOURCE_SCRIPT_FOLDERS:
        path = f"{folder}/{name}"
        try:
            return _limited(path, read_beneath(tree, path, _MAX_SCRIPT_BYTES))
        except LeavesFolderError as error:
            raise BuildError("GenericBuildFailed", f"the script {error.strerror}") from error
        except OSError:
            continue
    return None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return _limited(path.name, file.read(_MAX_SCRIPT_BYTES + 1))


def _limited(name: str, content: bytes) -> bytes:
    if len(content) > _MAX_SCRIPT_BYTES:
        raise BuildError("GenericBuildFailed", f"{name}: over {_MAX_SCRIPT_BYTES} bytes")
    return content


def _install(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o755)


async def _fetch(sources: ScriptSources, url: str, name: str) -> bytes | None:
    """Return the script below `url`; None if there is no URL, or no such script."""
    if not url:
        return None
    scheme = url.partition("://")[0]
    if scheme == "file" and sources.allow_local:
        path = Path(url.removeprefix("file://")) / name
        return await asyncio.to_thread(_read, path) if path.is_file() else None
    if scheme in {"http", "https"}:
        return await _download(f"{url.rstrip('/')}/{name}", sources)
    raise UnknownSchemeError(
        "GenericBuildFailed",
        f"scripts URL {url!r}: expected image://, https:// or http://"
        " (file:// only where the administrator allows local paths)",
    )


async def _download(url: str, sources: ScriptSources) -> bytes | None:
    """Return a script; None if the server has none, whatever its answer is."""
    proxy = sources.proxies.get(url.partition("://")[0])
    try:
        return await download(sources.dialer, DownloadRequest(url, _LIMITS, proxy))
    except DownloadError as error:
        if error.status:
            return None
        raise BuildError("GenericBuildFailed", f"{url}: {error}", retryable=True) from error
