"""Each value of a Compose file, broken in every way: Upwell refuses what Docker Compose refuses."""

import json
import re

from tests.support.faults.machine_faults import ALL_STEPS
from tests.support.mutations.compose.verdicts import (
    ENVIRONMENT,
    FILES,
    REFUSED,
    compose_document,
    compose_mutants,
)

from upwell.formats.compose.document import Document
from upwell.formats.compose.errors import ComposeError
from upwell.formats.compose.project import read_project
from upwell.formats.compose.services import ProjectContext

ACCEPTED = re.compile(
    r"services\.web\.develop\."  # has no effect
    r"|\S+ duplicate 1$"  # the same as once
    # What one place leaves out is said by the other.
    r"|services\.web\.deploy\.resources\.\S+ (deleted|emptied) 1$"
    r"|services\.web\.volumes\[3\]\.tmpfs\.mode retyped 1$"  # a number as a text
)
"""Mutants that Compose refuses, and that are taken here."""


def read(path: str) -> bytes:
    try:
        return FILES[path.removeprefix("/srv/shop/")].encode()
    except KeyError:
        raise FileNotFoundError(2, "No such file") from None


def refusal(document: dict[str, object]) -> str:
    context = ProjectContext("/srv/shop", ENVIRONMENT, read)
    try:
        read_project(Document("compose.yaml", {}, document), context, ["prod"])
    except ComposeError as error:
        return str(error)
    return ""


def test_what_compose_takes_whole_is_taken() -> None:
    assert not refusal(compose_document())


def test_what_compose_refuses_is_refused() -> None:
    """One in 13 of the mutants; `make faults` takes all, in a quarter of a minute."""
    refused = set(json.loads(REFUSED.read_text()))
    found = list(compose_mutants())[:: 1 if ALL_STEPS else 13]
    taken = {name for name, one in found if not refusal(one.document)}
    assert not sorted(name for name in taken & refused if not ACCEPTED.search(name))
    assert len(found) / 4 < len(taken) < len(found) / 2, "most are refused, and not all"
