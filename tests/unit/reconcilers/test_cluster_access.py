"""Authors on a cluster: who counts, what they are asked for, and what nobody stands for."""

from typing import Any

import pytest
from tests.support.authors import FixedAuthors
from tests.support.cluster.fixed_reviews import FixedReviews

from upwell.api.codec import decode, decode_as
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.values.author import cluster_author, with_author, with_content_authors
from upwell.cluster.errors import AccessDeniedError, ClusterUnavailableError
from upwell.cluster.interface import ClusterUser
from upwell.oci import Digest, Reference
from upwell.policy.access.needs import Need
from upwell.policy.access.roles import Action
from upwell.reconcilers.authority import Authority
from upwell.reconcilers.cluster_access import MAX_QUESTIONS, ClusterAuthors, ClusterRights
from upwell.reconcilers.images.pull_rights import MissingPullRightError, require_pull

GROUP = "system:serviceaccounts:a"
PUSH = "update imagestreams/layers b"
FORCED = "9b3f"
"""Id of the admission in force."""


def build(namespace: str = "b", **spec: Any) -> Resource:
    """Return a build in namespace a that sets a tag of another namespace."""
    to = {"kind": "ImageStreamTag", "name": "app:1", "namespace": namespace}
    return decode(
        {
            "apiVersion": "build.openshift.io/v1",
            "kind": "Build",
            "metadata": {"name": "app-1", "namespace": "a"},
            "spec": {"output": {"to": to}, **spec},
        }
    )


def authority(
    reviews: FixedReviews, tokens: FixedAuthors | None = None, admission: str = FORCED
) -> Authority:
    rights = ClusterRights(reviews)
    authors = ClusterAuthors(rights, tokens or FixedAuthors(), lambda: admission)
    return Authority(authors, "registry.test")


async def test_what_has_no_author_acts_as_its_namespace() -> None:
    reviews = FixedReviews()
    why = await authority(reviews).refusal(build())
    assert "push repositories in namespace b is not allowed to group" in why
    assert GROUP in why
    assert {user for user, _ in reviews.asked} == {ClusterUser(groups=(GROUP,))}

    reviews.allowed[GROUP] = {PUSH}
    assert await authority(reviews).refusal(build()) == ""


async def test_what_has_no_author_does_in_its_own_namespace_what_it_likes() -> None:
    secret = {"source": {"git": {"uri": "https://git.test/a"}, "sourceSecret": {"name": "login"}}}
    reviews = FixedReviews()
    assert await authority(reviews).refusal(build("a", **secret)) == ""
    assert reviews.asked == []


async def test_what_has_neither_author_nor_namespace_may_do_nothing() -> None:
    access = {"kubeConfig": {"secretRef": {"namespace": "ops", "name": "east"}}}
    metadata = {"name": "east"}
    document = {"apiVersion": "upwell.dev/v1alpha1", "kind": "Cluster", "metadata": metadata}
    reviews = FixedReviews()

    why = await authority(reviews).refusal(decode({**document, "spec": access}))

    assert "has no namespace to act as: it uses Secret ops/east" in why
    assert "have somebody who may use secrets in namespace ops write its spec again" in why
    assert reviews.asked == []
    own = {"local": True}
    assert await authority(reviews).refusal(decode({**document, "spec": own})) == ""


@pytest.mark.parametrize("admission", ["", "another"])
async def test_an_author_whom_the_admission_in_force_has_not_written_is_nobody(
    admission: str,
) -> None:
    forged = with_author(build(), "system:admin", admission=FORCED)
    tokens = FixedAuthors({"system:admin": ("admin@*",)})
    assert await authority(FixedReviews(), tokens).refusal(forged) == ""
    why = await authority(FixedReviews(), tokens, admission).refusal(forged)
    assert "is not allowed to group" in why


@pytest.mark.parametrize("admission", ["", "another"])
async def test_an_import_by_digest_is_asked_for_where_nobody_was_asked_at_its_write(
    admission: str,
) -> None:
    named = Reference.parse(f"registry.test/b/app@{Digest.of(b'app')}")
    document = {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": "app", "namespace": "a"},
    }
    stream = with_author(decode_as(ImageStream, document), cluster_author("ann"), admission=FORCED)
    await require_pull(authority(FixedReviews()), stream, named)

    with pytest.raises(MissingPullRightError, match="pull repositories in namespace b"):
        await require_pull(authority(FixedReviews(), admission=admission), stream, named)


async def test_a_user_is_asked_with_the_groups_that_they_had() -> None:
    written = with_author(build(), cluster_author("ann"), groups=("team",), admission=FORCED)
    reviews = FixedReviews({"team": {PUSH}})
    assert await authority(reviews).refusal(written) == ""
    assert reviews.asked[0][0] == ClusterUser("ann", ("team",))

    reviews.allowed.clear()
    why = await authority(reviews).refusal(written)
    assert "the author of Build a/app-1, system:cluster-user:ann, has lost a right" in why
    assert "is not allowed to user ann" in why


async def test_a_service_account_is_asked_with_its_own_groups_alone() -> None:
    name = "system:serviceaccount:ci:robot"
    groups = ("system:masters",)
    written = with_author(build(), cluster_author(name), groups=groups, admission=FORCED)
    reviews = FixedReviews()
    assert await authority(reviews).refusal(written)
    own = ("system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated")
    assert reviews.asked[0][0] == ClusterUser(name, own)


async def test_a_user_of_the_cluster_has_nothing_of_a_token_of_the_same_name() -> None:
    tokens = FixedAuthors({"ann": ("admin@*",)})
    user = with_author(build(), cluster_author("ann"), admission=FORCED)
    assert await authority(FixedReviews(), tokens).refusal(user)
    token = with_author(build(), "ann", admission=FORCED)
    assert await authority(FixedReviews(), tokens).refusal(token) == ""


async def test_who_decides_the_content_is_asked_without_the_authors_groups() -> None:
    written = with_author(build(), cluster_author("ann"), groups=("team",), admission=FORCED)
    shared = with_content_authors(written, [cluster_author("eve")])
    reviews = FixedReviews({"team": {PUSH}})
    need = Need(Action("push", "repositories", "b"), "sets a tag")
    why = await authority(reviews).content_refusal(shared, [need])
    assert "system:cluster-user:eve, who decides what" in why


async def test_who_may_not_ask_allows_nothing_and_says_so() -> None:
    reviews = FixedReviews(fault=AccessDeniedError("it needs create subjectaccessreviews"))
    why = await authority(reviews).refusal(build())
    assert "is unknown to be allowed: it needs create subjectaccessreviews" in why


async def test_a_cluster_that_is_away_is_asked_again() -> None:
    reviews = FixedReviews(fault=ClusterUnavailableError("away"))
    with pytest.raises(ClusterUnavailableError):
        await authority(reviews).refusal(build())


async def test_one_object_asks_a_bounded_number_of_questions() -> None:
    needs = [Need(Action("get", "imagestreams", f"n{one}"), "takes") for one in range(600)]
    reviews = FixedReviews()
    reviews.allowed["ann"] = {f"get imagestreams n{one}" for one in range(600)}
    why = (await ClusterRights(reviews).of(ClusterUser("ann"), needs)).lacking(needs)
    assert len(reviews.asked) == MAX_QUESTIONS
    assert why is not None
    assert "is one of more than 500 rights" in why
