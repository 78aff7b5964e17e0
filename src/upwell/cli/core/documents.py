"""Manifests from files, folders, addresses and stdin; all are checked before any is used."""

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from upwell.api.codec import (
    InvalidObjectError,
    UnknownKindError,
    decode,
    resource_for,
    with_further_faults,
)
from upwell.api.decoding.limits import MAX_MANIFEST_BYTES
from upwell.api.meta import Resource
from upwell.api.values.faults import Fault
from upwell.cli.core.connection import Session
from upwell.cli.core.errors import CommandError, Exit
from upwell.store.interface import ApiClient, NotFoundError, StoreError
from upwell.store.kubernetes_errors import StoreForbiddenError

URL_TIMEOUT_SECONDS = 30
STDIN = "-"
_SUFFIXES = {".yaml", ".yml", ".json"}
_ORDER = (
    ("Namespace",),
    ("Secret", "ConfigMap", "PersistentVolumeClaim"),
    ("ImageStream", "ImageStreamTag", "Image"),
    ("BuildConfig",),
    ("Build",),
    ("Service", "NetworkPolicy"),
    ("Deployment", "StatefulSet", "DaemonSet", "CronJob", "DeploymentConfig"),
    ("Route",),
)
"""Order of applying: what others need comes first, a kind not named here last."""
_RANKS = {kind: rank for rank, kinds in enumerate(_ORDER) for kind in kinds}


@dataclass(frozen=True, slots=True)
class LoadedManifest:
    """A checked document: as it was written, with its namespace, and as an object."""

    document: dict[str, Any]
    resource: Resource
    where: str = ""
    """Prefix of what is told of it: its source."""
    faults: tuple[Fault, ...] = ()
    """Rules that it breaks, and that the object which is there may break already."""
    unreadable: tuple[Fault, ...] = ()
    """Values that are none of their fields; the object then has what can be read."""

    @property
    def fault_messages(self) -> Iterator[str]:
        """Yield what is told of its faults."""
        yield from _fault_messages(self.where, self.resource, (*self.unreadable, *self.faults))

    @property
    def rank(self) -> int:
        """Place in the order in which a set is applied."""
        return _RANKS.get(self.resource.KIND.kind, len(_ORDER))


def load_manifests(
    sources: Sequence[str],
    session: Session,
    *,
    recursive: bool,
    to_store: bool = True,
    may_be_there: bool = False,
    profiles: Sequence[str] = (),
) -> list[LoadedManifest]:
    """Return every object of the sources in the order to apply them.

    A Compose file stands for the objects of its services, those of `profiles` included.
    What is not `to_store` needs no name that an object may have. What `may_be_there` is returned
    with the rules that it breaks: `require_no_new_faults` looks whether they were broken before.
    Raises CommandError with every fault of every document.
    """
    from upwell.api.manifests import (  # noqa: PLC0415 - most calls read none, and YAML takes long
        InvalidManifestTextError,
        parse_manifests,
    )
    from upwell.formats.compose.document import is_compose  # noqa: PLC0415 - the same
    from upwell.formats.compose.errors import ComposeError  # noqa: PLC0415 - the same

    faults: list[str] = []
    documents: list[tuple[str, dict[str, Any]]] = []
    for where, text in _read_all(sources, faults, recursive=recursive):
        try:
            found = parse_manifests(text, where)
            if is_compose(found, where):
                found = _of_compose(text, where, profiles)
        except InvalidManifestTextError as error:
            faults.append(str(error))
        except ComposeError as error:
            faults += error.faults
        else:
            documents += [(f"{where}: ", one) for one in found]
    manifests = _check_all(documents, faults, session, to_store=to_store, may_be_there=may_be_there)
    if not manifests:
        raise CommandError(f"no objects found in {', '.join(sources)}", Exit.USAGE)
    return manifests


def _of_compose(text: str, where: str, profiles: Sequence[str]) -> list[dict[str, Any]]:
    """Return the objects of a Compose file; raises ComposeError."""
    from upwell.cli.core.compose.files import compose_documents  # noqa: PLC0415 - few calls have one
    from upwell.formats.compose.errors import ComposeError  # noqa: PLC0415 - the same

    if _is_url(where):
        raise ComposeError(
            [f"{where}: a Compose file is read beside the files that it names: save it there first"]
        )
    return compose_documents(text, where, profiles)


