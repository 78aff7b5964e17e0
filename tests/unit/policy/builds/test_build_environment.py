"""Variables of builds: which are of the image, and which of commands alone."""

import pytest
from tests.support.builds.memory_builds import docker_build

from upwell.api.pod_template import EnvVar
from upwell.policy.builds.environment import (
    Environment,
    UnresolvableEnvironmentError,
    resolve_environment,
)
from upwell.policy.rollouts.pod_template import CONFIG_MAP, SECRET, SourceName

VALUES = {
    SourceName(SECRET, "keys"): {"token": b"hidden", "empty": b"", "nul": b"hid\0den"},
    SourceName(CONFIG_MAP, "modes"): {"mode": b"fast"},
}


def secret(name: str, key: str = "token", *, optional: bool = False) -> EnvVar:
    selector = {"name": "keys", "key": key, "optional": optional}
    return EnvVar.model_validate({"name": name, "valueFrom": {"secretKeyRef": selector}})


def plain(name: str, value: str) -> EnvVar:
    return EnvVar(name=name, value=value)


def resolved(*variables: EnvVar) -> Environment:
    return resolve_environment(variables, VALUES, docker_build())


def test_what_comes_from_a_secret_is_secret_and_the_rest_is_plain() -> None:
    mode = {"configMapKeyRef": {"name": "modes", "key": "mode"}}
    field = {"fieldRef": {"fieldPath": "metadata.name"}}
    found = resolved(
        plain("A", "1"),
        secret("TOKEN"),
        EnvVar.model_validate({"name": "MODE", "valueFrom": mode}),
        EnvVar.model_validate({"name": "NAME", "valueFrom": field}),
    )
    assert found.plain == (("A", "1"), ("MODE", "fast"), ("NAME", "app-1"))
    assert found.secret == (("TOKEN", "hidden"),)
    assert "hidden" not in repr(found)


def test_what_is_made_of_a_secret_is_secret_however_far_away() -> None:
    found = resolved(
        secret("TOKEN"),
        plain("URL", "https://x:$(TOKEN)@host"),
        plain("AGAIN", "$(URL)/a"),
        plain("LITERAL", "$$(TOKEN)"),
        secret("EMPTY", "empty"),
        plain("OF_EMPTY", "a$(EMPTY)"),
    )
    assert found.plain == (("LITERAL", "$(TOKEN)"),)
    assert dict(found.secret) == {
        "TOKEN": "hidden",
        "URL": "https://x:hidden@host",
        "AGAIN": "https://x:hidden@host/a",
        "EMPTY": "",
        "OF_EMPTY": "a",
    }


def test_the_last_of_a_name_says_what_it_is() -> None:
    assert resolved(secret("A"), plain("A", "1")) == Environment((("A", "1"),))
    assert resolved(plain("A", "1"), secret("A")) == Environment((), (("A", "hidden"),))
    assert resolved(secret("A"), plain("A", "$(A)")).plain == ()
    assert resolved(plain("A", "1"), secret("A", "none", optional=True)).plain == (("A", "1"),)


def test_a_value_that_no_process_can_have_is_refused_without_showing_it() -> None:
    with pytest.raises(UnresolvableEnvironmentError, match=r"variable A: .* NUL") as caught:
        resolved(secret("A", "nul"))
    assert "hid" not in str(caught.value)
