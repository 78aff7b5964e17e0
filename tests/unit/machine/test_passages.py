"""Folders that others may pass through, where all may write."""

from pathlib import Path

import pytest

from upwell.machine.folder import make_passage


def test_others_may_pass_through_a_folder_and_not_list_it(tmp_path: Path) -> None:
    for _ in range(2):
        make_passage(tmp_path / "through")
    assert (tmp_path / "through").stat().st_mode & 0o777 == 0o711


def test_a_link_that_somebody_has_put_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "through").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="through is not ours: remove it"):
        make_passage(tmp_path / "through")
