"""The demo's picture and lines show the present state, each point once."""

import io

import pytest
from rich.console import Console
from tests.support.cli.demo_progress import (
    NEW,
    NEW_GLIBC,
    PUBLISHED,
    build,
    result,
    successful_progress,
)

from upwell.cli.demo.observed import Observed
from upwell.cli.demo.outcomes import FixInProduction
from upwell.cli.demo.report import report
from upwell.cli.demo.view import LiveView, PlainView
from upwell.policy.explain.package_changes import PackageChange


def drawn(view_of: Observed, *, published: bool = True) -> str:
    progress = successful_progress()
    screen = io.StringIO()
    view = LiveView(Console(file=screen, force_terminal=True, width=160, height=40))
    with view.open():
        view.refresh(view_of, progress.load_stats, progress if published else None)
        return screen.getvalue()


def test_the_picture_shows_the_chain_the_timeline_and_the_load() -> None:
    text = drawn(successful_progress().observed)
    for part in (
        "debian:11",
        NEW.hex[:12],
        "python-builder",
        result("shop", 2).hex[:12],
        f"shop: glibc {NEW_GLIBC}",
        "verified",
        "8 requests",
        "0 failed",
    ):
        assert part in text, part
    assert text.index("debian:11") < text.index("python-builder") < text.index("production")


def test_the_picture_shows_what_is_not_there_yet() -> None:
    text = drawn(Observed(), published=False)
    assert "not imported yet" in text
    assert "no build yet" in text
    assert "the fix is not published yet" in text


def test_a_narrow_terminal_has_the_timeline_below() -> None:
    progress, screen = successful_progress(), io.StringIO()
    view = LiveView(Console(file=screen, force_terminal=True, width=80, height=40))
    with view.open():
        view.refresh(progress.observed, progress.load_stats, progress)
        lines = screen.getvalue().splitlines()
    assert not any("python-builder" in line and "verified" in line for line in lines)
    assert any("+9.50 s  verified" in line for line in lines)
    assert sum(" s  " in line and "+" in line for line in lines) == 10


def test_a_build_that_runs_is_shown_with_its_phase() -> None:
    progress = successful_progress()
    progress.observed.add(build("gate", 3, 9, "Running"))
    assert "build 3 Running" in drawn(progress.observed)


def test_plain_lines_tell_each_moment_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress, view = successful_progress(), PlainView()
    with view.open():
        view.say("begin")
        for _ in range(3):
            view.refresh(progress.observed, progress.load_stats, progress)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(progress.timeline())
    assert lines[1].endswith(f"+0.00 s  published  {NEW.hex[:12]} by the vendor")


def test_the_report_tells_all_that_was_asked_for() -> None:
    progress = successful_progress()
    progress.load_stats["gate"].lost("HTTP/1.1 503 Service Unavailable", PUBLISHED)
    packages = [PackageChange(f"p{number:02}", "1", "2") for number in range(12)]

    claims = FixInProduction().claims(progress)
    text = "\n".join(report(progress, packages, ["gate-2.dev: exit code 1"], claims))

    assert "    +1.00  detected   debian:11 has a new digest" in text
    assert "shop: 4, failed: 0" in text
    assert "gate: 5, failed: 1\n      +0.00  HTTP/1.1 503 Service Unavailable" in text
    assert "changed between the two bases: 12" in text
    assert "  p09 1 -> 2\n  and 2 more" in text
    assert "Why it was not promoted\n  gate-2.dev: exit code 1" in text
    assert "FALSE  no request failed in production: 1 of 9" in text