def check_documents(
    documents: Iterable[dict[str, Any]], session: Session, namespaces: Collection[str] = ()
) -> list[LoadedManifest]:
    """Return objects that were made here in the order to apply them.

    They may be in `namespaces` besides the session's. Raises CommandError with every fault of
    every document.
    """
    return _check_all((("", document) for document in documents), [], session, namespaces)


def _check_all(
    documents: Iterable[tuple[str, dict[str, Any]]],
    faults: list[str],
    session: Session,
    namespaces: Collection[str] = (),
    *,
    to_store: bool = True,
    may_be_there: bool = False,
) -> list[LoadedManifest]:
    """Check documents, each with the prefix of its faults; `faults` has earlier ones."""
    manifests: list[LoadedManifest] = []
    for where, document in documents:
        checked = _check(where, document, session, namespaces, to_store=to_store)
        if isinstance(checked, LoadedManifest):
            manifests.append(checked)
        else:
            faults.extend(f"{where}{fault}" for fault in checked)
    faults.extend(_duplicates(manifests))
    if faults or not may_be_there:
        faults.extend(fault for manifest in manifests for fault in manifest.fault_messages)
    _require_none(faults)
    return sorted(manifests, key=lambda manifest: manifest.rank)


async def require_no_new_faults(client: ApiClient, manifests: Iterable[LoadedManifest]) -> None:
    """Raise CommandError with the faults that objects which are there do not have already.

    A rule holds for what an update brings in, as on the server. Raises StoreError.
    """
    from upwell.api.defaults import with_defaults  # noqa: PLC0415 - the rules take long to load
    from upwell.api.validation.updates import new_faults  # noqa: PLC0415 - the same
    from upwell.policy.admission.faults import admission_faults  # noqa: PLC0415 - the same

    faults: list[str] = []
    for manifest in manifests:
        wanted, found = manifest.resource, list(manifest.unreadable)
        if manifest.faults:
            there = await _there(client, manifest)
            known = () if there is None else admission_faults(with_defaults(there))
            found += new_faults(manifest.faults, known)
        faults.extend(_fault_messages(manifest.where, wanted, found))
    _require_none(faults)


async def _there(client: ApiClient, manifest: LoadedManifest) -> Resource | None:
    """Return what is in the place of an object; None: nothing that can be seen.

    What cannot be read is refused without a server too. Raises StoreError.
    """
    wanted = manifest.resource
    try:
        return await client.get(type(wanted), wanted.namespace, wanted.name)
    except (NotFoundError, StoreForbiddenError):
        return None
    except StoreError:
        if manifest.unreadable:
            return None
        raise


def _require_none(faults: Sequence[str]) -> None:
    if faults:
        raise CommandError("nothing was changed:\n  " + "\n  ".join(faults), Exit.USAGE)


def _fault_messages(where: str, resource: Resource, faults: Iterable[Fault]) -> Iterator[str]:
    yield from (f"{where}{resource.KIND.kind} {resource.name!r}: {fault}" for fault in faults)


def _check(
    where: str,
    document: dict[str, Any],
    session: Session,
    namespaces: Collection[str],
    *,
    to_store: bool,
) -> LoadedManifest | list[str]:
    try:
        resource = decode(document)
    except UnknownKindError as error:
        return [str(error)]
    except InvalidObjectError as error:
        found = _readable(error, document, to_store=to_store)
        if found is None:
            return [f"{error.what}: {fault}" for fault in error.faults]
        resource, faults = found
        unreadable = error.faults
    else:
        faults, unreadable = _rule_faults(resource, to_store=to_store), ()
    if resource.KIND.namespaced:
        allowed = {"", session.namespace, *namespaces}
        if session.namespace_given and resource.namespace not in allowed:
            fault = f"is {resource.namespace!r}, but --namespace is {session.namespace!r}"
            elsewhere = Fault("metadata.namespace", fault)
            return list(_fault_messages("", resource, (*unreadable, *faults, elsewhere)))
        if not resource.namespace:
            metadata = {**document.get("metadata", {}), "namespace": session.namespace}
            document = {**document, "metadata": metadata}
            resource = resource.with_metadata(namespace=session.namespace)
    return LoadedManifest(document, resource, where, faults, unreadable)


def _readable(
    error: InvalidObjectError, document: dict[str, Any], *, to_store: bool
) -> tuple[Resource, tuple[Fault, ...]] | None:
    """Return what can be read of a document that `error` is about, and the rules that it breaks.

    None: it is too little.
    """
    readable: list[Resource] = []

    def check(rest: Resource) -> None:
        readable.append(rest)
        if faults := _rule_faults(rest, to_store=to_store):
            raise InvalidObjectError(error.what, faults)

    kind = resource_for(document["apiVersion"], document["kind"])
    found = with_further_faults(error, kind, document, check)
    further = tuple(fault for fault in found.faults if fault not in error.faults)
    return (readable[0], further) if readable else None


