"""The registry of a running `upwell serve` in a bucket beside one in a folder, in turns.

pytest -m benchmark -s tests/benchmarks/hosting/test_registry_storage.py
"""

import statistics
import sys
from pathlib import Path

import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.benchmarks.registry_clients import RegistryRates, served, spread
from tests.support.installation.installation import Installation, installation
from tests.support.s3.moto import moto_process
from tests.support.s3.settings import bucket_settings

pytestmark = pytest.mark.benchmark

ROUNDS = 5
SECONDS = 10.0
CLIENTS = 8
FOLDER, BUCKET = "in a folder", "in a bucket"


@pytest.mark.parametrize("mib", [1, 32])
async def test_eight_push_while_eight_pull(mib: int, tmp_path: Path, ratios: Ratios) -> None:
    async with moto_process() as s3:
        settings = bucket_settings(tmp_path, s3.url)
        async with installation() as folder, installation("--config", str(settings)) as bucket:
            rates: dict[str, list[RegistryRates]] = {FOLDER: [], BUCKET: []}
            for _ in range(ROUNDS):
                for name, one in ((FOLDER, folder), (BUCKET, bucket)):
                    rates[name].append(await moved(one, mib))
    for name, found in rates.items():
        each = [[one.pushed for one in found], [one.pulled for one in found]]
        both = " and ".join(map(spread, each))
        cpu = spread([one.cpu for one in found], 2)
        write(f"blobs of {mib} MiB {name}: {both} MiB/s pushed and pulled, {cpu} s a GiB")
    pairs = list(zip(rates[BUCKET], rates[FOLDER], strict=True))
    pushed = [bucket.pushed / folder.pushed for bucket, folder in pairs]
    pulled = [bucket.pulled / folder.pulled for bucket, folder in pairs]
    cost = [bucket.cpu / folder.cpu for bucket, folder in pairs]
    write(f"of a folder's: {spread(pushed, 2)} pushed, {spread(pulled, 2)} pulled")
    write(f"  {spread(cost, 2)} of the processor for a GiB of both")
    title = f"bucket of moto, blobs of {mib} MiB by 8 and 8"
    ratios.note_speed(f"{title}, pushed of a folder", statistics.median(pushed))
    ratios.note_speed(f"{title}, pulled of a folder", statistics.median(pulled))
    ratios.note_cost(f"{title}, processor of a folder", statistics.median(cost))


async def moved(made: Installation, mib: int) -> RegistryRates:
    """Push to a server and pull from it for a while."""
    return await served(f"127.0.0.1:{made.port}", made.token, SECONDS, CLIENTS, mib)


def write(line: str) -> None:
    """Print a result."""
    sys.stdout.write(f"{line}\n")
