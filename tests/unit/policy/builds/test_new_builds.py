from typing import Any

import pytest

from upwell.api.builds.build import Build, BuildPhase, BuildRequest, BuildStatus, BuildTriggerCause
from upwell.api.builds.config import HOST_NETWORK_ANNOTATION, BuildConfig, BuildConfigStatus
from upwell.api.builds.inputs import GitSourceRevision, SourceRevision
from upwell.api.codec import decode
from upwell.api.defaults import apply_defaults
from upwell.api.image import ImageStream
from upwell.api.values.author import (
    author_of,
    content_authors_of,
    made_of_uid,
    with_author,
    with_content_authors,
)
from upwell.policy.builds.failures import MESSAGES, NOT_REBASED, status_message, status_reason
from upwell.policy.builds.input_analysis import build_warnings, missing_inputs
from upwell.policy.builds.new_build import (
    BuildStart,
    Earlier,
    UnresolvedInputError,
    clone_build,
    last_binary_input,
    new_build,
    unsupported_options,
)
from upwell.policy.images.streams import StreamName

OLD = f"sha256:{'1' * 64}"
NEW = f"sha256:{'2' * 64}"
START = BuildStart((BuildTriggerCause(message="asked"),))


def config(**spec: Any) -> BuildConfig:
    document = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": "app", "namespace": "shop", "uid": "u1", "labels": {"team": "a"}},
        "spec": {
            "source": {"git": {"uri": "https://git.example/app"}},
            "strategy": {"dockerStrategy": {"from": {"name": "base:1"}}},
            "output": {"to": {"name": "app:latest"}},
            **spec,
        },
    }
    found = apply_defaults(decode(document))
    assert isinstance(found, BuildConfig)
    return found


def streams(*names: str) -> dict[StreamName, ImageStream]:
    found = {}
    for name in names:
        items = [
            {"dockerImageReference": f"vendor.example/{name}@{digest}", "image": digest}
            for digest in (NEW, OLD)
        ]
        document = {
            "apiVersion": "image.openshift.io/v1",
            "kind": "ImageStream",
            "metadata": {"name": name, "namespace": "shop"},
            "status": {"tags": [{"tag": "1", "items": items}]},
        }
        for item in items:
            item["created"] = "2024-01-01T00:00:00Z"
        stream = decode(document)
        assert isinstance(stream, ImageStream)
        found[StreamName("shop", name)] = stream
    return found


def request(**fields: Any) -> BuildStart:
    return BuildStart(START.causes, BuildRequest.model_validate(fields, strict=False))


def test_a_build_freezes_its_policy_number_and_base() -> None:
    made = new_build(config(runPolicy="Parallel"), streams("base"), Earlier(), (), START)

    assert made.name == "app-1"
    assert made.labels["openshift.io/build.start-policy"] == "Parallel"
    assert made.labels["team"] == "a"
    assert made.spec.strategy.base is not None
    assert made.spec.strategy.base.name == f"vendor.example/base@{NEW}"


def test_a_build_asks_for_the_machines_network_as_its_config_does() -> None:
    wish = {HOST_NETWORK_ANNOTATION: "true", "other": "x"}
    asking = config().with_metadata(annotations=wish)
    build = new_build(asking, streams("base"), Earlier(), (), START)
    plain = new_build(config(), streams("base"), Earlier(), (), START)
    assert build.annotations[HOST_NETWORK_ANNOTATION] == "true"
    assert "other" not in build.annotations
    assert HOST_NETWORK_ANNOTATION not in plain.annotations


def uploaded(number: int, digest: str, author: str, *others: str) -> Build:
    document = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "Build",
        "metadata": {
            "name": f"app-{number}",
            "namespace": "shop",
            "annotations": {"openshift.io/build.number": str(number)},
        },
        "spec": {"source": {"binary": {"digest": digest}}},
    }
    found = decode(document)
    assert isinstance(found, Build)
    return with_content_authors(with_author(found, author), others)


def test_later_builds_of_an_upload_have_those_who_stand_for_it() -> None:
    of_uploads = with_author(config(source={"binary": {}}), "ann")
    by_ci = Earlier([uploaded(1, OLD, "ann", "ci")])
    made = new_build(of_uploads, streams("base"), by_ci, (), START)
    assert (author_of(made), content_authors_of(made)) == ("ann", ("ci",))

    remembered = last_binary_input(of_uploads, by_ci.builds)
    status = of_uploads.status.model_copy(update={"binary_input": remembered})
    made = new_build(of_uploads.with_status(status), streams("base"), Earlier(), (), START)
    assert content_authors_of(made) == ("ci",)

    # A Build that a client has written itself counts as an upload of theirs.
    by_hand = Earlier([uploaded(1, OLD, "ann", "ci"), uploaded(2, NEW, "eve")])
    made = new_build(of_uploads, streams("base"), by_hand, (), START)
    assert content_authors_of(made) == ("eve",)


