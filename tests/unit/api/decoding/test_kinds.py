"""Names of kinds, and that a kind's class is loaded when it is needed."""

import subprocess
import sys

import pytest

from upwell.api.decoding.kinds import KINDS, KindNames

COMMAND = """
import sys
from upwell.cli.program import COMMANDS
from upwell.app.client import create_client
from upwell.api.decoding.kinds import find_names
COMMANDS["get"].load()
assert find_names("po").resource().KIND.kind == "Pod"
print(*sys.modules)
"""


@pytest.mark.parametrize("names", KINDS, ids=lambda names: names.kind)
def test_the_names_are_those_of_the_class(names: KindNames) -> None:
    resource = names.resource()

    kind = resource.KIND
    assert resource.__module__ == f"upwell.api.{names.module}"
    assert names == KindNames(
        names.module,
        kind.kind,
        kind.api_version,
        kind.plural,
        kind.short_names,
        kind.earlier_versions,
        kind.aliases,
        kind.legacy,
        kind.namespaced,
    )


TABLE = """
import sys
from upwell.cli.program import COMMANDS
COMMANDS["get"].load()
import upwell.app.server_access
import upwell.store.kubernetes_tables
print(*sys.modules)
"""


def test_a_table_takes_no_classes_of_objects() -> None:
    done = subprocess.run([sys.executable, "-c", TABLE], check=True, capture_output=True, text=True)

    assert {"pydantic", "upwell.api.meta", "yaml", "aiohttp"}.isdisjoint(done.stdout.split())


def test_a_command_loads_the_kinds_alone_that_it_is_about() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND], check=True, capture_output=True, text=True
    )

    loaded = set(done.stdout.split())
    assert "upwell.api.pod" in loaded
    assert loaded.isdisjoint({f"upwell.api.{one}" for one in ("builds.build", "kept", "pipeline")})
    assert loaded.isdisjoint({"yaml", "aiohttp"})
