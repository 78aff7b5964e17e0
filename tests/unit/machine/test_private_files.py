import stat
from pathlib import Path

import pytest

from upwell.machine.private_file import write_private


@pytest.mark.parametrize("content", ["sécret\n", b"s\xffcret"])
def test_a_private_file_is_replaced_whole_and_is_for_its_owner_alone(
    tmp_path: Path, content: str | bytes
) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    path.chmod(0o644)
    (tmp_path / "token.new").write_text("of a write that was killed")
    (tmp_path / "token.new").chmod(0o666)

    write_private(path, content)

    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    (tmp_path / "token.new").symlink_to(elsewhere)

    write_private(tmp_path / "token", "mine")

    assert elsewhere.read_text() == "theirs"
    assert (tmp_path / "token").read_text() == "mine"
