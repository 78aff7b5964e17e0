"""Marks of steps: the same for a scope, and to be known by nobody who has not seen them."""

from pathlib import Path

from upwell.builder.steps.marks import StepMarks, mark_lines
from upwell.oci import Reference


def test_a_scope_has_one_mark_after_a_restart_too(tmp_path: Path) -> None:
    path = tmp_path / "step-marks.key"
    mark = StepMarks(path).of("shop/uid")
    assert StepMarks(path).of("shop/uid") == mark
    assert StepMarks(path).of("bank/uid") != mark
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_installation_has_other_marks(tmp_path: Path) -> None:
    assert StepMarks(tmp_path / "a").of("shop/uid") != StepMarks(tmp_path / "b").of("shop/uid")


def test_a_damaged_key_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"short")
    assert len(StepMarks(path).of("shop/uid")) == 64
    assert StepMarks(path).of("") == ""


def test_steps_are_marked_where_one_image_could_pass_for_a_step_upon_another() -> None:
    one, other = (Reference.parse(f"registry.example.com/{name}:1") for name in ("one", "other"))
    assert mark_lines("a1", [one]) == ()
    assert mark_lines("a1", [one, other]) == ("LABEL dev.upwell.build.steps=a1",)
    assert mark_lines("", [one, other]) == ()
