"""Images that names stand for in their registries now, as the server sees them."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import ImageStreamImport, ImageStreamImportSpec, ImportSpec
from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.policy.adoption.takeover import CurrentUpstream
from upwell.store.interface import ApiClient, StoreError

SECONDS = 30


async def upstream_images(
    client: ApiClient, namespace: str, images: Iterable[str]
) -> Mapping[str, CurrentUpstream]:
    """Return what each name stands for; nothing is kept on the server."""
    wanted = sorted(set(images))
    found = await asyncio.gather(*(_look(client, namespace, image) for image in wanted))
    return dict(zip(wanted, found, strict=True))


async def _look(client: ApiClient, namespace: str, image: str) -> CurrentUpstream:
    request = ImageStreamImport(
        metadata=ObjectMeta(name="adopt", namespace=namespace),
        spec=ImageStreamImportSpec(
            import_=False,
            images=(ImportSpec(from_=ObjectReference(kind=DOCKER_IMAGE, name=image)),),
        ),
    )
    try:
        async with asyncio.timeout(SECONDS):
            answer = await client.create(request)
    except TimeoutError:
        return CurrentUpstream(fault=f"no answer in {SECONDS} s")
    except StoreError as error:
        return CurrentUpstream(fault=str(error))
    looked: Mapping[str, Any] = next(iter(answer.status.get("images") or ()), {})
    if (found := looked.get("image")) is None:
        why = (looked.get("status") or {}).get("message") or "the server gave no reason"
        return CurrentUpstream(fault=why)
    metadata = found.get("dockerImageMetadata") or {}
    name = (found.get("metadata") or {}).get("name") or ""
    return CurrentUpstream(name, str(metadata.get("Created") or ""))
