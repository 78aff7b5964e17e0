"""Access to a cluster's API: by the service account of the Pod, or by a kubeconfig.

Of a kubeconfig (kubernetes.io, "Organizing Cluster Access Using kubeconfig Files") certificates,
tokens, token files, authorities and `tls-server-name` are honoured, in files or inline; commands
that make credentials, passwords, impersonation and proxies are refused. One that an object holds
names nothing of this machine: files and plain HTTP are refused there, too.
"""

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from upwell.store.clusters.token_file import RotatedTokenFile
from upwell.store.interface import StoreError
from upwell.store.kubernetes_connections import ServerAccess

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Folder that each Pod has with the token of its account (kubernetes.io, "Accessing the Kubernetes
API from a Pod")."""
_MAX_BYTES = 4 * 1024 * 1024


class ClusterAccessError(StoreError):
    """There is no access to the cluster; the message says what is missing or wrong, and where."""

    reason = "NoClusterAccess"


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """Access to an API server, and the namespace that its owner works in."""

    server: ServerAccess = field(repr=False)
    namespace: str = "default"


def service_account_access(
    environment: Mapping[str, str], folder: Path = SERVICE_ACCOUNT
) -> ClusterAccess:
    """Return the access of a Pod; raises ClusterAccessError where this is none.

    By the variables of client-go (`rest.InClusterConfig`), which people set to name another way.
    """
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT") or "443"
    if not host:
        raise ClusterAccessError(
            "this is no Pod of a cluster (KUBERNETES_SERVICE_HOST is not set): name a kubeconfig"
            " file with --kubeconfig, or as [kubernetes] kubeconfig"
        )
    token = RotatedTokenFile(folder / "token")
    with _explained(folder / "token"):
        token.read()
    with _explained(folder / "ca.crt"):
        tls = _trusting(_text(folder / "ca.crt"))
    namespace = folder / "namespace"
    with _explained(namespace):
        own = _text(namespace).strip() if namespace.exists() else "default"
    place = f"[{host}]" if ":" in host else host
    return ClusterAccess(
        ServerAccess(f"https://{place}:{port}", token_source=token.read, tls=tls), own
    )


def kubeconfig_access(path: Path, context: str = "") -> ClusterAccess:
    """Return the access of a context of a kubeconfig file, by default its current one.

    Raises ClusterAccessError.
    """
    with _explained(path):
        return _access_of(_text(path), context, path.parent)


def stored_kubeconfig_access(text: str, place: str) -> ClusterAccess:
    """Return the access of the current context of a kubeconfig that an object holds.

    `place` names it in messages. Raises ClusterAccessError.
    """
    with _explained(place):
        if len(text) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} characters")
        return _access_of(text, "", None)


def _access_of(text: str, context: str, folder: Path | None) -> ClusterAccess:
    """Return the access of a context; `folder` is where files are named from, None: nowhere.

    Raises ValueError or OSError.
    """
    document = yaml.safe_load(text)
    file = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    used = _named(file, "contexts", "context", context or str(file.get("current-context", "")))
    cluster = _named(file, "clusters", "cluster", str(used.get("cluster", "")))
    user = _named(file, "users", "user", str(used["user"])) if used.get("user") else {}
    server = cluster.get("server")
    if not isinstance(server, str) or not server.startswith(("https://", "http://")):
        raise ValueError("its cluster has no server, an address such as https://HOST:6443")
    if cluster.get("proxy-url"):
        raise ValueError(
            "its cluster has a proxy-url, which is not supported: name a server that is reached"
            " without a proxy"
        )
    is_secure = server.startswith("https")
    if folder is None and not is_secure:
        raise ValueError(
            "its cluster's server is reached over http, which anybody in between reads"
        )
    tls_server_name = cluster.get("tls-server-name")
    return ClusterAccess(
        ServerAccess(
            server,
            token_source=_token_source(user, folder),
            tls=_tls(cluster, user, folder) if is_secure else None,
            tls_server_name=str(tls_server_name) if tls_server_name else None,
        ),
        str(used.get("namespace") or "default"),
    )


def _named(file: Mapping[str, Any], many: str, one: str, name: str) -> Mapping[str, Any]:
    """Return the entry of that name in one of the file's lists; raises ValueError."""
    entries = file.get(many)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("name") == name:
            found = entry.get(one)
            if isinstance(found, dict):
                return found
    raise ValueError(f"it has no {one} {name!r}" if name else f"it names no {one}")


def _token_source(user: Mapping[str, Any], folder: Path | None) -> Callable[[], str] | None:
    for unknown in ("exec", "auth-provider", "username"):
        if unknown in user:
            raise ValueError(
                f"its user logs in by {unknown}, which a server cannot: make a ServiceAccount for"
                " it, and write a kubeconfig with that one's token (docs/kubernetes.md)"
            )
    if user.get("as"):  # to leave it out would give more rights than the file does
        raise ValueError(
            "its user acts as another one (`as`), which a server does not: write a kubeconfig with"
            " the token of an account that has these rights alone (docs/kubernetes.md)"
        )
    if isinstance(named := user.get("tokenFile"), str) and named:
        source = RotatedTokenFile(_file("tokenFile", named, folder))
        source.read()
        return source.read
    if isinstance(token := user.get("token"), str) and token:
        return lambda: token
    return None


def _tls(
    cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path | None
) -> ssl.SSLContext:
    authority = _content(cluster, "certificate-authority", folder)
    context = _trusting(authority)
    if cluster.get("insecure-skip-tls-verify") is True:
        raise ValueError(
            "its cluster has insecure-skip-tls-verify, by which anybody in between gets every"
            " Secret: name its certificate-authority"
        )
    certificate = _content(user, "client-certificate", folder)
    key = _content(user, "client-key", folder)
    if certificate and key:
        with _as_file(f"{certificate}\n{key}") as pem:
            context.load_cert_chain(pem)
    return context


def _trusting(authority: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority or None)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _content(entry: Mapping[str, Any], key: str, folder: Path | None) -> str:
    """Return what an entry has inline as base64, or names as a file; empty: neither."""
    if isinstance(inline := entry.get(f"{key}-data"), str) and inline:
        try:
            return base64.b64decode(inline, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError(f"its {key}-data is not base64 of PEM") from error
    named = entry.get(key)
    return _text(_file(key, named, folder)) if isinstance(named, str) and named else ""


def _file(key: str, named: str, folder: Path | None) -> Path:
    """Return the file that a kubeconfig names; raises ValueError where it must not name one."""
    if folder is None:
        raise ValueError(f"it names a file of this machine ({key}): put its content there inline")
    return folder / named


@contextmanager
def _as_file(pem: str) -> Iterator[Path]:
    """Give a text as a file for the block, which OpenSSL reads no keys without."""
    descriptor, name = tempfile.mkstemp()
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(pem)
        yield path
    finally:
        path.unlink()


def _text(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise ValueError(f"{path} has more than {_MAX_BYTES} bytes")
    return raw.decode()


@contextmanager
def _explained(path: Path | str) -> Iterator[None]:
    """Turn what goes wrong in the block into ClusterAccessError; `path` is what is read."""
    try:
        yield
    except ssl.SSLError as error:
        # Its text may quote what it could not parse.
        raise ClusterAccessError(f"{path}: a certificate or key is not in PEM") from error
    except OSError as error:
        raise ClusterAccessError(f"{error.filename or path}: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise ClusterAccessError(f"{path}: it is not YAML") from error
    except (ValueError, RecursionError) as error:
        raise ClusterAccessError(f"{path}: {error}") from error