def test_a_build_has_all_who_decide_about_it_and_a_clone_too() -> None:
    changed = with_content_authors(with_author(config(), "ann"), ["eve"])
    deciding = BuildStart(START.causes, decided_by="ci")
    made = new_build(changed, streams("base"), Earlier(), (), deciding)
    assert (author_of(made), content_authors_of(made)) == ("ann", ("eve", "ci"))
    again = BuildStart(START.causes, decided_by="bob")
    cloned = clone_build(made, changed, Earlier(), again)
    assert (author_of(cloned), content_authors_of(cloned)) == ("ann", ("eve", "ci", "bob"))


def test_a_build_says_which_buildconfig_it_is_made_of_and_a_clone_too() -> None:
    asked = config().with_metadata(uid="c1")
    made = new_build(asked, streams("base"), Earlier(), (), START)
    assert made_of_uid(made) == "c1"
    assert made_of_uid(clone_build(made, None, Earlier(), START)) == "c1"
    by_hand = made.with_metadata(annotations={})  # it names the BuildConfig as its owner
    assert made_of_uid(clone_build(by_hand, asked, Earlier(), START)) == ""


def test_a_name_that_is_taken_is_passed_over() -> None:
    earlier = Earlier(names=frozenset({"app-1", "app-2", "app-4"}))
    assert new_build(config(), streams("base"), earlier, (), START).name == "app-3"


def test_an_image_of_a_streams_history_can_be_the_base() -> None:
    base = {"kind": "ImageStreamImage", "name": f"base@{OLD}"}
    asked = config(strategy={"dockerStrategy": {"from": base}})
    made = new_build(asked, streams("base"), Earlier(), (), START)
    assert made.spec.strategy.base is not None
    assert made.spec.strategy.base.name == f"vendor.example/base@{OLD}"

    gone = {"kind": "ImageStreamImage", "name": f"base@sha256:{'9' * 64}"}
    with pytest.raises(UnresolvedInputError, match="not in the stream's history"):
        new_build(
            config(strategy={"dockerStrategy": {"from": gone}}),
            streams("base"),
            Earlier(),
            (),
            START,
        )


def test_a_request_changes_variables_arguments_and_options() -> None:
    strategy = {
        "dockerStrategy": {
            "from": {"name": "base:1"},
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}],
            "buildArgs": [{"name": "X", "value": "1"}],
        }
    }
    start = request(
        env=[{"name": "B", "value": "2"}, {"name": "C", "value": "3"}],
        dockerStrategyOptions={"buildArgs": [{"name": "X", "value": "2"}], "noCache": True},
        sourceStrategyOptions={"incremental": True},
    )
    made = new_build(config(strategy=strategy), streams("base"), Earlier(), (), start)

    docker = made.spec.strategy.docker_strategy
    assert docker is not None
    assert [(v.name, v.value) for v in docker.env] == [("A", "1"), ("B", "2"), ("C", "3")]
    assert [(v.name, v.value) for v in docker.build_args] == [("X", "2")]
    assert docker.no_cache is True
    assert made.spec.strategy.source_strategy is None


def test_what_is_asked_for_in_vain_is_named() -> None:
    options = request(
        revision={"git": {"commit": "abc"}},
        dockerStrategyOptions={"noCache": True},
        sourceStrategyOptions={"incremental": True},
    )
    of_git = config().spec
    assert unsupported_options(of_git, options.request) == ("incremental needs sourceStrategy",)
    source = {"sourceStrategy": {"from": {"name": "base:1"}}}
    uploaded = config(source={"binary": {}}, strategy=source).spec
    assert unsupported_options(uploaded, options.request) == (
        "a commit needs spec.source.git",
        "build arguments and noCache need dockerStrategy",
    )


