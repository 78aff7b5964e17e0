"""Sections of the page of troubleshooting, as errors name them."""

from tests.support.paths import ROOT

from upwell.cli.help.topics import sections
from upwell.cli.hints.troubleshooting import SECTIONS, section_of


def test_every_section_is_on_the_page() -> None:
    assert SECTIONS.keys() <= sections((ROOT / "docs" / "troubleshooting.md").read_text()).keys()


def test_an_error_names_its_section() -> None:
    assert section_of("cannot be reached: is `upwell serve` running at http://a?") == "no-server"
    assert section_of("upwell.db was not written: database or disk is full") == "full-disk"
    assert section_of("it is raining") == ""
