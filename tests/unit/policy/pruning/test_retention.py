"""Retention of images and objects: by rules, and for any graph of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.codec import decode
from upwell.api.meta import Resource, format_time
from upwell.api.requests.prune import PruneSpec
from upwell.formats.attachment_tags import attestation_tag, signature_tag
from upwell.oci import Digest, Platform, Reference
from upwell.oci.index_tags import index_of_tag, index_tag
from upwell.oci.replica_contents import ReplicaContent
from upwell.policy.builds.identity import inputs_tag
from upwell.policy.pruning.retention import RetentionDecision, RetentionFacts, decide
from upwell.policy.pruning.rules import InvalidRulesError, Rules, rules_of
from upwell.registry.interface import StoredManifest, StoredRepository, StoredTag

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OLD = NOW - timedelta(days=30)
YOUNG = NOW - timedelta(hours=1)
HOST = "127.0.0.1:7080"
RULES = Rules()
AMD64 = Platform("linux", "amd64")


def digest(name: object) -> Digest:
    return Digest.of(str(name).encode())


def manifest(name: object, created: datetime = OLD, **content: Any) -> StoredManifest:
    return StoredManifest(digest(name), created, size=10, **content)


def repository(
    name: str, *manifests: StoredManifest, tags: dict[str, StoredTag] | None = None
) -> StoredRepository:
    return StoredRepository(name, tags or {}, manifests)


def mirror_of(reference: Reference) -> str:
    return f"upstream/{reference.registry}/{reference.repository}"


def facts(objects: Sequence[Resource], *repositories: StoredRepository) -> RetentionFacts:
    return RetentionFacts(objects, repositories, HOST, mirror_of, NOW)


def stored(kind: str, api: str, name: str, created: datetime = OLD, **fields: Any) -> Resource:
    meta = {"name": name, "namespace": "shop", "creationTimestamp": format_time(created)}
    return decode({"apiVersion": api, "kind": kind, "metadata": meta, **fields})


def event(name: object, created: datetime = OLD, host: str = f"{HOST}/shop/web") -> dict[str, Any]:
    return {
        "created": format_time(created),
        "dockerImageReference": f"{host}@{digest(name)}",
        "image": str(digest(name)),
    }


def stream(*names: object, tag: str = "latest", name: str = "web") -> Resource:
    tags = [{"tag": tag, "items": [event(one) for one in names]}]
    return stored("ImageStream", "image.openshift.io/v1", name, status={"tags": tags})


def deployment(*names: object) -> Resource:
    containers = [
        {"name": f"c{at}", "image": f"{HOST}/shop/web@{digest(name)}"}
        for at, name in enumerate(names)
    ]
    return stored(
        "Deployment", "apps/v1", "web", spec={"template": {"spec": {"containers": containers}}}
    )


def build(phase: str, **status: Any) -> Resource:
    return stored("Build", "build.openshift.io/v1", "web-1", status={"phase": phase, **status})


def gone(decision: RetentionDecision) -> set[Digest]:
    return {entry.digest for entry in decision.manifests}


def test_a_request_takes_the_servers_rules_for_what_it_leaves_out() -> None:
    ours = Rules(keep_tag_revisions=3, keep_younger_than=timedelta(hours=24))
    assert rules_of(PruneSpec(), ours) == ours
    assert rules_of(PruneSpec(keep_tag_revisions=1), ours) == replace(ours, keep_tag_revisions=1)
    spec, hour = PruneSpec(keep_younger_than_seconds=3600), timedelta(hours=1)
    assert rules_of(spec, ours) == Rules(3, hour, hour)
    assert rules_of(spec, replace(ours, keep_pulled_images=None)) == Rules(3, hour, None)
    with pytest.raises(InvalidRulesError, match="at least 10 minutes"):
        rules_of(PruneSpec(keep_younger_than_seconds=599), ours)


def test_a_tag_keeps_its_newest_digests_and_the_young() -> None:
    web = repository("shop/web", *(manifest(at) for at in range(6)))

    decision = decide(facts([stream(*range(6))], web), RULES)

    assert [entry.event.image for entry in decision.revisions] == [
        str(digest(at)) for at in (3, 4, 5)
    ]
    assert gone(decision) == {digest(3), digest(4), digest(5)}


@pytest.mark.parametrize("root", list(ReplicaContent))
def test_what_replicas_share_is_no_image_that_nothing_names(root: ReplicaContent) -> None:
    tags = {"inputs-1": StoredTag(digest("upload"), OLD), "v1": StoredTag(digest("upload"), OLD)}
    shared = repository(root.repository("shop"), manifest("upload"), tags=tags)

    decision = decide(facts([], shared, repository("shop/web", manifest("image"))), RULES)

    assert gone(decision) == {digest("image")}
    assert decision.tags == ()


def test_the_record_of_an_image_that_lies_here_makes_it_no_younger() -> None:
    web = repository("shop/web", manifest("a"), manifest("b"))
    young = NOW - timedelta(minutes=1)
    api = "image.openshift.io/v1"
    ours, met = (
        stored(
            "Image", api, str(digest(name)), young, dockerImageReference=f"{host}@{digest(name)}"
        )
        for name, host in (("a", f"{HOST}/shop/web"), ("b", "vendor.test/web"))
    )

    assert gone(decide(facts([ours, met], web), RULES)) == {digest("a")}


def test_a_revision_that_something_names_stays_in_the_history() -> None:
    web = repository("shop/web", *(manifest(at) for at in range(6)))

    decision = decide(facts([stream(*range(6)), deployment(4)], web), RULES)

    assert gone(decision) == {digest(3), digest(5)}
    assert len(decision.revisions) == 2
    assert (
        "Deployment shop/web (spec.template.spec.containers[0].image)" in (decision.kept[digest(4)])
    )


def test_the_newest_digest_of_a_tag_stays_whatever_the_rules_say() -> None:
    decision = decide(facts([stream("only")]), Rules(keep_tag_revisions=0))

    assert not decision.revisions


def test_histories_do_not_keep_what_another_lets_go() -> None:
    one, other = stream(0, 1, name="web"), stream(2, 1, name="api")

    decision = decide(facts([one, other], repository("shop/web", manifest(1))), Rules(1))

    assert gone(decision) == {digest(1)}
    assert len(decision.revisions) == 2


def test_a_revision_to_roll_back_to_keeps_its_image() -> None:
    record = {
        "revision": 1,
        "hash": "abc",
        "created": format_time(OLD),
        "template": {},
        "images": {"web": f"{HOST}/shop/web@{digest('before')}"},
    }
    web = stored("Deployment", "apps/v1", "web", status={"revisions": [record]})

    decision = decide(facts([web], repository("shop/web", manifest("before"))), RULES)

    assert not gone(decision)
    assert "status.revisions[0].images.web" in decision.kept[digest("before")]


def test_what_runs_stays_although_no_object_names_it() -> None:
    found = facts([], repository("shop/web", manifest("running"), manifest("other")))

    decision = decide(replace(found, running={digest("running"): "instance web-1"}), RULES)

    assert gone(decision) == {digest("other")}


def test_a_release_and_a_build_keep_their_images() -> None:
    release = stored(
        "Release",
        "upwell.dev/v1alpha1",
        "r1",
        spec={"components": [{"name": "web", "image": f"{HOST}/shop/web@{digest('released')}"}]},
    )
    made = build(
        "Complete",
        output={"to": {"imageDigest": str(digest("made"))}},
        images=[{"name": "base", "reference": f"vendor.example/base@{digest('base')}"}],
    )
    web = repository("shop/web", *(manifest(name) for name in ("released", "made", "lost")))
    base = repository("upstream/vendor.example/base", manifest("base"), manifest("older base"))

    decision = decide(facts([release, made], web, base), RULES)

    assert gone(decision) == {digest("lost"), digest("older base")}


def test_an_image_keeps_its_platforms_and_what_refers_to_it() -> None:
    web = repository(
        "shop/web",
        manifest("index", children=frozenset({digest("amd64"), digest("arm64")})),
        manifest("amd64"),
        manifest("arm64"),
        manifest("sbom", subject=digest("amd64")),
        manifest("signature of the sbom", subject=digest("sbom")),
        manifest("sbom of nothing", subject=digest("unknown")),
    )

    assert gone(decide(facts([deployment("index")], web), RULES)) == {digest("sbom of nothing")}


def test_an_image_record_says_which_mirrored_manifest_an_index_means() -> None:
    used = build(
        "Complete", images=[{"name": "base", "reference": f"vendor.example/base@{digest('index')}"}]
    )
    mirror = repository("upstream/vendor.example/base", manifest("amd64"), manifest("older"))
    record = stored(
        "Image",
        "image.openshift.io/v1",
        str(digest("index")),
        dockerImageManifests=[{"digest": str(digest("amd64"))}],
    )

    assert gone(decide(facts([used, record], mirror), RULES)) == {digest("older")}
    assert not gone(decide(facts([used], mirror), RULES)), "any of them may be the index's"


@pytest.mark.parametrize("view", ["", "public/", "private/shop/"])
def test_what_a_view_shows_stays_while_nobody_can_tell_which_manifest_an_index_means(
    view: str,
) -> None:
    used = build(
        "Complete", images=[{"name": "base", "reference": f"vendor.example/base@{digest('index')}"}]
    )
    mirror = repository(f"upstream/{view}vendor.example/base", manifest("amd64"))
    other = repository(f"upstream/{view}vendor.example/other", manifest("unused"))
    assert gone(decide(facts([used], mirror, other), RULES)) == {digest("unused")}


def test_a_mirrors_own_tag_keeps_what_a_named_index_means_here() -> None:
    def mirror(base: str) -> StoredRepository:
        tag = StoredTag(digest(base), OLD)
        name = index_tag(digest(f"index of {base}"), AMD64)
        assert name is not None
        return repository("upstream/vendor.example/base", manifest(base), tags={name: tag})

    used = build(
        "Complete",
        images=[{"name": "base", "reference": f"vendor.example/base@{digest('index of new')}"}],
    )

    assert not gone(decide(facts([used], mirror("new")), RULES))
    decision = decide(facts([used], mirror("new"), mirror("old")), RULES)
    assert [entry.tag for entry in decision.tags] == [index_tag(digest("index of old"), AMD64)]
    assert gone(decision) == {digest("old")}


def test_no_mirrored_image_goes_while_a_build_may_name_it_any_moment() -> None:
    mirror = repository("upstream/vendor.example/base", manifest("base"))

    assert not gone(decide(facts([build("Pending")], mirror), RULES))
    assert gone(decide(facts([build("Failed")], mirror), RULES)) == {digest("base")}


def test_tags_of_inputs_go_when_no_build_has_them_and_nothing_names_the_result() -> None:
    tags = {
        inputs_tag("a" * 64): StoredTag(digest("named"), OLD),
        inputs_tag("b" * 64): StoredTag(digest("claimed"), OLD),
        inputs_tag("c" * 64): StoredTag(digest("fresh"), YOUNG),
        inputs_tag("d" * 64): StoredTag(digest("forgotten"), OLD),
    }
    manifests = [manifest(name) for name in ("named", "claimed", "fresh", "forgotten")]
    web = repository("shop/web", *manifests, tags=tags)

    decision = decide(facts([stream("named"), build("Running", inputs="b" * 64)], web), RULES)

    assert [entry.tag for entry in decision.tags] == [inputs_tag("d" * 64)]
    assert gone(decision) == {digest("forgotten")}


def test_signatures_go_with_their_images_and_stay_with_them() -> None:
    tags = {inputs_tag("a" * 64): StoredTag(digest("named"), OLD)}
    for name in ("named", "forgotten", "gone"):
        tags[signature_tag(digest(name))] = StoredTag(digest(f"signature of {name}"), OLD)
    tags[attestation_tag(digest("gone"))] = StoredTag(digest("young"), YOUNG)
    names = (
        "named",
        "forgotten",
        *(f"signature of {one}" for one in ("named", "forgotten", "gone")),
    )
    young = manifest("young", YOUNG)
    web = repository("shop/web", *map(manifest, names), young, tags=tags)

    decision = decide(facts([stream("named")], web), RULES)

    assert {entry.tag for entry in decision.tags} == {
        signature_tag(digest(name)) for name in ("forgotten", "gone")
    }
    assert gone(decision) == {
        digest(name) for name in ("forgotten", "signature of forgotten", "signature of gone")
    }


def test_signatures_that_people_keep_apart_from_their_images_are_theirs() -> None:
    tags = {
        "v1": StoredTag(digest("pushed"), OLD),
        signature_tag(digest("pushed")): StoredTag(digest("signature"), OLD),
        signature_tag(digest("elsewhere")): StoredTag(digest("other"), OLD),
    }
    own = repository("shop/own", *map(manifest, ("pushed", "signature", "other")), tags=tags)

    decision = decide(facts([], own), RULES)

    assert (decision.tags, decision.manifests) == ((), ())


def test_signatures_of_a_mirrored_index_do_not_say_which_manifest_it_means() -> None:
    used = build(
        "Complete", images=[{"name": "base", "reference": f"vendor.example/base@{digest('index')}"}]
    )
    tags = {signature_tag(digest("index")): StoredTag(digest("signature"), OLD)}
    names = ("amd64", "older", "signature")
    mirror = repository("upstream/vendor.example/base", *map(manifest, names), tags=tags)

    assert not gone(decide(facts([used], mirror), RULES)), "any of them may be the index's"
    decision = decide(facts([], mirror), RULES)
    assert [entry.tag for entry in decision.tags] == [signature_tag(digest("index"))]
    assert gone(decision) == set(map(digest, names))


def test_what_a_strange_tag_of_signatures_names_stays_whole() -> None:
    tags = {signature_tag(digest("elsewhere")): StoredTag(digest("an index"), OLD)}
    index = manifest("an index", children=frozenset({digest("child")}))
    own = repository("shop/own", index, manifest("child"), tags=tags)

    assert not gone(decide(facts([], own), RULES))


def test_tags_of_people_stay_and_those_of_a_deleted_stream_go() -> None:
    pushed = repository(
        "shop/own", manifest("pushed"), tags={"v1": StoredTag(digest("pushed"), OLD)}
    )
    built = repository(
        "shop/web",
        manifest("built"),
        manifest("named by tag"),
        tags={
            inputs_tag("a" * 64): StoredTag(digest("built"), OLD),
            "latest": StoredTag(digest("built"), OLD),
            "stable": StoredTag(digest("named by tag"), OLD),
        },
    )
    user = stored(
        "Deployment",
        "apps/v1",
        "web",
        spec={
            "template": {
                "spec": {"containers": [{"name": "web", "image": f"{HOST}/shop/web:stable"}]}
            }
        },
    )

    decision = decide(facts([user], pushed, built), RULES)

    assert [entry.tag for entry in decision.tags] == ["latest", inputs_tag("a" * 64)]
    assert gone(decision) == {digest("built")}


def image_record(name: object, repository: str = f"{HOST}/shop/own") -> Resource:
    """Return the Image that a stream's tag has led to."""
    return stored(
        "Image",
        "image.openshift.io/v1",
        str(digest(name)),
        dockerImageReference=f"{repository}@{digest(name)}",
    )


