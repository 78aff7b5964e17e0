"""Opens the key that signs images, as the settings say; on a cluster, that of all replicas."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from upwell.app.data_folder import DataFolderError
from upwell.app.kubernetes.shared_keys import KeyEntries, SharedKeys, SharedKeysError
from upwell.formats.sigstore.keys import InvalidPublicKeyError, SignatureKey
from upwell.machine.private_file import PrivateFiles
from upwell.server.signing.image_signing_keys import ImageSigningKeys
from upwell.settings import ServerSettings
from upwell.signing.keys import (
    KEY_FILE,
    PUBLIC_FILE,
    ImageSigner,
    SigningKeyError,
    SigningKeys,
    public_keys,
)
from upwell.store.interface import RejectedError

type _Change = Callable[[ImageSigner | None], ImageSigner]
"""Returns what is to be in force, by what the Secret has."""


class OpenedSigningKeys:
    """Keys that sign images: those of the data folder, which are `shared` by all replicas."""

    def __init__(self, keys: SigningKeys, shared: SharedKeys | None = None) -> None:
        self._keys = keys
        self._shared = shared
        self._lock = asyncio.Lock()
        """Held while they change: what was agreed on later is adopted later."""

    @property
    def signer(self) -> ImageSigner:
        """The key in force."""
        return self._keys.signer

    async def settle(self) -> None:
        """Adopt what other replicas sign by, and have them know the keys of the data folder.

        Raises OSError, a StoreError, or SigningKeyError for entries that are no keys.
        """
        if self._shared is not None:
            async with self._lock:
                await self._agree(self._shared, self._with_own)

    async def rotate(self) -> None:
        """Have all replicas sign by a new key; raises RejectedError or another StoreError."""
        async with self._lock:
            try:
                self._keys.require_own()
                if self._shared is None:
                    await asyncio.to_thread(self._keys.rotate)
                else:
                    await self._agree(self._shared, self._with_another)
            except (SigningKeyError, OSError) as error:
                raise RejectedError(str(error)) from error

    async def _agree(self, shared: SharedKeys, change: _Change) -> None:
        def entries(found: KeyEntries) -> KeyEntries:
            agreed = change(self._signer_in(found, shared.name))
            known = public_keys(found.get(PUBLIC_FILE, b""))
            if self._keys.is_given and _ids(agreed.keys) == _ids(known):
                return found  # in the order of another replica, whose settings name another key
            return {**found, **self._entries(agreed)}

        found = await shared.agree(entries)
        agreed = self._signer_in(found, shared.name)
        names = (KEY_FILE, PUBLIC_FILE)
        shared.remember({name: found[name] for name in names if name in found})
        if agreed is not None and agreed.public_pem != self.signer.public_pem:
            await asyncio.to_thread(self._keys.adopt, agreed)
        self._keys.is_new = False

    def _with_own(self, found: ImageSigner | None) -> ImageSigner:
        if found is None:
            return self.signer
        return found if self._keys.is_new else found.after(self.signer.keys)

    def _with_another(self, found: ImageSigner | None) -> ImageSigner:
        return ImageSigner.generate().after(self._with_own(found).keys)

    def _entries(self, signer: ImageSigner) -> KeyEntries:
        entries = {PUBLIC_FILE: signer.public_pem}
        if not self._keys.is_given:
            entries[KEY_FILE] = signer.private_pem()
        return entries

    def _signer_in(self, entries: KeyEntries, where: str) -> ImageSigner | None:
        """Return the signer in the Secret; where the settings name the key, its public keys."""
        try:
            known = public_keys(entries.get(PUBLIC_FILE, b""))
            if self._keys.is_given:
                return ImageSigner(self.signer.private).after(known) if known else None
            if KEY_FILE not in entries:
                return None
            return ImageSigner.parse(entries[KEY_FILE], f"{KEY_FILE} in {where}").after(known)
        except InvalidPublicKeyError as error:
            message = f"{PUBLIC_FILE} in {where} is damaged: restore it from a copy, or remove it"
            raise SharedKeysError(message) from error


def _ids(keys: Iterable[SignatureKey]) -> set[str]:
    return {key.id for key in keys}


async def open_signing_keys(
    settings: ServerSettings, files: PrivateFiles, shared: SharedKeys | None = None
) -> OpenedSigningKeys | None:
    """Return the keys; None where nothing is signed.

    `files` keeps the private one. Raises OSError, DataFolderError or, on a cluster, a StoreError.
    """
    if not settings.signing.enabled:
        return None
    given, data = settings.signing.key, settings.data_dir
    try:
        keys = OpenedSigningKeys(await asyncio.to_thread(SigningKeys, data, given, files), shared)
        await keys.settle()
    except SigningKeyError as error:
        raise DataFolderError(str(error)) from error
    return keys


def served_keys(keys: OpenedSigningKeys | None) -> ImageSigningKeys | None:
    """Return what the API tells of the keys, and how it asks for another one."""
    if keys is None:
        return None

    def public() -> Sequence[bytes]:
        return [key.pem() for key in keys.signer.keys]

    return ImageSigningKeys(public, keys.rotate)
