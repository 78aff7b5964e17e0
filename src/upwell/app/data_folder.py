"""Judges the data folder before the server acts on it: whose it is, and whether objects are lost.

Nothing is ever removed because knowledge of it is missing (docs/adr/0018): a database that is not
the one that started what runs stops the server, until a person restores it or accepts the loss.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex

from upwell.machine.private_file import require_file, write_private
from upwell.policy.rollouts.lost_objects import StoreFacts, judge_store
from upwell.reconcilers.pruning.sweep import instance_owners
from upwell.store.sqlite import SqliteStore
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.interface import Instance, Runtime

log = logging.getLogger(__name__)

_ID = re.compile(r"[0-9a-z][0-9a-z-]{0,62}")
_SHOWN = 10


class DataFolderError(Exception):
    """The data folder cannot be served as it is; the message names the file and the next step."""


def identify(data: Path, known: str = "") -> str:
    """Return the instance-id of the folder, which marks its containers; made once.

    `known` is the database's. Raises DataFolderError when the two differ, or both are lost.
    """
    path = data / "instance-id"
    require_file(path)
    written = path.read_text(errors="replace").strip() if path.exists() else ""
    if _ID.fullmatch(written):
        if known and known != written:
            raise DataFolderError(
                f"{data / 'upwell.db'} belongs to instance {known}, and {path} says {written}:"
                f" restore the database of {written}, or, to serve {known} from this folder,"
                f" remove {path}"
            )
        return written
    if not known and (names := _recorded(data)):
        raise DataFolderError(
            f"{path} is missing or damaged, and {len(names)} instances are recorded in"
            f" {data / 'workloads'}: restore it, or write into it what"
            " `podman ps --all --format '{{.Labels}}'` shows as upwell.dev/instance"
        )
    if path.exists():
        log.warning("instance-id was damaged and is written anew", extra={"path": str(path)})
    made = known or token_hex(4)
    write_private(path, f"{made}\n", mode=0o644)
    return made


def refuse_second_folder(data: Path, store: SqliteStore) -> None:
    """Raise DataFolderError when the folder is a copy, and the original is there still."""
    original = Path(store.folder or data)
    same = original / "instance-id"
    if not same.is_file() or same.samefile(data / "instance-id"):
        return
    if same.read_text(errors="replace").strip() == store.instance_id:
        raise DataFolderError(
            f"{data} is a copy of {original}, which is there still, and both would run the same"
            f" instances: go on with {original}, or rename it (its server and its workloads'"
            " newer files stay untouched) and start again"
        )


async def account_for_instances(
    data: Path, instance_id: str, store: SqliteStore, runtime: Runtime, *, adopt_empty: bool
) -> None:
    """Compare what runs with what the database knows; begin a timeline where it has lost changes.

    While the runtime cannot tell, it begins one too: whatever is found later without an owner is
    left alone, and reported. Raises DataFolderError when owners of instances are lost, unless the
    loss is accepted; and StoreError.
    """
    instances, asked = await _running(runtime)
    facts = StoreFacts(
        store.timelines,
        store.newest_version,
        await instance_owners(store),
    )
    verdict = judge_store(facts, instances)
    seen = [_described(one) for one in verdict.missing]
    if not store.newest_version and not store.timelines:
        seen += _other_evidence(data, instances)
    if seen and not adopt_empty:
        raise DataFolderError(_refusal(data / "upwell.db", store.newest_version, seen))
    if seen:
        log.warning("objects are lost; instances without owner are left alone", extra={"of": seen})
    elif verdict.new_timeline and store.timelines:
        log.warning("the database is older than what runs; all owners are known")
    timelines = verdict.timelines
    if verdict.new_timeline or not asked:
        timelines = (*timelines, token_hex(4))
    await store.identify(instance_id, timelines)


async def _running(runtime: Runtime) -> tuple[Sequence[Instance], bool]:
    """Return what runs; none, and False, while the runtime does not answer."""
    try:
        return await runtime.instances(), True
    except RuntimeUnavailableError as error:
        log.warning("started without a look at what runs", extra={"why": str(error)})
        return (), False


def _recorded(data: Path) -> list[str]:
    """Return the instances that have a record."""
    return sorted(path.parent.name for path in data.glob("workloads/instances/*/record.json"))


def _other_evidence(data: Path, instances: Sequence[Instance]) -> Iterator[str]:
    """Yield what lies in the folder besides instances, and would be unknown to an empty store."""
    if gone := len(set(_recorded(data)) - {one.name for one in instances}):
        yield f"{gone} records of instances without containers"
    for folder, what in (
        ("workloads/claims", "volumes of claims"),
        ("workloads/kept", "volumes of images"),
        ("registry/repositories", "images"),
    ):
        path = data / folder
        if path.is_dir() and any(one.is_file() for one in path.rglob("*")):
            yield f"{what} in {path}"


def _described(instance: Instance) -> str:
    owner = instance.owner
    return f"{owner.kind.lower()}/{owner.name} in {owner.namespace} ({instance.name})"


def _refusal(path: Path, newest: int, seen: Sequence[str]) -> str:
    what = "knows fewer objects than were served from this folder" if newest else "is empty"
    more = f" and {len(seen) - _SHOWN} more" if len(seen) > _SHOWN else ""
    return (
        f"{path} {what}, and does not know {'; '.join(seen[:_SHOWN])}{more}. Nothing was touched."
        " Restore the database with its -wal file from a copy, or start once with `upwell serve"
        " --adopt-empty`: what runs is then left running without an owner, until `upwell prune"
        " --leftovers --confirm` removes it"
    )
