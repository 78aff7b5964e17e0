from upwell.api.builds.build import BuildSpec
from upwell.api.builds.inputs import (
    BuildOutput,
    BuildSource,
    BuildStrategy,
    DockerBuildStrategy,
    GitBuildSource,
    ImageLabel,
    SourceBuildStrategy,
)
from upwell.api.meta import LocalReference, ObjectReference
from upwell.api.pod_template import EnvVar
from upwell.policy.builds.identity import inputs_hash, inputs_tag

IMAGES = {"builder": f"registry.example/builder@sha256:{'a' * 64}"}


def spec(ref: str = "main", env: str = "1", pull_secret: str | None = None) -> BuildSpec:
    return BuildSpec(
        source=BuildSource(git=GitBuildSource(uri="https://git.example/app.git", ref=ref)),
        strategy=BuildStrategy(
            source_strategy=SourceBuildStrategy(
                from_=ObjectReference(kind="DockerImage", name=IMAGES["builder"]),
                env=(EnvVar(name="MODE", value=env),),
                pull_secret=LocalReference(name=pull_secret) if pull_secret else None,
            )
        ),
    )


def test_equal_inputs_have_one_identity() -> None:
    assert inputs_hash(spec(), "abc", IMAGES) == inputs_hash(spec(), "abc", dict(IMAGES))


def test_what_does_not_reach_the_image_does_not_count() -> None:
    moved = {"builder": IMAGES["builder"].replace("registry.example", "mirror.example")}
    first = inputs_hash(spec("main"), "abc", IMAGES)
    assert first == inputs_hash(spec("release"), "abc", IMAGES)
    assert first == inputs_hash(spec(pull_secret="login"), "abc", IMAGES)
    assert first == inputs_hash(spec(), "abc", moved)


def test_every_input_counts() -> None:
    labelled = spec().model_copy(
        update={"output": BuildOutput(image_labels=(ImageLabel(name="team", value="web"),))}
    )
    newer = {"builder": f"registry.example/builder@sha256:{'b' * 64}"}
    hashes = {
        inputs_hash(spec(), "abc", IMAGES),
        inputs_hash(spec(), "abd", IMAGES),
        inputs_hash(spec(env="2"), "abc", IMAGES),
        inputs_hash(spec(), "abc", newer),
        inputs_hash(labelled, "abc", IMAGES),
    }
    assert len(hashes) == 5


def test_results_of_the_time_when_secrets_were_in_the_image_are_not_taken_again() -> None:
    source = {"secretKeyRef": {"name": "keys", "key": "token"}}
    variable = EnvVar.model_validate({"name": "TOKEN", "valueFrom": source})
    strategy = BuildStrategy(docker_strategy=DockerBuildStrategy(build_args=(variable,)))
    then = "fae57b775a74814d89bfcbe7b3efc57c7e26523e5e64d991aceda6aa3ba66a4a"
    assert inputs_hash(BuildSpec(strategy=strategy), "abc", IMAGES) != then


def test_the_tag_of_inputs_is_short_enough_for_any_registry() -> None:
    tag = inputs_tag(inputs_hash(spec(), "abc", IMAGES))
    assert tag.startswith("inputs-")
    assert len(tag) < 128