def test_what_people_pushed_to_a_stream_goes_after_it_and_its_record_last() -> None:
    tags = {"v1": StoredTag(digest("pushed"), OLD), "v2": StoredTag(digest("fresh"), YOUNG)}
    own = repository("shop/own", manifest("pushed"), manifest("fresh"), tags=tags)
    record = image_record("pushed")
    objects = [record, image_record("fresh")]

    there = decide(facts([*objects, stream(name="own")], own), RULES)
    assert (there.tags, there.manifests, there.images) == ((), (), ())

    decision = decide(facts(objects, own), RULES)
    assert [(one.tag, one.reason) for one in decision.tags] == [
        ("v1", "its ImageStream does not exist any more")
    ]
    assert gone(decision) == {digest("pushed")}
    assert decision.images == (), "the record tells that there was a stream while the tag is there"

    del tags["v1"]
    later = decide(facts(objects, repository("shop/own", tags=tags)), RULES)
    assert later.images == (record,)


@pytest.mark.parametrize(
    "record",
    [
        image_record("another"),
        image_record("pushed", f"{HOST}/shop/other"),
        image_record("pushed", "quay.io/shop/own"),
    ],
)
def test_tags_without_a_record_that_there_was_a_stream_stay(record: Resource) -> None:
    """A database of before the pushes, which was put back, knows of no stream that they made."""
    tags = {"v1": StoredTag(digest("pushed"), OLD)}
    decision = decide(facts([record], repository("shop/own", manifest("pushed"), tags=tags)), RULES)
    assert (decision.tags, decision.manifests) == ((), ())