def _rule_faults(resource: Resource, *, to_store: bool) -> tuple[Fault, ...]:
    """Return the rules that an object breaks, as the server finds them."""
    from upwell.api.defaults import apply_defaults  # noqa: PLC0415 - the rules take long to load
    from upwell.api.validation.objects import validate  # noqa: PLC0415 - the same
    from upwell.policy.admission.faults import admission_faults  # noqa: PLC0415 - the same

    complete = apply_defaults(resource)
    if to_store:
        return admission_faults(complete)
    return tuple(one for one in validate(complete) if not one.path.startswith("metadata."))


def _duplicates(manifests: Iterable[LoadedManifest]) -> Iterator[str]:
    seen = set()
    for manifest in manifests:
        key = manifest.resource.key
        if key in seen and key.name:
            yield f"{key} is declared twice"
        seen.add(key)


def _read_all(
    sources: Sequence[str], faults: list[str], *, recursive: bool
) -> Iterator[tuple[str, str]]:
    for source in sources:
        for where in _expand(source, faults, recursive=recursive):
            try:
                yield _name(where), _read(where)
            except (OSError, UnicodeDecodeError, _UnreadableError) as error:
                faults.append(f"{_name(where)}: {_why(error)}{_similar_file(where, error)}")


def _expand(source: str, faults: list[str], *, recursive: bool) -> Iterator[str]:
    """Yield the files of a folder, or the source itself."""
    if source == STDIN or _is_url(source) or not Path(source).is_dir():
        yield source
        return
    entries = Path(source).rglob("*") if recursive else Path(source).iterdir()
    files = sorted(str(path) for path in entries if path.suffix in _SUFFIXES and path.is_file())
    if not files:
        hint = "" if recursive else "; -R looks into its folders"
        faults.append(f"{source}: the folder holds no {', '.join(sorted(_SUFFIXES))} file{hint}")
    yield from files


class _UnreadableError(Exception):
    """The source gives no text; the message says why."""


def _read(source: str) -> str:
    if source == STDIN:
        return _limited(sys.stdin.buffer.read(MAX_MANIFEST_BYTES + 1)).decode()
    if _is_url(source):
        return _limited(_fetch(source)).decode()
    with Path(source).open("rb") as file:
        return _limited(file.read(MAX_MANIFEST_BYTES + 1)).decode()


def _fetch(url: str) -> bytes:
    import asyncio  # noqa: PLC0415 - most calls fetch nothing, and aiohttp takes long to load

    import aiohttp  # noqa: PLC0415

    from upwell.machine.sockets.connecting import connection_failure  # noqa: PLC0415 - the same

    async def fetch() -> bytes:
        timeout = aiohttp.ClientTimeout(total=URL_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url) as response:
            if not response.ok:
                raise _UnreadableError(f"the server answered {response.status} {response.reason}")
            content = bytearray()
            async for chunk in response.content.iter_chunked(64 * 1024):
                content += chunk
                if len(content) > MAX_MANIFEST_BYTES:
                    break
            return bytes(content)

    try:
        return asyncio.run(fetch())
    except aiohttp.ClientConnectorError as error:
        failure = connection_failure(error.host, error.port, error.os_error)
        raise _UnreadableError(failure) from error
    except aiohttp.ClientError as error:
        raise _UnreadableError(str(error) or type(error).__name__) from error


def _limited(content: bytes) -> bytes:
    if len(content) > MAX_MANIFEST_BYTES:
        raise _UnreadableError(f"larger than {MAX_MANIFEST_BYTES} bytes")
    return content


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _name(source: str) -> str:
    """Return the source's name for messages, without the password of a URL."""
    if source == STDIN:
        return "stdin"
    if _is_url(source):
        parts = urlsplit(source)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return source


def _similar_file(where: str, error: Exception) -> str:
    """Return a question for the file that was probably meant; or empty."""
    if not isinstance(error, FileNotFoundError):
        return ""
    from upwell.cli.hints.files import similar_file  # noqa: PLC0415 - of errors alone

    near = similar_file(Path(where))
    return f"; did you mean {near}?" if near else ""


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {URL_TIMEOUT_SECONDS} s"
    if isinstance(error, OSError):
        return cast("str", error.strerror) or str(error)
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return str(error)
