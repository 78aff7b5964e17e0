"""Loading without looks of the garbage collector, in a process of its own: it is all of it's."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio
import gc
import sys
from upwell.cli import main

looks = []
gc.callbacks.append(lambda phase, info: looks.append("upwell.app.server" in sys.modules))

def run(program, **_):
    program.close()
    print(sum(looks), gc.isenabled(), gc.get_freeze_count())

asyncio.run = run
main(["serve", "--data-dir", sys.argv[1]])
"""


def test_a_server_loads_without_looks_for_garbage(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], check=True, capture_output=True, text=True
    )

    looks, is_enabled, apart = done.stdout.split()
    assert int(looks) < 10, "the collector looked while the server loaded"
    assert is_enabled == "True"
    assert int(apart) > 100_000, "what the server has loaded is looked at again"


def test_commands_that_copy_images_load_one_http_client() -> None:
    program = "import sys, upwell.app.registries.copying; print('aiohttp' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert done.stdout.strip() == "False"