def test_the_tag_of_an_index_stands_for_it_alone() -> None:
    index = digest("index")
    assert index_of_tag(index_tag(index, AMD64) or "") == index
    assert index_tag(Digest.of(b"", "sha512"), AMD64) is None
    assert [index_of_tag(tag) for tag in ("latest", "index-", "index-abc")] == [None] * 3


def test_bytes_are_those_that_nothing_else_needs() -> None:
    shared, own, twice = (digest(name) for name in ("shared", "own", "twice"))
    web = repository(
        "shop/web",
        manifest("kept", blobs={shared: 1000}),
        manifest("one", blobs={shared: 1000, own: 200, twice: 30}),
        manifest("two", blobs={twice: 30}),
    )

    decision = decide(facts([deployment("kept")], web), RULES)

    assert sum(entry.freed for entry in decision.manifests) == 200 + 30 + 2 * 10


def test_image_records_go_with_their_images() -> None:
    kept = stored("Image", "image.openshift.io/v1", str(digest("kept")))
    fresh = stored("Image", "image.openshift.io/v1", str(digest("fresh")), created=YOUNG)
    stale = stored("Image", "image.openshift.io/v1", str(digest("stale")))

    decision = decide(facts([kept, fresh, stale, deployment("kept")]), RULES)

    assert decision.images == (stale,)


