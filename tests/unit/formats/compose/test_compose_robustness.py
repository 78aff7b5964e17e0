"""A Compose file is read, or refused with a reason, whatever stands in it."""

import contextlib

import yaml
from hypothesis import given
from hypothesis import strategies as st

from upwell.formats.compose import keys
from upwell.formats.compose.errors import ComposeError
from upwell.formats.compose.inspected import read_container
from upwell.formats.compose.project import parse_compose
from upwell.formats.compose.services import ProjectContext

WORDS = st.sampled_from(
    ["a", "", "80", "8080:80", "1-2:3-4", "1m30s", "512m", "0.5", "./x:/y:ro", "no", "CMD", "$A"]
)
SCALARS = WORDS | st.none() | st.booleans() | st.integers(-1, 99_999) | st.floats(-1, 2)
NAMES = st.sampled_from(
    ["a", "test", "type", "source", "target", "limits", "cpus", "condition", "context", "file"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
SERVICES = st.dictionaries(
    st.sampled_from(sorted(keys.READ | {"privileged", "colour"})), VALUES, max_size=4
)
PROJECTS = st.fixed_dictionaries(
    {"services": st.dictionaries(st.sampled_from(["a", "b"]), SERVICES | VALUES, max_size=2)},
    optional=dict.fromkeys(("volumes", "networks", "secrets", "configs"), VALUES),
)


def no_file(path: str) -> bytes:
    raise FileNotFoundError(2, "No such file", path)


@given(PROJECTS)
def test_every_file_is_read_or_refused(document: object) -> None:
    with contextlib.suppress(ComposeError):
        parse_compose(yaml.safe_dump(document), "compose.yaml", ProjectContext("/", {}, no_file))


@given(st.text(max_size=200))
def test_every_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ComposeError):
        parse_compose(f"services: {text}", "compose.yaml", ProjectContext("/", {}, no_file))


PARTS = st.sampled_from(["Config", "HostConfig", "NetworkSettings", "Networks", "Env", "Labels"])


@given(st.dictionaries(PARTS, st.dictionaries(PARTS, SCALARS, max_size=3) | SCALARS, max_size=4))
def test_every_inspection_is_read(inspected: dict[str, object]) -> None:
    read_container(inspected, inspected)
