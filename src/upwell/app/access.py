"""Composes the API's protection: its tokens, its certificate, TLS and HTTP on one port."""

import asyncio
import hmac
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from upwell.api.builds.build import Build
from upwell.app.data_folder import DataFolderError
from upwell.app.identity.exchange import open_exchange
from upwell.app.identity.signin import open_sign_in
from upwell.app.keys.certificate import ServerCertificate
from upwell.app.keys.kept_secret import kept_secret
from upwell.app.local_access import announced
from upwell.audit.export import AuditExport, receiver_of
from upwell.audit.files import AuditRetention
from upwell.audit.heads import AuditKeyError, HeadSigner
from upwell.audit.log import AuditFiles, AuditLog
from upwell.builder.interface import BuildPlan, RegistryLogin
from upwell.machine.clock import seconds
from upwell.machine.components import Components
from upwell.machine.private_file import (
    MAX_SECRET_BYTES,
    DamagedFileError,
    PrivateFiles,
    read_secret_file,
    write_private,
    write_whole,
)
from upwell.policy.access.visibility import WriteOnlyValues
from upwell.registry.interface import Credential
from upwell.server.asgi.local_socket import bind_local
from upwell.server.asgi.tls import keep_fresh, server_context
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.own_jwt import OwnJwts
from upwell.server.auth.registry_access import RegistryAccessTokens
from upwell.server.auth.signatures import Signatures
from upwell.server.auth.tokens import ADMIN, RegistryTokens, Tokens, new_token, own_token
from upwell.server.exchange.exchange import TokenExchange
from upwell.server.signin.services import SignIn
from upwell.settings import LocalAdmin, ServerPlatform, ServerSettings
from upwell.store.interface import NotFoundError, Store

log = logging.getLogger(__name__)

LOCAL_SOCKET = "api.sock"
_USERNAME = "upwell"
"""A registry login has a name, though the token alone decides."""


@dataclass(frozen=True, slots=True)
class Protection:
    """Protection of the API against the network."""

    control: AccessControl
    registry: "InternalLogins"
    signatures: Signatures
    """Of the tokens by which CIs answer and people vote; their key outlives the process."""
    tls: ssl.SSLContext
    plain: bool
    """True if the API is served without TLS too."""
    certificate: ServerCertificate
    """By which the API answers in TLS."""
    local: socket.socket | None
    """Listens for this machine's own users; None where the folder can have no socket."""
    export: AuditExport | None
    """Sends the audit log elsewhere, where the settings say so."""
    exchange: TokenExchange | None
    """Exchanges tokens of foreign issuers, where the settings say so."""
    sign_in: SignIn | None
    """Sign-in of people; None where the settings name no provider."""

    async def keep_fresh(self) -> None:
        """Renew the certificate in time, until cancelled."""
        if self.certificate.renewal is not None:
            await keep_fresh(self.tls, self.certificate.renewal)

    async def api_authority(self) -> bytes:
        """Return the certificate by which the API is trusted, as PEM; empty: there is none."""
        authority = self.certificate.current.authority
        return b"" if authority is None else await asyncio.to_thread(authority.read_bytes)

    async def export_audit_log(self) -> None:
        """Send the audit log to its receiver, until cancelled."""
        if self.export is not None:
            await self.export.run()


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """Keys of the server: what keeps them, what it signs by, and its certificate."""

    files: PrivateFiles
    signing: bytes = field(repr=False)
    """Signs links and tokens, and seals sign-ins; outlives the process."""
    certificate: ServerCertificate

    def derived(self, purpose: str) -> bytes:
        """Return a key of 32 bytes for one purpose alone."""
        return hmac.digest(self.signing, purpose.encode(), "sha256")


async def protect(
    settings: ServerSettings,
    store: Store,
    clock: Callable[[], datetime],
    components: Components,
    stack: AsyncExitStack,
    keys: ServerKeys,
    admission: Callable[[], str] = str,
) -> Protection:
    """Make what is missing in the data directory, and let this user's commands find the server.

    The administrator's token is for this user's commands to read. `admission` returns the id of
    the cluster's admission.

    Raises OSError, CertificateError or DataFolderError.
    """
    data = settings.data_dir
    token_file = data / "admin.token"
    token = kept_secret(
        token_file, partial(new_token, ADMIN), "copies of the old token are refused then"
    )
    local = _reached_locally(settings, token_file, keys.certificate, stack)
    is_one_of_many = settings.on is ServerPlatform.KUBERNETES
    runs = partial(build_runs, store) if is_one_of_many else None
    registry = RegistryTokens(keys.derived("registry tokens"), runs)
    audit, export = await _open_audit(settings, keys.files, clock, components, stack)
    jwts = OwnJwts(keys.derived("service account tokens"))
    # On a cluster, ServiceAccounts are written past this server, and their grants with them.
    tokens = Tokens(
        store, clock, [own_token(token)], registry, jwts, gives_accounts=not is_one_of_many
    )

    sign_in = await open_sign_in(settings, store, keys.signing, stack)

    async def rotate_admin() -> None:
        made = new_token(ADMIN)
        await asyncio.to_thread(write_private, token_file, f"{made}\n")
        tokens.replace_own(made)

    return Protection(
        AccessControl(
            tokens,
            audit,
            settings.access.anonymous,
            rotate_admin=rotate_admin,
            local_users=frozenset({0, os.geteuid()}),
            values=WriteOnlyValues(keys.derived("write-only values")),
            registry=settings.image_prefix,
            admission=admission,
            people=sign_in.sessions if sign_in is not None else None,
            registry_tokens=RegistryAccessTokens(seconds, keys.derived("registry access")),
            admin_by_socket=settings.listening.local_admin is LocalAdmin.SOCKET,
        ),
        InternalLogins(settings.internal_host, registry),
        Signatures(keys.signing),
        server_context(keys.certificate.current),
        not settings.access.is_encrypted,
        keys.certificate,
        local,
        export,
        await open_exchange(settings, tokens.accounts, stack),
        sign_in,
    )


