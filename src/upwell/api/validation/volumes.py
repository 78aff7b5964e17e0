"""Rules of the volumes of a Pod template that show what the server knows: tokens, and fields."""

from collections.abc import Iterator

from upwell.api.core import PodTemplate, ProjectedFields, TokenProjection
from upwell.api.values.faults import Fault

_SHORTEST = 600
"""Seconds of a token's life, as in Kubernetes: it has to be made anew in time."""
_MAX_AUDIENCE = 256
_MAX_TOKENS = 32
"""Of a template: each is signed, written and noted anew again and again, for every instance."""


def volume_faults(template: PodTemplate, path: str) -> Iterator[Fault]:
    """Yield what is wrong with such volumes of a template, which stands at `path`."""
    automount = template.spec.automount_service_account_token
    if automount is not None and not isinstance(automount, bool):
        yield Fault(f"{path}.spec.automountServiceAccountToken", "expected true or false")
    if _number_of_tokens(template) > _MAX_TOKENS:
        yield Fault(f"{path}.spec.volumes", f"more than {_MAX_TOKENS} serviceAccountTokens")
    for at, volume in enumerate(template.spec.volumes):
        where = f"{path}.spec.volumes[{at}]"
        yield from _downward(volume.downward_api, f"{where}.downwardAPI")
        for number, source in enumerate(volume.projected.sources if volume.projected else ()):
            place = f"{where}.projected.sources[{number}]"
            yield from _downward(source.downward_api, f"{place}.downwardAPI")
            if source.service_account_token is not None:
                yield from _token(source.service_account_token, f"{place}.serviceAccountToken")


def is_below(path: str) -> bool:
    """Return True for a path that stays in the volume that it is relative to."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\0" not in path


def _number_of_tokens(template: PodTemplate) -> int:
    return sum(
        source.service_account_token is not None
        for volume in template.spec.volumes
        for source in (volume.projected.sources if volume.projected else ())
    )


def _token(token: TokenProjection, path: str) -> Iterator[Fault]:
    if not is_below(token.path):
        yield Fault(f"{path}.path", "a path in the volume is needed")
    if token.expiration_seconds < _SHORTEST:
        yield Fault(f"{path}.expirationSeconds", f"at least {_SHORTEST}")
    if len(token.audience) > _MAX_AUDIENCE:
        yield Fault(f"{path}.audience", f"at most {_MAX_AUDIENCE} characters")


def _downward(volume: ProjectedFields | None, path: str) -> Iterator[Fault]:
    for at, item in enumerate(volume.items if volume is not None else ()):
        if not is_below(item.path):
            yield Fault(f"{path}.items[{at}].path", "a path in the volume is needed")
        if item.field_ref is None:
            why = "fieldRef is needed; resourceFieldRef is not supported"
            yield Fault(f"{path}.items[{at}].fieldRef", why)
