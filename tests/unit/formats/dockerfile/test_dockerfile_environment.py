import pytest

from upwell.formats.dockerfile.environment import environment_lines
from upwell.formats.s2i.contract import S2iError


def test_a_value_stands_in_its_instruction() -> None:
    env = (("A", "1"), ("EMPTY", ""), ("B", 'say "$HOME" \\'))
    lines, values = environment_lines(env, "CARRIED")
    assert lines == ['ENV A="1" EMPTY="" B="say \\"\\$HOME\\" \\\\"']
    assert values == {}


@pytest.mark.parametrize(("value", "escape"), [("two\nlines", "\\"), ("a$b", "`"), ("a`b", "`")])
def test_a_value_that_cannot_be_written_is_carried_by_an_argument(value: str, escape: str) -> None:
    lines, values = environment_lines((("A", "1"), ("B", value)), "CARRIED", escape)
    assert lines == ["ARG CARRIED_1", 'ENV A="1" B=${CARRIED_1}']
    assert values == {"CARRIED_1": value}


def test_no_instruction_gets_longer_than_buildah_reads() -> None:
    env = [(f"V{index}", "x" * 9_000) for index in range(20)]
    lines, _ = environment_lines(env, "CARRIED")
    assert max(map(len, lines)) < 20_000
    assert " ".join(lines).replace("ENV ", "") == " ".join(f'{name}="{x}"' for name, x in env)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(S2iError):
        environment_lines((('A"', "1"),), "CARRIED")
