"""Persons that principals stand for: the one place that says whose eyes they are; pure.

One person may come as a token (`ann`), by a provider of sign-in (`oidc:ann@example.com`), and as a
user of the cluster (`system:cluster-user:ann`). Nothing proves that two such names are of different
persons, so for four eyes they are of one where the names themselves are equal.
"""

from collections.abc import Iterable
from unicodedata import normalize

from upwell.api.values.author import cluster_user_of
from upwell.policy.access.service_accounts import parse_account


def program_of(principal: str) -> tuple[str, str] | None:
    """Return namespace and name of the ServiceAccount that a principal is, here or on the cluster.

    None: it is none. A program is nobody's eyes.
    """
    return parse_account(_without_cluster(principal))


def may_be_one(principal: str, other: str) -> bool:
    """Return True unless two principals are surely different persons, or programs.

    What stands before the name does not tell them apart (`oidc:`, another prefix that ends with a
    colon, or that of a user of the cluster), nor do capital letters or forms of Unicode, nor the
    domain of a mail address where only one of them has one. Nobody (empty) is no person.
    """
    if not principal or not other:
        return False
    if principal == other:
        return True
    if program_of(principal) or program_of(other):
        return _without_cluster(principal) == _without_cluster(other)
    one, two = _bare(principal), _bare(other)
    if "@" in one and "@" in two:
        return one == two
    return one.partition("@")[0] == two.partition("@")[0]


def persons_among(principals: Iterable[str]) -> int:
    """Return how many persons these are at the least; programs are none."""
    found: list[str] = []
    people = (one for one in principals if program_of(one) is None)
    for principal in sorted(people, key=lambda one: "@" in _bare(one)):
        if not any(may_be_one(principal, one) for one in found):
            found.append(principal)
    return len(found)


def _without_cluster(principal: str) -> str:
    user = cluster_user_of(principal)
    return user if user is not None else principal


def _bare(principal: str) -> str:
    # Twice, as NFKC_Casefold does: folding may leave what is not composed (Unicode, section 3.13).
    name = normalize("NFKC", normalize("NFKC", principal).casefold())
    return name.rpartition(":")[2]
