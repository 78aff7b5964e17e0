"""The command line: a client of the API, except `serve`, `demo` and `doctor`.

Each command is one module, imported when it is called: `upwell --help` imports none of them.
"""

from upwell.cli.program import main

__all__ = ["main"]