@dataclass(frozen=True)
class RandomImageGraph:
    """A random graph: images 0 to n-1, what each is made of, and who names which."""

    parts: dict[int, set[int]]
    subjects: dict[int, int]
    ages: list[bool]
    named: set[int]
    running: set[int]
    history: list[int]
    tagged: set[int]
    inputs: set[int]

    def reachable(self) -> set[int]:
        """An independent account of what must stay."""
        roots = self.named | self.running | self.tagged | set(self.history[:3])
        roots |= {at for at, old in enumerate(self.ages) if not old}
        found: set[int] = set()
        waiting = list(roots)
        while waiting:
            at = waiting.pop()
            if at in found:
                continue
            found.add(at)
            waiting += self.parts.get(at, set())
            waiting += [one for one, subject in self.subjects.items() if subject == at]
        return found

    def facts(self) -> RetentionFacts:
        manifests = [
            manifest(
                at,
                OLD if old else YOUNG,
                children=frozenset(digest(part) for part in self.parts.get(at, ())),
                subject=digest(self.subjects[at]) if at in self.subjects else None,
                blobs={digest(f"layer {at % 3}"): 5},
            )
            for at, old in enumerate(self.ages)
        ]
        tags = {f"v{at}": StoredTag(digest(at), OLD) for at in self.tagged}
        tags |= {inputs_tag(f"{at:064x}"): StoredTag(digest(at), OLD) for at in self.inputs}
        objects = [stream(*self.history), deployment(*self.named)]
        found = facts(objects, repository("shop/web", *manifests, tags=tags))
        return replace(found, running={digest(at): f"web-{at}" for at in self.running})


