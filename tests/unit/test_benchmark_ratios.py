"""The record of benchmarks' ratios: what fell behind is told, and is not recorded by itself."""

import json
from pathlib import Path

from tests.support.benchmarks.ratios import RECORDED, Ratios


def recorded(tmp_path: Path, **ratios: float) -> Path:
    file = tmp_path / "ratios.json"
    file.write_text(json.dumps(ratios))
    return file


def test_a_ratio_that_fell_by_a_third_is_told_and_keeps_its_record(tmp_path: Path) -> None:
    file = recorded(tmp_path, heads=0.9, pushes=0.9, imports=2.0)
    run = Ratios.of(file)
    run.note_speed("heads", 0.59)
    run.note_speed("pushes", 0.7)
    run.note_cost("imports", 0.8)
    run.note_speed("new", 0.1)
    assert run.behind == ["heads", "imports"]
    assert run.report() == ["heads: 0.59, recorded was 0.9", "imports: 1.25, recorded was 2"]
    run.record()
    assert json.loads(file.read_text()) == {
        "heads": 0.9,
        "imports": 2.0,
        "new": 0.1,
        "pushes": 0.9,
    }


def test_many_small_falls_are_a_fall(tmp_path: Path) -> None:
    file = recorded(tmp_path, heads=1.0)
    for measured in (0.8, 0.7):
        run = Ratios.of(file)
        run.note_speed("heads", measured)
        assert run.report() == []
        run.record()
    last = Ratios.of(file)
    last.note_speed("heads", 0.6)
    assert last.report() == ["heads: 0.6, recorded was 1"]


def test_what_rose_by_a_half_is_recorded(tmp_path: Path) -> None:
    file = recorded(tmp_path, heads=1.0, pushes=1.0)
    run = Ratios.of(file)
    run.note_speed("heads", 1.4)
    run.note_cost("pushes", 0.5)
    run.record()
    assert json.loads(file.read_text()) == {"heads": 1.0, "pushes": 2.0}


def test_what_fell_behind_is_recorded_when_that_is_accepted(tmp_path: Path) -> None:
    file = recorded(tmp_path, heads=0.9)
    run = Ratios.of(file)
    run.note_speed("heads", 0.12345)
    run.record(accept=True)
    assert json.loads(file.read_text()) == {"heads": 0.123}


def test_what_another_run_has_recorded_meanwhile_stays(tmp_path: Path) -> None:
    file = recorded(tmp_path, heads=1.0)
    run, other = Ratios.of(file), Ratios.of(file)
    other.note_speed("pushes", 0.5)
    other.record()
    run.note_speed("pulls", 0.7)
    run.record()
    assert json.loads(file.read_text()) == {"heads": 1.0, "pulls": 0.7, "pushes": 0.5}


def test_a_run_that_measured_nothing_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ratios.json"
    Ratios.of(file).record()
    assert not file.exists()


def test_the_record_of_the_project_can_be_read() -> None:
    assert all(ratio > 0 for ratio in Ratios.of(RECORDED).recorded.values())


def test_each_benchmark_notes_a_ratio_or_says_why_it_does_not() -> None:
    files = {file: file.read_text() for file in RECORDED.parent.rglob("test_*.py")}
    silent = [file.name for file, text in files.items() if "ratios.note_" not in text]
    told = [file.name for file, text in files.items() if "It notes no ratio: " in text]
    assert sorted(silent) == sorted(told)
