"""Steps of the garbage collector, each in a process of its own: it is the whole process's."""

import subprocess
import sys

PROGRAM = """
import gc
from upwell.server.asgi.garbage import keep_collections_short

if MENDED:
    keep_collections_short()
    keep_collections_short()
seen = []

def look(phase, info):
    if phase == "start" and info["generation"] == 2:
        seen.append(sum(len(gc.get_objects(generation=each)) for each in range(3)))

gc.callbacks.insert(0, look)
kept = [{"n": [number]} for number in range(1_000_000)]
print(max(seen), len(gc.callbacks))
before = gc.get_freeze_count()
kept.clear()
print(gc.get_freeze_count() < before / 10 if MENDED else True)
"""


def most_seen(*, mended: bool) -> int:
    program = PROGRAM.replace("MENDED", str(mended))
    told = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=55
    )
    size, callbacks, freed = told.stdout.split()
    assert int(callbacks) == 1 + mended
    assert freed == "True"  # what was set apart goes with its last reference
    return int(size)


def test_a_full_collection_looks_at_what_has_come_since_the_last() -> None:
    # After a look at all, Python waits until a quarter as much has come.
    assert most_seen(mended=True) < 400_000


def test_without_it_a_full_collection_looks_at_everything() -> None:
    if sys.version_info < (3, 14):  # whose collector works in increments
        assert most_seen(mended=False) > 500_000


CIRCLES = """
import gc
from upwell.server.asgi.garbage import keep_collections_short

keep_collections_short()
seen = 0
for _ in range(40):
    circles = [[] for _ in range(50_000)]  # much is in memory, as in a flood of connections
    for one in circles:
        one.append(one)
    gc.collect()
    seen = max(seen, gc.get_freeze_count())
print(seen)
"""


def test_cycles_that_were_set_apart_are_found_all_the_same() -> None:
    told = subprocess.run(
        [sys.executable, "-c", CIRCLES], check=True, capture_output=True, text=True, timeout=55
    )
    assert int(told.stdout) < 1_000_000  # of the two million that there were


READ = """
import gc
from upwell.server.asgi.garbage import keep_collections_short, reading_what_stays

keep_collections_short()
seen = []

def look(phase, info):
    if phase == "start" and info["generation"] == 2:
        seen.append(sum(len(gc.get_objects(generation=each)) for each in range(3)))

gc.callbacks.append(look)  # after what is set apart has been put back, where it is
with reading_what_stays():
    read = [{"n": [number]} for number in range(1_000_000)]
    during = len(seen)
made = [{"n": [number]} for number in range(600_000)]
print(during, 0 < max(seen) < 1_000_000, gc.isenabled(), gc.get_freeze_count() > 2_000_000)
"""


def test_nothing_looks_at_what_is_read_to_stay() -> None:
    told = subprocess.run(
        [sys.executable, "-c", READ], check=True, capture_output=True, text=True, timeout=55
    )
    assert told.stdout.split() == ["0", "True", "True", "True"]
