"""Images of Releases that are there without a registry."""

from collections.abc import Mapping

from upwell.api.pipeline import Stage
from upwell.api.promotion import Release
from upwell.policy.promotion.images import stage_images
from upwell.reconcilers.promotion.images import ReleaseImages


class NoLookups(ReleaseImages):
    """Release images of which each can be pulled."""

    def __init__(self) -> None:
        pass

    async def provide(self, release: Release, stage: Stage, namespace: str) -> Mapping[str, str]:
        del namespace
        return stage_images(release, stage)
