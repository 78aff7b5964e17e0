from pathlib import Path

import pytest
from tests.support.settings.reference import EXAMPLE, PAGE, render

from upwell.settings import read_file
from upwell.settings.base import SettingsTable
from upwell.settings.builds import BuildIsolation
from upwell.settings.registries import MirrorSettings, RegistrySettings
from upwell.settings.tables import (
    AuditSettings,
    DiskSettings,
    FileSettings,
    GitSettings,
    RetentionSettings,
    TracingSettings,
)


def test_the_page_is_made_from_the_settings() -> None:
    assert PAGE.read_text() == render(), "run: python -m tests.support.settings.reference"


def test_the_example_is_read(tmp_path: Path) -> None:
    path = tmp_path / "upwell.toml"
    path.write_text(EXAMPLE)
    assert read_file(path).registry[0].mirrors[1].location == "10.0.0.6"


@pytest.mark.parametrize(
    "table",
    [
        FileSettings,
        BuildIsolation,
        RetentionSettings,
        AuditSettings,
        DiskSettings,
        TracingSettings,
        GitSettings,
        RegistrySettings,
        MirrorSettings,
    ],
)
def test_every_key_of_every_table_is_on_the_page(table: type[SettingsTable]) -> None:
    text = render()
    assert table.__doc__ is not None
    assert table.__doc__ in text
    for key in table.key_types():
        assert f"| `{key}` |" in text or f"## `[{key}]`" in text or f"## `[[{key}]]`" in text
