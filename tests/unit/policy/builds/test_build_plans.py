"""The plan of a build out of what was read for it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import docker_build

from upwell.api.builds.build import Build, ResolvedImage
from upwell.api.builds.inputs import BuildStrategy
from upwell.api.meta import ObjectReference, OwnerReference
from upwell.api.values.author import with_made_of_uid
from upwell.builder.interface import BuildError, BuildLimits, Checkout
from upwell.git.interface import CommitInfo, GitSource
from upwell.oci import Digest, Reference
from upwell.policy.builds.images import FINAL_IMAGE, BuildImages
from upwell.policy.builds.objects import ObjectContent, Objects
from upwell.policy.builds.plan import (
    BuildDefaults,
    FetchedSource,
    ResolvedInputs,
    plan_build,
    push_reference,
    result_replaced,
    with_copies,
)
from upwell.policy.rollouts.pod_template import CONFIG_MAP, SECRET, SourceName

OLD, NEW = Digest.of(b"old"), Digest.of(b"new")
BASE = Reference.parse(f"vendor.example/debian@{OLD}")
TOOLS = Reference.parse(f"vendor.example/tools@{NEW}")
KEYS, MODES = SourceName(SECRET, "keys"), SourceName(CONFIG_MAP, "modes")


def inputs(
    *images: ResolvedImage,
    source: FetchedSource | None = None,
    objects: Objects | None = None,
    made: Digest | None = None,
    replaces: str | None = None,
) -> ResolvedInputs:
    return ResolvedInputs(
        source or FetchedSource(),
        BuildImages(images),
        objects or {},
        "f" * 64,
        None,
        made,
        replaces,
    )


def content(**values: str) -> ObjectContent:
    return ObjectContent({key: value.encode() for key, value in values.items()}, "1")


def image(name: str, reference: Reference, *, final: bool = False) -> ResolvedImage:
    return ResolvedImage(name=name, reference=str(reference), final=final or None)


def test_a_plan_names_the_images_as_they_are_pinned() -> None:
    build = docker_build(
        source={"images": ({"from": {"kind": "DockerImage", "name": "t"}, "as": ("tools",)},)}
    )
    images = (
        image("debian", BASE, final=True),
        image(FINAL_IMAGE, BASE),
        image("spec.source.images[0]", TOOLS),
    )
    plan = plan_build(build, inputs(*images), BuildDefaults())
    assert plan.images == {"debian": BASE}
    assert plan.final_image == BASE
    assert (plan.source_images[0].reference, plan.source_images[0].as_names) == (TOOLS, ("tools",))
    assert plan.base_digest == str(OLD)


def test_a_custom_builder_reads_no_password_of_a_url() -> None:
    git = {"uri": "https://bot:hush-1@h/x.git", "httpsProxy": "http://me:hush-2@proxy:3128"}
    build = docker_build(source={"git": git})
    strategy = BuildStrategy.model_validate(
        {"customStrategy": {"from": {"kind": "DockerImage", "name": "t"}}}
    )
    build = build.model_copy(update={"spec": build.spec.model_copy(update={"strategy": strategy})})
    plan = plan_build(build, inputs(image(FINAL_IMAGE, BASE)), BuildDefaults())
    read = json.loads(plan.build_document)
    assert read["spec"]["source"]["git"]["uri"] == "https://***@h/x.git"
    assert "hush" not in plan.build_document
    assert read["metadata"]["name"] == build.name


def test_copies_take_the_place_of_every_image() -> None:
    build = docker_build(source={"images": ({"from": {"kind": "DockerImage", "name": "t"}},)})
    images = (image("debian", BASE), image("spec.source.images[0]", TOOLS))
    plan = plan_build(build, inputs(*images, image(FINAL_IMAGE, TOOLS)), BuildDefaults())
    here, there = Reference.parse(f"own/a@{OLD}"), Reference.parse(f"own/b@{NEW}")
    copied = with_copies(plan, {BASE: here, TOOLS: there})
    assert copied.images == {"debian": here}
    assert copied.source_images[0].reference == there
    assert copied.final_image == there


def test_the_commit_is_told_by_labels_and_variables_and_no_empty_one() -> None:
    build = docker_build(source={"git": {"uri": "https://h/x", "ref": "main"}})
    commit = CommitInfo("abc", "Ann", "ann@x.example", message="one\ntwo")
    source = FetchedSource(GitSource("https://h/x"), Checkout(Path("/tree"), commit), "FROM a\n")
    plan = plan_build(build, inputs(source=source), BuildDefaults())
    assert plan.context == Path("/tree")
    assert plan.labels["io.openshift.build.commit.message"] == "one"
    assert plan.labels["io.openshift.build.commit.author"] == "Ann <ann@x.example>"
    assert "io.openshift.build.source-context-dir" not in plan.labels
    assert dict(plan.build_env)["OPENSHIFT_BUILD_COMMIT"] == "abc"
    revision = inputs(source=source).revision
    assert revision is not None
    assert (revision.commit, revision.git.author.email) == ("abc", "ann@x.example")


@pytest.mark.parametrize(
    "uri",
    [
        "https://ann:git-pass-1@h/x",
        "https://git-pass-1@h/x",
        "ssh://git:git-pass-1@h/x",
        "https://h/x?private_token=git-pass-1",
    ],
)
def test_no_credentials_of_the_source_stay_in_the_image(uri: str) -> None:
    build = docker_build(source={"git": {"uri": uri}})
    source = FetchedSource(GitSource(uri), None, "FROM a\n")
    plan = plan_build(build, inputs(source=source), BuildDefaults())
    variables, labels = dict(plan.build_env), plan.labels
    assert "git-pass-1" not in json.dumps([variables, dict(labels)])
    assert variables["OPENSHIFT_BUILD_SOURCE"] == labels["io.openshift.build.source-location"]
    assert variables["OPENSHIFT_BUILD_SOURCE"].partition("?")[0].endswith("h/x")


def test_what_secrets_hold_goes_into_the_plan_and_shows_nowhere() -> None:
    build = docker_build(
        source={
            "secrets": ({"secret": {"name": "keys"}, "destinationDir": "in"},),
            "configMaps": ({"configMap": {"name": "modes"}},),
        },
    )
    read = inputs(objects={KEYS: content(token="hidden-word"), MODES: content(mode="fast")})
    plan = plan_build(build, read, BuildDefaults())
    [keys, modes] = plan.inputs
    assert (keys.files, keys.destination_dir, keys.secret) == (
        {"token": b"hidden-word"},
        "in",
        True,
    )
    assert (modes.files, modes.secret) == ({"mode": b"fast"}, False)
    assert "hidden-word" not in repr(plan) + repr(read)


def test_an_object_that_went_meanwhile_is_waited_for() -> None:
    build = docker_build(source={"secrets": ({"secret": {"name": "keys"}},)})
    with pytest.raises(BuildError, match="Secret keys does not exist") as caught:
        plan_build(build, inputs(), BuildDefaults())
    assert caught.value.retryable


def test_limits_of_the_build_outrank_those_of_the_server() -> None:
    defaults = BuildDefaults(BuildLimits(memory_bytes=1, cpus=1.0, pids=7))
    build = docker_build(resources={"limits": {"memory": "1Ki"}})
    assert plan_build(build, inputs(), defaults).limits == BuildLimits(1024, 1.0, 7)


def test_a_deadline_of_the_build_outranks_the_servers() -> None:
    assert BuildDefaults().deadline(docker_build()) == 7200
    assert BuildDefaults().deadline(docker_build(completionDeadlineSeconds=5)) == 5


def forced(**status: object) -> Build:
    build = docker_build(forced=True)
    return build.with_status(build.status.model_copy(update=status))


@pytest.mark.parametrize(
    ("build", "made", "reused"),
    [
        (docker_build(), None, None),
        (docker_build(), OLD, OLD),
        (forced(), OLD, None),
        (forced(inputs="i", replaces=str(OLD)), OLD, None),
        (forced(inputs="i", replaces=str(OLD)), NEW, NEW),
        (forced(inputs="i", replaces=""), NEW, NEW),
        (forced(inputs="other", replaces=str(OLD)), NEW, None),
    ],
)
def test_a_forced_build_takes_what_its_own_earlier_try_has_pushed_and_nothing_else(
    build: Build, made: Digest | None, reused: Digest | None
) -> None:
    assert inputs(made=made, replaces=result_replaced(build, "i", made)).reusable == reused


def test_a_build_is_pushed_by_its_inputs_or_to_where_it_says() -> None:
    pushed = push_reference(docker_build(), "own:5000", "f" * 64)
    assert pushed is not None
    assert str(pushed).startswith("own:5000/shop/app:")
    assert pushed.tag is not None
    assert "f" * 40 in pushed.tag
    outside = ObjectReference(kind="DockerImage", name="other.example/app:1")
    build = docker_build(output={"to": outside.model_dump(exclude_unset=True)})
    assert str(push_reference(build, "own:5000", "f" * 64)) == "other.example/app:1"
    assert push_reference(docker_build(output={}), "own:5000", "f" * 64) is None


@pytest.mark.parametrize("tag", [f"inputs-{'0' * 40}", f"{str(OLD).replace(':', '-')}.sig"])
@pytest.mark.parametrize(
    ("kind", "prefix"), [("ImageStreamTag", "app"), ("DockerImage", "own:5000/shop/app")]
)
def test_no_output_stands_for_another_builds_result_or_for_a_signature(
    kind: str, prefix: str, tag: str
) -> None:
    build = docker_build(output={"to": {"kind": kind, "name": f"{prefix}:{tag}"}})
    with pytest.raises(BuildError, match="is set by the server alone"):
        push_reference(build, "own:5000", "f" * 64)


def variable(name: str, value: str = "") -> dict[str, object]:
    reference = {"secretKeyRef": {"name": "keys", "key": "token"}}
    return {"name": name, "value": value} if value else {"name": name, "valueFrom": reference}


def test_values_of_secrets_are_for_commands_alone_be_they_variables_or_arguments() -> None:
    docker = {
        "env": (variable("A"), variable("BOTH", "plain"), variable("URL", "x:$(A)@y")),
        "buildArgs": (variable("B"), variable("BOTH"), variable("C", "1")),
    }
    build = docker_build(strategy={"type": "Docker", "dockerStrategy": docker})
    plan = plan_build(build, inputs(objects={KEYS: content(token="hidden")}), BuildDefaults())
    assert dict(plan.secret_env) == {"A": "hidden", "URL": "x:hidden@y", "B": "hidden"}
    assert dict(plan.env)["BOTH"] == "plain"  # as ENV takes the place of ARG in a Dockerfile
    assert plan.build_args == (("C", "1"),)
    assert "hidden" not in repr(plan)


def test_what_commands_keep_belongs_to_the_buildconfig_and_to_no_later_one_of_its_name() -> None:
    def key(uid: str, **metadata: object) -> str:
        build = with_made_of_uid(docker_build().with_metadata(**metadata), uid)
        return plan_build(build, inputs(), BuildDefaults()).cache_key

    one = key("1")
    assert one
    assert one == key("1", name="app-2")
    assert one not in {key("2"), key("1", namespace="b")}
    assert key("") == ""


def test_steps_are_found_again_by_builds_of_the_same_buildconfig_alone() -> None:
    def scope(made_of: str = "", **metadata: object) -> str:
        build = with_made_of_uid(docker_build().with_metadata(**metadata), made_of)
        return plan_build(build, inputs(), BuildDefaults()).step_scope

    one = scope("1")
    assert one == scope("1", uid="another", name="app-2")
    alone = [scope(uid=uid, namespace=where) for uid, where in (("a", "x"), ("b", "x"), ("a", "y"))]
    assert len({one, scope("1", namespace="b"), *alone}) == 5
    assert all(alone)


def test_an_owner_that_the_build_names_itself_lends_it_nothing() -> None:
    owner = OwnerReference(api_version="v1", kind="BuildConfig", name="app", uid="1")
    forged = docker_build().with_metadata(owner_references=(owner,), uid="forged")
    plan = plan_build(forged, inputs(), BuildDefaults())
    assert (plan.cache_key, plan.step_scope) == ("", f"{forged.namespace}/forged")


def test_an_image_is_called_as_its_output_and_not_by_its_inputs() -> None:
    build = docker_build()
    pushed = push_reference(build, "own:5000", "f" * 64)
    plan = plan_build(build, replace(inputs(), push=pushed), BuildDefaults())
    assert plan.display_name == f"own:5000/{build.namespace}/app:latest"
    assert plan_build(docker_build(output={}), inputs(), BuildDefaults()).display_name == ""
