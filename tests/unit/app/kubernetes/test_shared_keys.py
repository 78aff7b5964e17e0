"""Keys of replicas: brought in by the first, adopted by all others, never lost."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.store.racing_store import RacingStore

from upwell.api.coordination.replicas import KEYS_SECRET
from upwell.api.core import Secret
from upwell.api.meta import ObjectMeta
from upwell.app.keys.certificate import server_certificate
from upwell.app.keys.kept_secret import open_signing_key
from upwell.app.kubernetes.shared_keys import SharedKeys, SharedKeysError, keep_shared
from upwell.app.signing.keys import OpenedSigningKeys
from upwell.machine.clock import now
from upwell.machine.components import Components
from upwell.machine.private_file import PrivateFiles
from upwell.server.asgi.tls import CertificateError, kept_authority
from upwell.settings import ServerSettings
from upwell.signing.keys import SigningKeys
from upwell.store.interface import ConflictError
from upwell.store.kubernetes_errors import StoreForbiddenError
from upwell.store.memory import MemoryStore

NAMESPACE = "upwell"
CONTENT = b"content"
FILES = PrivateFiles()


def shared(store: MemoryStore) -> SharedKeys:
    return SharedKeys(store, NAMESPACE)


def folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


async def signing_key(store: MemoryStore, path: Path) -> bytes:
    return await open_signing_key(folder(path), FILES, shared(store))


async def image_keys(
    store: MemoryStore, path: Path, given: Path | None = None
) -> OpenedSigningKeys:
    keys = OpenedSigningKeys(SigningKeys(folder(path), given, FILES), shared(store))
    await keys.settle()
    return keys


async def authority(store: MemoryStore, path: Path) -> bytes:
    settings = ServerSettings(data_dir=folder(path))
    found = await server_certificate(settings, now, shared(store))
    assert found.current.authority is not None
    return found.current.authority.read_bytes()


async def secret(store: MemoryStore) -> Secret:
    return await store.get(Secret, NAMESPACE, KEYS_SECRET)


async def put(store: MemoryStore, **entries: bytes) -> None:
    """Write entries past the replicas, by names with dashes and dots as underscores."""
    found = await secret(store)
    names = {name.replace("-", "_").replace(".", "_"): name for name in found.data}
    changed = {names[name]: value for name, value in entries.items()}
    data = found.data | Secret.encode_values(changed)
    await store.update(found.model_copy(update={"data": data}))


async def test_the_first_replicas_folder_says_what_all_sign_links_by(tmp_path: Path) -> None:
    store = MemoryStore(now)
    upgraded = await open_signing_key(folder(tmp_path / "one"), FILES, None)
    assert await signing_key(store, tmp_path / "one") == upgraded
    assert await signing_key(store, tmp_path / "two") == upgraded
    other = await open_signing_key(folder(tmp_path / "three"), FILES, None)
    assert await signing_key(store, tmp_path / "three") == upgraded != other

    await store.delete(Secret, NAMESPACE, KEYS_SECRET)  # of which folders have copies
    assert await signing_key(store, tmp_path / "three") == upgraded


async def test_files_of_another_servers_folder_may_be_the_entries(tmp_path: Path) -> None:
    """As whoever moves to a cluster makes the Secret of them."""
    moved, store = folder(tmp_path / "machine"), MemoryStore(now)
    key = await open_signing_key(moved, FILES, None)
    signer = SigningKeys(moved).rotate()
    certificate = await server_certificate(ServerSettings(data_dir=moved), now)
    assert certificate.current.authority is not None
    names = {name: name for name in ("signing.key", "image-signing.key", "image-signing.pub")}
    names |= {"tls-ca.crt": "tls/ca.pem", "tls-ca.key": "tls/ca.key"}
    data = {entry: (moved / name).read_bytes() for entry, name in names.items()}
    meta = ObjectMeta(namespace=NAMESPACE, name=KEYS_SECRET)
    made = await store.create(Secret(metadata=meta, data=Secret.encode_values(data)))

    assert await signing_key(store, tmp_path / "one") == key
    assert (await image_keys(store, tmp_path / "one")).signer.public_pem == signer.public_pem
    assert await authority(store, tmp_path / "one") == data["tls-ca.crt"]
    assert (await secret(store)).resource_version == made.resource_version


async def test_two_that_start_at_once_agree(tmp_path: Path) -> None:
    store = RacingStore(now)
    one, two = await store.race(
        signing_key(store, tmp_path / "one"), signing_key(store, tmp_path / "two")
    )
    assert isinstance(one, bytes)
    assert two == one == (tmp_path / "two" / "signing.key").read_bytes().strip()


@pytest.mark.parametrize("damage", [b"", b"half", b"\xff" * 64])
async def test_what_is_left_of_a_shared_key_is_not_used(tmp_path: Path, damage: bytes) -> None:
    store = MemoryStore(now)
    kept = await signing_key(store, tmp_path / "one")
    await put(store, signing_key=damage)
    message = r"signing\.key in Secret upwell/upwell-keys is empty or damaged: restore it"
    with pytest.raises(SharedKeysError, match=message):
        await signing_key(store, tmp_path / "one")
    assert (tmp_path / "one" / "signing.key").read_bytes().strip() == kept


async def test_a_right_that_lacks_is_named_with_what_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> Secret:
        raise StoreForbiddenError('Secret upwell/upwell-keys: cannot get resource "secrets"')

    store = MemoryStore(now)
    monkeypatch.setattr(store, "get", refuse)
    with pytest.raises(SharedKeysError, match=r'cannot get resource "secrets".*upwell install'):
        await signing_key(store, tmp_path)


async def test_one_authority_issues_the_certificates_of_all(tmp_path: Path) -> None:
    store = MemoryStore(now)
    known = await authority(store, tmp_path / "one")
    assert await authority(store, tmp_path / "two") == known
    assert await authority(MemoryStore(now), tmp_path / "two") == known

    own = await authority(MemoryStore(now), tmp_path / "three")
    assert await authority(store, tmp_path / "three") == known != own


async def test_an_authority_near_its_end_is_replaced_for_all(tmp_path: Path) -> None:
    store = MemoryStore(now)
    old = await authority(store, tmp_path / "one")
    settings = ServerSettings(data_dir=tmp_path / "one")
    late = now() + timedelta(days=3650 - 119)
    await server_certificate(settings, lambda: late, shared(store))
    new = (tmp_path / "one" / "tls" / "ca.pem").read_bytes()
    assert new != old
    assert await authority(store, tmp_path / "two") == new


async def test_an_authority_that_is_none_is_not_used(tmp_path: Path) -> None:
    store = MemoryStore(now)
    await authority(store, tmp_path / "one")
    await put(store, tls_ca_key=b"nothing")
    message = r"tls-ca\.crt and tls-ca\.key in Secret upwell/upwell-keys are no authority: restore"
    with pytest.raises(CertificateError, match=message):
        await authority(store, tmp_path / "two")
    assert kept_authority(tmp_path / "one" / "tls") is not None


async def test_images_signed_by_any_replica_verify_at_all(tmp_path: Path) -> None:
    store = MemoryStore(now)
    earlier = SigningKeys(folder(tmp_path / "one")).rotate()
    one = await image_keys(store, tmp_path / "one")
    two = await image_keys(store, tmp_path / "two")
    assert two.signer.public_pem == one.signer.public_pem == earlier.public_pem
    assert len(two.signer.keys) == 2  # none that a start has made and thrown away

    other = SigningKeys(folder(tmp_path / "three")).signer
    three = await image_keys(store, tmp_path / "three")
    await one.settle()
    for keys in (one, three):
        assert keys.signer.key.id == earlier.key.id
        assert any(key.verifies(other.sign(CONTENT), CONTENT) for key in keys.signer.keys)


async def test_a_rotation_reaches_all_and_forgets_none(tmp_path: Path) -> None:
    store = MemoryStore(now)
    one = await image_keys(store, tmp_path / "one")
    two = await image_keys(store, tmp_path / "two")
    first = one.signer.key
    await two.rotate()
    await one.rotate()  # before it has heard of the other one
    await two.settle()
    assert one.signer.public_pem == two.signer.public_pem
    assert one.signer.keys[-1].id == first.id
    assert len(one.signer.keys) == 3
    assert SigningKeys(tmp_path / "two").signer.public_pem == one.signer.public_pem


async def test_of_a_key_of_the_settings_the_public_half_is_shared(tmp_path: Path) -> None:
    store = MemoryStore(now)
    paths = []
    for name in ("first", "second"):
        paths.append(tmp_path / f"{name}.pem")
        FILES.write(paths[-1], SigningKeys(folder(tmp_path / name)).signer.private_pem())
    old = await image_keys(store, tmp_path / "one", paths[0])
    new = await image_keys(store, tmp_path / "two", paths[1])
    await old.settle()
    assert {key.id for key in old.signer.keys} == {key.id for key in new.signer.keys}
    assert old.signer.key.id != new.signer.key.id
    assert "image-signing.key" not in (await secret(store)).data

    version = (await secret(store)).resource_version
    await new.settle()
    await old.settle()
    assert (await secret(store)).resource_version == version


async def test_nothing_is_written_where_all_agree(tmp_path: Path) -> None:
    store = MemoryStore(now)
    keys = await image_keys(store, tmp_path / "one")
    version = (await secret(store)).resource_version
    await keys.settle()
    await image_keys(store, tmp_path / "two")
    assert (await secret(store)).resource_version == version


async def test_what_is_removed_at_any_moment_is_put_back(tmp_path: Path) -> None:
    store = MemoryStore(now)
    keys = shared(store)
    await open_signing_key(folder(tmp_path), FILES, keys)
    await server_certificate(ServerSettings(data_dir=tmp_path), now, keys)
    images = OpenedSigningKeys(SigningKeys(tmp_path, None, FILES), keys)
    await images.settle()
    before = (await secret(store)).data

    await store.delete(Secret, NAMESPACE, KEYS_SECRET)
    await images.settle()  # before it has looked for what has gone
    await keys.restore()

    assert (await secret(store)).data == before


async def test_a_key_that_is_none_is_told_and_goes_when_it_is_removed(tmp_path: Path) -> None:
    store = MemoryStore(now)
    keys = shared(store)
    kept = await open_signing_key(tmp_path, FILES, keys)
    await put(store, signing_key=b"nonsense")
    for _ in range(2):
        with pytest.raises(SharedKeysError, match=r"signing\.key in Secret .* is another one than"):
            await keys.restore()

    found = await secret(store)
    data = {name: value for name, value in found.data.items() if name != "signing.key"}
    await store.update(found.model_copy(update={"data": data}))
    await keys.restore()

    assert (await secret(store)).decoded()["signing.key"] == kept


async def test_what_is_removed_while_replicas_run_is_put_back(tmp_path: Path) -> None:
    store, looked = MemoryStore(now), asyncio.Event()
    keys, component = shared(store), Components().add("shared-keys", required=False)
    await open_signing_key(tmp_path, FILES, keys)
    before = (await secret(store)).data
    await store.delete(Secret, NAMESPACE, KEYS_SECRET)

    async def pause(_seconds: float) -> None:
        looked.set()
        await asyncio.Event().wait()

    async def refused() -> None:
        raise ConflictError((await secret(store)).key)

    async def adopted() -> None:
        return

    for adopt, faulty in ((refused, True), (adopted, False)):
        looked.clear()
        task = asyncio.create_task(keep_shared(keys, adopt, component, pause))
        await looked.wait()
        task.cancel()
        assert (await secret(store)).data == before
        assert component.state.faulty is faulty
