"""Every field that looks as if it held a secret is write-only, or is here with the reason."""

import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from upwell.api.codec import RESOURCES
from upwell.api.meta import LocalReference, Resource
from upwell.api.write_only.fields import WriteOnly
from upwell.api.write_only.hidden import write_only_fields

_SMELLS = re.compile(
    r"secret|token|passw|credential|private|(?:^|_)keys?$|headers|url$|uri$|proxy$"
)
_NAMES = "names a Secret, or a key of one"
REASONS = {
    "ServiceAccount.secrets": _NAMES,
    "ServiceAccount.automount_service_account_token": "is a wish",
    "IngressTLS.secret_name": _NAMES,
    "KeySelector.key": _NAMES,
    "KubeconfigAccess.secret_ref": _NAMES,
    "KubeconfigSecretReference.key": _NAMES,
    "KeyToPath.key": _NAMES,
    "SecretVolume.secret_name": _NAMES,
    "SelectorRequirement.key": "names a label",
    "Volume.secret": _NAMES,
    "BuildVolumeSource.secret": _NAMES,
    "ProjectedSource.secret": _NAMES,
    "ProjectedSource.service_account_token": "asks for a token that the instance alone is given",
    "PodSpec.automount_service_account_token": "says yes or no",
    "EnvVarSource.secret_key_ref": _NAMES,
    "EnvFromSource.secret_ref": _NAMES,
    "BuildSource.secrets": _NAMES,
    "CustomBuildStrategy.secrets": _NAMES,
    "TokenReviewSpec.token": "is asked about, and neither kept nor answered",
    "WebHookCause.secret": "is never the secret itself",
    "RootOfTrust.public_key": "has public keys",
    "FulcioSubject.signed_uri": "names whose signature counts",
    "GitTarget.keys": "says where in the files of a repository the images stand",
    "HttpGetAction.http_headers": "is shown as in Kubernetes: a probe's credentials come by env",
    "GitBuildSource.no_proxy": "lists hosts",
    "Evidence.url": "is a link that a CI gives for people to open",
}


def models_of(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """Yield a model and all models in it."""
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for part in _parts(field.annotation):
            yield from models_of(part, seen)


def _parts(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _parts(part)


def undeclared(kinds: tuple[type[Resource], ...]) -> list[str]:
    """Return the fields whose names smell of secrets and that say nothing about it."""
    seen: set[type[BaseModel]] = set()
    found = []
    for kind in kinds:
        for model in models_of(kind, seen):
            declared = {one.name for one in write_only_fields(model) if one.rule is not None}
            for name, field in model.model_fields.items():
                if not _SMELLS.search(name) or name in declared:
                    continue
                if LocalReference in set(_parts(field.annotation)):
                    continue  # names a Secret
                found.append(f"{model.__name__}.{name}")
    return sorted(found)


def test_every_field_that_smells_of_a_secret_is_declared_or_has_a_reason() -> None:
    assert undeclared(RESOURCES) == sorted(REASONS)


def test_a_field_without_a_declaration_is_found() -> None:
    class Leaky(Resource):
        access_token: str = ""

    assert undeclared((Leaky,)) == ["Leaky.access_token"]


@pytest.mark.parametrize("kind", RESOURCES, ids=lambda kind: kind.KIND.kind)
def test_declarations_are_found_wherever_the_model_stands(kind: type[Resource]) -> None:
    inside = [model for model in models_of(kind, set()) if _declares(model)]
    assert bool(inside) == bool(write_only_fields(kind))


def _declares(model: type[BaseModel]) -> bool:
    return any(
        isinstance(rule, WriteOnly)
        for field in model.model_fields.values()
        for rule in _metadata(field.annotation, field.metadata)
    )


def _metadata(annotation: object, found: list[object]) -> Iterator[object]:
    yield from found
    yield from getattr(annotation, "__metadata__", ())
    for part in getattr(annotation, "__args__", ()):
        yield from _metadata(part, [])