def test_a_build_is_made_again_from_its_own_inputs() -> None:
    asked = config()
    first = new_build(asked, streams("base"), Earlier(), (), START)
    done = {"revision": SourceRevision.of_git(GitSourceRevision(commit="abc"))}
    first = first.with_status(first.status.model_copy(update=done))
    again = clone_build(first, asked, Earlier((first,), frozenset({"app-1"})), START)

    assert again.name == "app-2"
    assert again.spec.strategy == first.spec.strategy
    assert again.spec.revision == done["revision"]
    assert again.spec.forced is True
    assert again.status.phase == "New"
    alone = clone_build(first, None, Earlier(names=frozenset({"app-1-1"})), START)
    assert alone.name == "app-1-2", "its BuildConfig is gone"


def test_the_newest_upload_counts() -> None:
    def uploaded(number: int, digest: str) -> Build:
        start = request(binary={"digest": digest})
        made = new_build(config(), streams("base"), Earlier(), (), start)
        notes = {**made.annotations, "openshift.io/build.number": str(number)}
        return made.with_metadata(name=f"app-{number}", annotations=notes)

    plain = new_build(config(), streams("base"), Earlier(), (), START)
    found = last_binary_input(config(), [uploaded(2, OLD), uploaded(3, NEW), plain])
    assert found is not None
    assert (found.digest, found.build) == (NEW, "app-3")
    assert last_binary_input(config(), [plain]) is None


@pytest.mark.parametrize("status", [{"cancelled": True}, {"phase": "Cancelled"}])
def test_an_upload_of_a_cancelled_build_is_not_used_again(status: dict[str, Any]) -> None:
    kept, dropped = uploaded(2, OLD, "ada"), uploaded(3, NEW, "ada")
    remembering = config().model_copy(
        update={"status": BuildConfigStatus(binary_input=last_binary_input(config(), [dropped]))}
    )
    dropped = dropped.with_status(BuildStatus.model_validate(status))

    found = last_binary_input(remembering, [kept, dropped])
    assert found is not None
    assert (found.digest, found.build) == (OLD, "app-2")
    assert last_binary_input(remembering, [dropped]) is None


def test_an_upload_of_a_build_that_could_not_be_rebased_is_used_again() -> None:
    only = uploaded(3, NEW, "ada")
    remembering = config().model_copy(
        update={"status": BuildConfigStatus(binary_input=last_binary_input(config(), [only]))}
    )
    ended = BuildStatus(phase=BuildPhase.CANCELLED, reason=NOT_REBASED)

    found = last_binary_input(remembering, [only.with_status(ended)])
    assert found is not None
    assert (found.digest, found.build) == (NEW, "app-3")


def test_everything_that_is_missing_is_named() -> None:
    images = [{"from": {"name": "tools:1"}, "paths": []}]
    asked = config(source={"dockerfile": "FROM x", "images": images})
    assert missing_inputs(asked, streams("base", "tools", "app")) == []
    assert missing_inputs(asked, streams()) == [
        "ImageStreamTag shop/base:1 does not exist: apply its ImageStream",
        "ImageStreamTag shop/tools:1 does not exist: apply its ImageStream",
        "output ImageStream shop/app does not exist: create it",
    ]


@pytest.mark.parametrize(
    ("change", "warned"),
    [
        ({}, False),
        ({"from": {"kind": "ImageStreamTag", "name": "app:latest"}}, True),
        ({"from": {"kind": "ImageStreamTag", "name": "app:latest", "namespace": "shop"}}, True),
        ({"from": {"kind": "ImageStreamTag", "name": "app:latest", "namespace": "x"}}, False),
    ],
)
def test_a_trigger_on_the_own_output_is_warned_of(change: dict[str, Any], *, warned: bool) -> None:
    asked = config(triggers=[{"type": "ImageChange", "imageChange": change}])
    assert bool(list(build_warnings(asked))) == warned


def test_openshifts_sentence_comes_first_and_once() -> None:
    assert status_message("FetchSourceFailed", "no host") == (
        "Failed to fetch the input source. no host"
    )
    whole = "Failed pulling builder image. 404"
    assert status_message("PullBuilderImageFailed", whole) == whole
    cut = "Dockerfile build strategy has failed: RUN exit 1"
    assert status_message("DockerBuildFailed", cut) == (
        "Dockerfile build strategy has failed. RUN exit 1"
    )
    assert status_message("CancelledBuild", "") == MESSAGES["CancelledBuild"]
    assert status_message("OurOwn", "why") == "why"
    assert status_reason("PostCommitHookFailed") == "GenericBuildFailed"
    assert status_reason("FetchSourceFailed") == "FetchSourceFailed"
