"""Lines of a Dockerfile that mean something else in one layer."""

import pytest

from upwell.formats.dockerfile.layers import layer_warnings


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("FROM a\nVOLUME /data\nCOPY x /data/x\n", [3]),
        ("FROM a\nCOPY --chown=1 x /data/x\nVOLUME /data /other\n", [2]),
        ('FROM a\nVOLUME ["/one", "/two"]\nADD ["x y", "/two/x"]\nCOPY z /three\n', [3]),
        ("FROM a AS one\nVOLUME /data\nFROM one\nCOPY x /data\n", []),
        ("FROM a\nVOLUME /data\nCOPY x /database\nRUN touch /data/y\n", []),
        ('FROM a\nVOLUME ["/data"\nCOPY x /data\n', []),
    ],
)
def test_what_is_added_to_a_volume_is_named_with_its_line(text: str, lines: list[int]) -> None:
    warnings = list(layer_warnings(text))
    assert [int(warning.split()[2].rstrip(":")) for warning in warnings] == lines
    assert all("to the volume /" in warning for warning in warnings)
