"""Preview of `import-image --dry-run`: the images that the registry has now."""

from collections.abc import Mapping, Sequence
from typing import Any

from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import ImageStreamImport
from upwell.cli.core.errors import CommandError
from upwell.cli.core.output import shortened
from upwell.cli.core.terminal import echo
from upwell.policy.images.streams import StreamTag
from upwell.store.interface import ApiClient


async def preview(
    client: ApiClient,
    named: StreamTag,
    tags: Sequence[Mapping[str, Any]],
    repository: str,
    *,
    insecure: bool,
) -> None:
    """Print the image that each tag would get; raises CommandError for one it cannot read."""
    policy = {"importPolicy": {"insecure": True}} if insecure else {}
    asked = [
        {"from": tag["from"], "to": {"name": tag["name"]}, **_policy_of(tag), **policy}
        for tag in tags
    ]
    spec: dict[str, Any] = {"import": False, "images": asked}
    if repository:
        spec["repository"] = {"from": {"kind": DOCKER_IMAGE, "name": repository}, **policy}
    document = {
        "apiVersion": ImageStreamImport.KIND.api_version,
        "kind": ImageStreamImport.KIND.kind,
        "metadata": {"name": named.stream, "namespace": named.namespace},
        "spec": spec,
    }
    answer = await client.call("POST", ImageStreamImport, named.namespace, "", "", document)
    status = answer.get("status") or {}
    whole = status.get("repository") or {}
    failures = []
    if (whole.get("status") or {}).get("status") == "Failure":
        failures.append(f"{repository}: {whole['status']['message']}")
    for image in [*(status.get("images") or ()), *(whole.get("images") or ())]:
        tag = f"{named.stream}:{image['tag']}"
        if image["status"]["status"] == "Failure":
            failures.append(f"{tag}: {image['status']['message']}")
        else:
            digest = shortened(image["image"]["dockerImageReference"])
            echo(f"{tag} would be {digest} (dry run)")
    if failures:
        raise CommandError("\n".join(failures))


def _policy_of(tag: Mapping[str, Any]) -> dict[str, Any]:
    policy = tag.get("importPolicy")
    return {"importPolicy": policy} if policy else {}