@st.composite
def worlds(draw: st.DrawFn) -> RandomImageGraph:
    count = draw(st.integers(1, 10))
    image = st.integers(0, count - 1)
    some = st.sets(image, max_size=3)
    return RandomImageGraph(
        parts=draw(st.dictionaries(image, some, max_size=4)),
        subjects=draw(st.dictionaries(image, image, max_size=3)),
        ages=draw(st.lists(st.booleans(), min_size=count, max_size=count)),
        named=draw(some),
        running=draw(some),
        history=draw(st.lists(image, max_size=8, unique=True)),
        tagged=draw(some),
        inputs=draw(some),
    )


@given(worlds())
def test_nothing_that_can_be_reached_goes_and_all_else_does(image_graph: RandomImageGraph) -> None:
    decision = decide(image_graph.facts(), RULES)

    everything = {digest(at) for at in range(len(image_graph.ages))}
    assert gone(decision) == everything - {digest(at) for at in image_graph.reachable()}


@given(worlds())
def test_what_a_decision_leaves_lacks_nothing_and_is_left_by_the_next(
    image_graph: RandomImageGraph,
) -> None:
    found = image_graph.facts()
    decision = decide(found, RULES)
    [web] = found.repositories
    stale_tags = {entry.tag for entry in decision.tags}
    left = StoredRepository(
        web.name,
        {name: tag for name, tag in web.tags.items() if name not in stale_tags},
        [entry for entry in web.manifests if entry.digest not in gone(decision)],
    )

    present = {entry.digest for entry in left.manifests}
    assert all(entry.children <= present for entry in left.manifests)
    assert all(tag.digest in present for tag in left.tags.values())
    again = decide(replace(found, repositories=[left]), RULES)
    assert not again.tags
    assert not again.manifests
