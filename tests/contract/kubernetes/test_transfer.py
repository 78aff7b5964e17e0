"""`upwell export` and `upwell import`: from a machine to a real API server, and back."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.support.kubernetes.cluster import KitCluster

from upwell.api.codec import decode
from upwell.cli.program import main
from upwell.store.sqlite import SqliteStore

NAMESPACE = "moved"
OBJECTS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
    {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": "shop", "namespace": NAMESPACE},
        "spec": {"strategy": {"type": "Docker", "dockerStrategy": {}}},
        "status": {"lastVersion": 3},
    },
    {
        "apiVersion": "build.openshift.io/v1",
        "kind": "Build",
        "metadata": {
            "name": "shop-3",
            "namespace": NAMESPACE,
            "ownerReferences": [
                {
                    "apiVersion": "build.openshift.io/v1",
                    "kind": "BuildConfig",
                    "name": "shop",
                    "uid": "uid-BuildConfig-shop",
                }
            ],
            "managedFields": [
                {
                    "manager": "somebody",
                    "operation": "Apply",
                    "apiVersion": "build.openshift.io/v1",
                    "time": "2025-01-02T03:04:05Z",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:spec": {"f:strategy": {"f:type": {}}}},
                }
            ],
        },
        "spec": {"strategy": {"type": "Docker", "dockerStrategy": {}}},
        "status": {"phase": "Complete", "completionTimestamp": "2025-01-02T03:05:05Z"},
    },
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "login", "namespace": NAMESPACE},
        "data": {"password": "c2VjcmV0"},
    },
]


def make_folder(data: Path) -> None:
    data.mkdir()
    asyncio.run(_fill(data))
    (data / "audit.log").write_text("a line\n")


async def _fill(data: Path) -> None:
    store = await SqliteStore.open(data / "upwell.db", clock=lambda: datetime.now(UTC))
    resources = [decode(document) for document in OBJECTS]
    await store.restore(
        [
            one.with_metadata(
                uid=f"uid-{one.KIND}-{one.name}",
                generation=5,
                creation_timestamp=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
            )
            for one in resources
        ]
    )
    await store.close()


def upwell(*arguments: object, fails: bool = False) -> Result:
    done = CliRunner().invoke(main, [str(one) for one in arguments])
    assert (done.exit_code != 0) is fails, done.output
    return done


def exported(path: Path) -> dict[str, Any]:
    """Return the objects of an export in our namespace, by kind and name."""
    found = {}
    for line in gzip.decompress(path.read_bytes()).splitlines():
        document = json.loads(line).get("object")
        if document is None:
            continue
        meta = document["metadata"]
        meta.pop("resourceVersion", None)
        if NAMESPACE in {meta.get("namespace"), meta["name"]}:
            found[f"{document['kind']}/{meta['name']}"] = document
    return found


@pytest.fixture
def server(cluster: KitCluster) -> Iterator[list[str]]:
    cluster.until_gone(NAMESPACE)
    yield [f"--server={cluster.base_url}", f"--token={cluster.token}", f"--ca={cluster.ca}"]
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")


def test_objects_move_to_a_cluster_and_back_unchanged(server: list[str], tmp_path: Path) -> None:
    data, audit = tmp_path / "data", tmp_path / "audit"
    make_folder(data)
    upwell("export", f"--data-dir={data}", tmp_path / "one.gz")
    before = exported(tmp_path / "one.gz")
    assert len(before) == len(OBJECTS)

    refused = upwell("import", *server, tmp_path / "one.gz", fails=True)
    assert "--audit-folder" in refused.output
    options = (*server, f"--audit-folder={audit}")
    done = upwell("import", *options, tmp_path / "one.gz")
    assert f"imported {len(OBJECTS)} objects" in done.output
    again = upwell("import", *options, tmp_path / "one.gz")
    assert f"imported 0 objects, {len(OBJECTS)} were there" in again.output

    upwell("export", *options, tmp_path / "two.gz")
    after = exported(tmp_path / "two.gz")
    # What had no managers of fields has the import as one.
    (importer,) = after["BuildConfig/shop"]["metadata"].pop("managedFields")
    for name in ("BuildConfig/shop", "Build/shop-3"):
        assert after[name] == before[name]
    after["BuildConfig/shop"]["metadata"]["managedFields"] = [importer]
    secret = after["Secret/login"]
    assert secret["metadata"]["uid"] == "uid-Secret-login"
    assert secret["data"] == {"password": "c2VjcmV0"}

    upwell("import", f"--data-dir={tmp_path / 'new'}", tmp_path / "two.gz")
    upwell("export", f"--data-dir={tmp_path / 'new'}", tmp_path / "three.gz")
    assert exported(tmp_path / "three.gz") == after
    assert (tmp_path / "new/audit.log").read_text() == "a line\n"


def test_what_others_made_is_not_overwritten(
    server: list[str], cluster: KitCluster, tmp_path: Path
) -> None:
    make_folder(tmp_path / "data")
    (tmp_path / "data/audit.log").unlink()
    upwell("export", f"--data-dir={tmp_path / 'data'}", tmp_path / "one.gz")
    path = tmp_path / "one.gz"
    text = gzip.decompress(path.read_bytes()).replace(NAMESPACE.encode(), b"default")
    path.write_bytes(gzip.compress(text))
    cluster.kubectl("create", "secret", "generic", "login", "-n", "default")
    try:
        done = upwell("import", *server, path, fails=True)
        assert "Secret default/login exists already" in done.output
        names = cluster.kubectl("get", "builds.build.openshift.io", "-n", "default", "-o", "name")
        assert names == ""
    finally:
        cluster.kubectl("delete", "secret", "login", "-n", "default")
