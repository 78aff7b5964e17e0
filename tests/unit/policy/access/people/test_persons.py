"""Principals that may be one person."""

import pytest

from upwell.policy.access.people.persons import may_be_one, persons_among, program_of

CLUSTER = "system:cluster-user:"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ann", "ann", True),
        (f"{CLUSTER}ann", "ann", True),
        (f"{CLUSTER}oidc:ann@example.com", "oidc:ann@example.com", True),
        ("oidc:ann@example.com", "ann", True),
        ("oidc:Ann@example.com", "ann@example.com", True),
        ("oidc:ann@example.com", "oidc:ann@other.example", False),
        ("oidc:jos\u00e9@example.com", "corp:jose\u0301@example.com", True),
        ("oidc:\uff41nn", "ann", True),
        ("oidc\uff1aann\uff20example.com", "ann", True),
        ("ann", "ben", False),
        ("ann", "", False),
        ("", "", False),
        ("system:serviceaccount:shop:ann", "ann", False),
        ("system:serviceaccount:shop:ci", f"{CLUSTER}system:serviceaccount:shop:ci", True),
        ("system:serviceaccount:shop:ci", "system:serviceaccount:other:ci", False),
    ],
)
def test_names_that_may_be_of_one_person(one: str, other: str, *, same: bool) -> None:
    assert may_be_one(one, other) is same
    assert may_be_one(other, one) is same


def test_a_person_who_votes_by_several_names_is_one() -> None:
    assert persons_among(["ann", f"{CLUSTER}ann", "oidc:ann@example.com", "ben"]) == 2
    assert persons_among(["oidc:ann@a.example", "oidc:ann@b.example"]) == 2
    assert persons_among([]) == 0


def test_programs_are_no_persons() -> None:
    bots = ["system:serviceaccount:shop:ci", f"{CLUSTER}system:serviceaccount:shop:bot"]
    assert persons_among(["ann", *bots]) == 1
    assert persons_among(bots) == 0


def test_programs_of_a_cluster_are_programs_too() -> None:
    assert program_of(f"{CLUSTER}system:serviceaccount:shop:ci") == ("shop", "ci")
    assert program_of(f"{CLUSTER}ann") is None
