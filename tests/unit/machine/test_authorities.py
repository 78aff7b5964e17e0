from pathlib import Path

from upwell.machine.authorities import certificate_folders, write_authorities


def test_the_folder_holds_exactly_the_files_that_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "authorities"
    one, other = tmp_path / "one.pem", tmp_path / "other.pem"
    one.write_text("one")
    other.write_text("other")

    assert write_authorities(folder, [one, other, one]) == folder
    assert sorted(file.read_text() for file in folder.iterdir()) == ["one", "other"]
    assert write_authorities(folder, [other]) == folder
    assert [file.read_text() for file in folder.iterdir()] == ["other"]
    assert write_authorities(folder, []) is None
    assert not folder.exists()


def test_the_authorities_of_the_system_stay_trusted(tmp_path: Path) -> None:
    assert certificate_folders(tmp_path).split(":")[-1] == str(tmp_path)
    assert "/etc/ssl/certs" in certificate_folders(tmp_path).split(":")
