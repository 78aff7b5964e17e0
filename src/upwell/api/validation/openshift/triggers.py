"""Rules of the triggers of a BuildConfig."""

from collections.abc import Iterator

from upwell.api.builds.config import BuildConfig, BuildTriggerPolicy, WebHookTrigger
from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.meta import ObjectReference
from upwell.api.validation.openshift.references import image_faults
from upwell.api.values.faults import Fault

_PATH = "spec.triggers"
_WEBHOOKS = ("GitHub", "GitLab", "Bitbucket", "Generic")


def trigger_faults(config: BuildConfig) -> Iterator[Fault]:
    """Yield everything that is wrong with the triggers."""
    followed: set[tuple[str, str]] = set()
    for at, trigger in enumerate(config.spec.triggers):
        path = f"{_PATH}[{at}]"
        if trigger.type in _WEBHOOKS:
            yield from _webhook(trigger.webhook, trigger.type, f"{path}.{trigger.type.lower()}")
        if trigger.type != "ImageChange":
            continue
        yield from _image_change(trigger, config, f"{path}.imageChange")
        reference = _followed(trigger, config)
        if reference is None:
            continue
        key = (reference.namespace or config.namespace, reference.name)
        if key in followed:
            why = "multiple ImageChange triggers refer to the same image stream tag"
            yield Fault.invalid(f"{path}.imageChange.from", reference.name, why)
        followed.add(key)


def _webhook(hook: WebHookTrigger | None, kind: str, path: str) -> Iterator[Fault]:
    if hook is None:
        yield Fault.required(path)
        return
    reference = hook.secret_reference
    if reference is not None and not reference.name:
        yield Fault.required(f"{path}.secretReference.name")
    elif not hook.secret and reference is None:
        why = "must provide a value for at least one of secret or secretReference"
        yield Fault.invalid(path, "", why)
    if hook.allow_env and kind != "Generic":
        yield Fault.invalid(
            f"{path}.allowEnv", value=True, detail="git webhooks cannot allow env vars"
        )


def _image_change(trigger: BuildTriggerPolicy, config: BuildConfig, path: str) -> Iterator[Fault]:
    given = trigger.image_change.from_ if trigger.image_change is not None else None
    if given is None:
        base = config.spec.strategy.base
        if base is None or base.kind != IMAGE_STREAM_TAG:
            why = (
                "a default ImageChange trigger can only be used when the build strategy includes "
                "an ImageStreamTag reference."
            )
            yield Fault.invalid(path, "", why)
    elif given.kind != IMAGE_STREAM_TAG:
        why = "only an ImageStreamTag type of reference is allowed in an ImageChange trigger."
        yield Fault.invalid(f"{path}.from.kind", given.kind, why)
    else:
        yield from image_faults(given, f"{path}.from")


def _followed(trigger: BuildTriggerPolicy, config: BuildConfig) -> ObjectReference | None:
    if trigger.image_change is not None and trigger.image_change.from_ is not None:
        return trigger.image_change.from_
    return config.spec.strategy.base
