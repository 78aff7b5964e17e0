"""Digests in output."""

import pytest

from upwell.cli.core.output import aligned, shortened

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


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


def test_what_people_read_is_on_one_line_and_has_short_digests() -> None:
    digest = f"sha256:{'ab' * 32}"
    text = f"web = registry.test/web@{digest} exited 3: migrating\n  the database is locked\n"
    short = "web = abababababab exited 3: migrating / the database is locked"
    assert shortened(text) == short


def test_a_row_of_a_table_is_one_line_whatever_its_cells_hold() -> None:
    rows = [("NAME", "MESSAGE", "AGE"), ("web", "exited 3: migrating\n  locked\n", "2s")]
    header, row = aligned(rows)
    assert row == "web    exited 3: migrating / locked   2s"
    assert header.rindex("AGE") == row.index("2s")
