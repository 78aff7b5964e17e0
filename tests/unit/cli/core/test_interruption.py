"""Ctrl-C ends a command with 130 and no traceback, from its first moment on."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
from importlib.abc import MetaPathFinder

awaited = sys.argv.pop(1)

class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == awaited:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from upwell.__main__ import run
sys.argv[1:] = ["get", "pods", "--server", "http://127.0.0.1:1"]
run()
"""


@pytest.mark.parametrize("module", ["upwell.cli", "upwell.cli.objects.get", "asyncio"])
def test_an_interruption_while_modules_load(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, module], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")
