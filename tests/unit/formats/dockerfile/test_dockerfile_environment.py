import pytest

from upwell.formats.dockerfile.environment import environment_lines
from upwell.formats.s2i.contract import S2iError


def test_a_value_stands_in_its_instruction() -> None:
    env = (("A", "1"), ("EMPTY", ""), ("B", 'say "$HOME" \\'))
    lines, values = environment_lines(env, "CARRIED")
    assert lines == ['ENV A="1"', 'ENV EMPTY=""', 'ENV B="say \\"\\$HOME\\" \\\\"']
    assert values == {}


@pytest.mark.parametrize(("value", "escape"), [("two\nlines", "\\"), ("a$b", "`"), ("a`b", "`")])
def test_a_value_that_cannot_be_written_is_carried_by_an_argument(value: str, escape: str) -> None:
    lines, values = environment_lines((("A", "1"), ("B", value)), "CARRIED", escape)
    assert lines == ['ENV A="1"', "ARG CARRIED_1", "ENV B=${CARRIED_1}"]
    assert values == {"CARRIED_1": value}


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(S2iError):
        environment_lines((('A"', "1"),), "CARRIED")
