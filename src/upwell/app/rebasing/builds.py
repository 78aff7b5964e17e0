"""Composes what puts the images of builds on new bases, in the server."""

from upwell.app.adapters import Adapters
from upwell.builder.interface import BuildError
from upwell.inventory.files.scanning import BOUNDED_TASK, FileScanner
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.builds.mirror import ImageMirror
from upwell.reconcilers.builds.output import PushAccess
from upwell.reconcilers.builds.rebase_outputs import OwnRebaseWriter, RebaseOutputs
from upwell.reconcilers.builds.rebases import BuildRebases
from upwell.registry.client.push import RegistryPusher
from upwell.registry.hosting import ManifestPush
from upwell.registry.rebasing.elsewhere import RebasesElsewhereWriter
from upwell.registry.rebasing.external import ExternalRebaseWriter
from upwell.registry.rebasing.hosted import HostedRebaseWriter
from upwell.server.distribution.image_limits import ImageLimits
from upwell.server.distribution.requests import DistributionError

_KEPT_BYTES = 256 * 1024 * 1024
"""Of what was found in layers: each base takes about a megabyte."""


def build_rebases(
    adapters: Adapters,
    index: BuildIndex,
    mirror: ImageMirror,
    access: PushAccess,
    to_push: PushAccess,
) -> BuildRebases:
    """Return the rebases of builds; what was found in layers is kept in the data folder.

    `access` is that of the server's own registry, `to_push` that of others.
    """
    folder = adapters.settings.data_dir / "layer-files"
    scanner = FileScanner(folder, _KEPT_BYTES, BOUNDED_TASK)
    pusher = RegistryPusher(adapters.client.connection)
    prefix = adapters.internal.prefix
    other = RebasesElsewhereWriter(adapters.registries, pusher, prefix)
    outputs = RebaseOutputs(_own(adapters, pusher), other, access, to_push)
    return BuildRebases(index.builds, adapters.registries, mirror, scanner, outputs)


def _own(adapters: Adapters, pusher: RegistryPusher) -> OwnRebaseWriter:
    """Return what writes rebased images; the embedded registry holds them to limits, as pushes."""
    hosted = adapters.embedded
    if hosted is None:
        return ExternalRebaseWriter(adapters.internal, pusher)
    limits = ImageLimits(adapters.store)

    async def check(push: ManifestPush) -> None:
        try:
            await limits.require(hosted, push)
        except DistributionError as error:
            raise BuildError("PushImageToRegistryFailed", str(error)) from error

    return HostedRebaseWriter(hosted, check)