def _reached_locally(
    settings: ServerSettings, token_file: Path, served: ServerCertificate, stack: AsyncExitStack
) -> socket.socket | None:
    """Let this machine's commands find the server; return the socket of its own users.

    Raises OSError or DataFolderError.
    """
    path = settings.data_dir / LOCAL_SOCKET
    local = stack.enter_context(listening_locally(path))
    if settings.listening.local_admin is LocalAdmin.SOCKET and local is None:
        raise DataFolderError(
            f"{settings.data_dir} can have no socket (its name is too long, or its file system has"
            ' none), and [server] local-admin is "socket": move the folder, or set it to "token"'
        )
    addresses = [f"{name}:{settings.port}" for name in settings.local_names]
    authority = served.current.authority
    found_at = None if local is None else path.absolute()
    stack.enter_context(announced(addresses, token_file, authority, found_at))
    return local


async def _open_audit(
    settings: ServerSettings,
    keys: PrivateFiles,
    clock: Callable[[], datetime],
    components: Components,
    stack: AsyncExitStack,
) -> tuple[AuditLog, AuditExport | None]:
    """Open the audit log, and what sends it elsewhere; None: nothing does.

    Raises OSError or DataFolderError.
    """
    files = audit_files(settings)
    component = components.add("audit-log", required=False)
    signer = await asyncio.to_thread(_audit_signer, settings.data_dir, keys)
    export = await asyncio.to_thread(_audit_export, settings, files, components)
    if export is not None:
        stack.push_async_callback(export.send_last)  # after the log has ended
    return await stack.enter_async_context(AuditLog.open(files, signer, clock, component)), export


@contextmanager
def listening_locally(path: Path) -> Iterator[socket.socket | None]:
    """Listen on a Unix socket for the block; None where the folder can have none.

    Commands then send the token over loopback, as on a path of more than 107 bytes (unix(7)).
    """
    path = path.absolute()
    try:
        listener = bind_local(path)
    except OSError as error:
        why = error.strerror or str(error)
        log.warning("no local socket", extra={"path": str(path), "why": why})
        yield None
        return
    try:
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


async def build_runs(store: Store, build: str, uid: str) -> bool:
    """Return True while a Build (NAMESPACE/NAME) has not ended; raises a StoreError."""
    namespace, _, name = build.partition("/")
    try:
        found = await store.get(Build, namespace, name)
    except NotFoundError:
        return False
    return found.uid == uid and not found.status.phase.is_terminal


class InternalLogins:
    """Logins of builds and workloads at the embedded registry. Implements CredentialSource."""

    def __init__(self, host: str, tokens: RegistryTokens) -> None:
        self._host = host
        self._tokens = tokens

    @contextmanager
    def of_build(self, plan: BuildPlan) -> Iterator[RegistryLogin]:
        """Give a build its login for the time of the block; none but its repositories are open."""
        pulls = {image.repository for image in plan.pulled if image.registry == self._host}
        push = plan.push if plan.push and plan.push.registry == self._host else None
        build = f"{plan.namespace}/{plan.name}"
        repository, tag = (push.repository, push.tag or "") if push else (None, "")
        with self._tokens.of_build(build, pulls, repository, tag, plan.id) as token:
            yield RegistryLogin(self._host, _USERNAME, token)

    def to_push(self, namespace: str) -> Credential:
        """Return the login by which the server itself pushes to a namespace."""
        return Credential(_USERNAME, self._tokens.to_push(namespace))

    async def find(self, registry: str, repository: str) -> Credential | None:
        """Return a login that pulls, for the embedded registry alone."""
        del repository
        return Credential(_USERNAME, self._tokens.to_pull()) if registry == self._host else None


def audit_files(settings: ServerSettings) -> AuditFiles:
    """Return where the audit log lies, and how long it is kept."""
    audit = settings.audit
    return AuditFiles(
        settings.data_dir,
        AuditRetention(total_bytes=audit.size, age=audit.keep),
        AuditRetention(total_bytes=audit.denied_size, age=audit.keep),
        replica=socket.gethostname() if settings.on is ServerPlatform.KUBERNETES else "",
    )


def _audit_signer(data: Path, files: PrivateFiles) -> HeadSigner:
    """Return the key that signs the audit log, made once; its public half lies beside it.

    Raises OSError or DataFolderError.
    """
    path = data / "audit.key"
    if not path.exists():
        files.write(path, HeadSigner.generate().private_pem())
    try:
        pem = files.read(path, MAX_SECRET_BYTES)
        signer = HeadSigner.parse(pem, path)
    except (AuditKeyError, DamagedFileError) as error:
        raise DataFolderError(
            f"{error}: restore it from a copy, or remove it and start again (`upwell audit verify`"
            " then needs the old public key for what was signed with it)"
        ) from error
    files.settle(path, pem)
    write_whole(data / "audit.pub", signer.public_pem())
    return signer


def _audit_export(
    settings: ServerSettings, files: AuditFiles, components: Components
) -> AuditExport | None:
    audit = settings.audit
    if not audit.export:
        return None
    token = read_secret_file(audit.export_token_file) if audit.export_token_file is not None else ""
    component = components.add("audit-export", required=False)
    return AuditExport(files.paths, receiver_of(audit.export, token), component)
