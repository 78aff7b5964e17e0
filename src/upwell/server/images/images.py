"""Images, each by its digest: what is known of one, and its packages."""

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from upwell.actions.images import ImageActions
from upwell.api.image import Image
from upwell.oci import Digest, InvalidDigestError
from upwell.server.http.errors import ApiError
from upwell.server.http.target import RequestTarget
from upwell.server.objects.reads import ReadHandlers
from upwell.server.objects.shown_images import require_image
from upwell.store.interface import Store


class ImageHandlers:
    """Answers requests for one Image, and for its parts."""

    def __init__(self, store: Store, actions: ImageActions, reads: ReadHandlers) -> None:
        self._store = store
        self._actions = actions
        self._reads = reads

    async def get(self, request: Request, target: RequestTarget) -> Response:
        """Answer what is known of an image, by its digest."""
        await require_image(request, self._store, target)
        return await self._reads.get(request, target)

    async def packages(self, request: Request, target: RequestTarget) -> Response:
        """Answer the packages of an image, by its digest."""
        await require_image(request, self._store, target)
        try:
            digest = Digest.parse(target.name)
        except InvalidDigestError as error:
            raise ApiError(400, str(error)) from None
        packages = await self._actions.packages(digest)
        if not packages:
            await self._store.get(Image, "", target.name)  # none known, or no such image
        found = [asdict(package) for package in packages]
        why = await self._actions.unknown_packages(digest)
        unknown = {} if why is None else {"unknown": why}
        return JSONResponse({"digest": str(digest), "packages": found} | unknown)
