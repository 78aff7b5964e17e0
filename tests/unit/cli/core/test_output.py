"""How times, digests and paths are shown."""

from datetime import timedelta

import pytest

from upwell.cli.core.output import format_duration, shortened, values_at

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (200, "3m20s"),
        (3600, "1h"),
        (18_600, "5h10m"),
        (86_400 * 3 + 4 * 3600, "3d4h"),
        (86_400 * 40 + 3600, "40d"),
    ],
)
def test_a_duration_has_the_two_units_that_tell_enough(seconds: int, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (f"web = 127.0.0.1:7080/a/b@{DIGEST}) ended", "web = 0123456789ab) ended"),
        (f"(web=x.test/b@{DIGEST}, {DIGEST})", "(web=0123456789ab, 0123456789ab)"),
        ("x.test/b:latest has no digest", "x.test/b:latest has no digest"),
    ],
)
def test_pull_specs_are_shortened_to_their_digest(text: str, short: str) -> None:
    assert shortened(text) == short


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("spec.size", [3]),
        ("spec.tags[*].name", ["a", "b"]),
        ("spec.tags[1].name", ["b"]),
        ("spec.tags[7].name", []),
        ("spec.absent.deep", []),
        ("spec.size.deep", []),
        ("spec.size[*].x", []),
        ("spec.empty", []),
    ],
)
def test_values_at_a_path(path: str, values: list[object]) -> None:
    document = {"spec": {"size": 3, "tags": [{"name": "a"}, {"name": "b"}, {}], "empty": ""}}

    assert values_at(document, path) == values


def test_what_people_read_is_on_one_line_and_has_short_digests() -> None:
    digest = f"sha256:{'ab' * 32}"
    text = f"web = registry.test/web@{digest} exited 3: migrating\n  the database is locked\n"
    short = "web = abababababab exited 3: migrating / the database is locked"
    assert shortened(text) == short
