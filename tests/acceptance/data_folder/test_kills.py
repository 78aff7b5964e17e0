"""The server killed twice in a row, in the middle of checks, rollouts and builds, many times.

`make kills ROUNDS=1000` runs it on demand, and reports.
"""

import os
import random
import sys

import pytest
from tests.acceptance.data_folder.test_lost_database import serving
from tests.support.installation.installation import installation
from tests.support.installation.interrupted import InterruptedWork

ROUNDS = int(os.environ.get("ROUNDS", "1"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


@pytest.mark.timeout(600 + 120 * ROUNDS)
async def test_kills_leave_nothing_behind() -> None:
    async with installation() as made:
        async with made.client() as client:
            await serving(made, client)
        work = InterruptedWork(made, random.Random(SEED))  # noqa: S311 - moments, no secrets
        try:
            for _ in range(ROUNDS):
                await work.round()
                if work.rounds % 10 == 0:
                    sys.stdout.write(f"{work.rounds} of {ROUNDS} rounds\n")
                    sys.stdout.flush()
            await work.finish()
        except BaseException as error:
            error.add_note(f"round {work.rounds}, SEED={SEED}")
            raise
        assert "Traceback" not in made.log(), f"SEED={SEED}"
        sys.stdout.write(
            f"\n{work.rounds} rounds of two kills (SEED={SEED}): nothing was left behind;"
            f" the longest start took {work.longest:.1f} s\n"
        )
