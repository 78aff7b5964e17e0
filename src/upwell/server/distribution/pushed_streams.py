"""ImageStreams of repositories that clients push to: a push makes one where there is none."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request

from upwell.api.core import Namespace
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.oci import InvalidManifestError, parse_manifest
from upwell.policy.access.roles import MIRROR_NAMESPACE
from upwell.policy.images.streams import is_image_tag
from upwell.registry.errors import RepositoryUnknownError
from upwell.registry.hosting import HostedRegistry, ManifestPush
from upwell.server.distribution.requests import DistributionError
from upwell.store.interface import NotFoundError, Reader

type CreateStream = Callable[[Request, str, str], Awaitable[None]]
"""Makes a stream, by namespace and name, for who pushes; raises DistributionError to refuse."""


class PushedStreams:
    """Makes the ImageStream of a repository when its first tag is pushed, as OpenShift does."""

    def __init__(self, store: Reader, create: CreateStream) -> None:
        self._store = store
        self._create = create

    async def require(self, registry: HostedRegistry, request: Request, push: ManifestPush) -> None:
        """Make the stream of a push unless there is one; raises DistributionError.

        None is made for what has no stream: repositories of more than two parts, copies of upstream
        images, tags of inputs and of signatures. A namespace that does not exist gets none.
        """
        namespace, _, name = push.repository.partition("/")
        if push.tag is None or not is_image_tag(push.tag) or not name or "/" in name:
            return
        if namespace == MIRROR_NAMESPACE or await self._has(ImageStream, namespace, name):
            return
        if not _is_manifest(push):
            return  # which the registry refuses
        if await self._has(Namespace, "", namespace):
            await self._create(request, namespace, name)
        elif not await _has_tags(registry, push.repository):  # else what worked before goes on
            message = f"namespace {namespace} does not exist: `oc new-project {namespace}` makes it"
            raise DistributionError(404, "NAME_UNKNOWN", message)

    async def _has(self, kind: type[Resource], namespace: str, name: str) -> bool:
        try:
            await self._store.get(kind, namespace, name)
        except NotFoundError:
            return False
        return True


async def _has_tags(registry: HostedRegistry, repository: str) -> bool:
    try:
        return bool(await registry.tag_names(repository))
    except RepositoryUnknownError:
        return False


def _is_manifest(push: ManifestPush) -> bool:
    try:
        parse_manifest(push.raw, push.media_type)
    except InvalidManifestError:
        return False
    return True
