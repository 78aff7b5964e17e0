"""ImagePolicyReviews: someone asks what image policies say of an image; nothing follows from it."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from upwell.actions.images import ExaminationError, ImageExaminer
from upwell.api.codec import InvalidObjectError, encode_json
from upwell.api.image_policies.policy import PolicyPoint
from upwell.api.image_policies.review import ImagePolicyReview
from upwell.api.values.faults import Fault
from upwell.policy.signatures.validation import policy_spec_faults
from upwell.server.auth.caller import require_rights
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import json_response
from upwell.server.http.target import RequestTarget
from upwell.server.objects.large_work import read_as

_AT_ONCE = 4


class ImagePolicyReviewHandlers:
    """Answers the creation of ImagePolicyReviews."""

    def __init__(self, examiner: ImageExaminer, limits: ServerLimits) -> None:
        self._examiner = examiner
        self._limits = limits
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def create(self, request: Request, target: RequestTarget) -> Response:
        """Say which policies of the namespace let the image pass, and why others do not."""
        asked = await read_as(request, self._limits, ImagePolicyReview, _check)
        asked = asked.with_metadata(namespace=target.namespace)
        require_rights(request, asked)
        try:
            async with self._slots:
                status = await self._examiner.review(target.namespace, asked.spec)
        except ExaminationError as error:
            code = 503 if error.retryable else 422
            raise ApiError(code, f"image {asked.spec.image} cannot be judged: {error}") from error
        return json_response(encode_json(asked.with_status(status)), 201)


def _check(asked: ImagePolicyReview) -> None:
    """Raise InvalidObjectError with all that is wrong."""
    faults = []
    if not asked.spec.image:
        faults.append(Fault("spec.image", "required: the image to judge"))
    if asked.spec.at not in set(PolicyPoint):
        known = ", ".join(PolicyPoint)
        faults.append(Fault("spec.at", f"{asked.spec.at!r} is none of {known}"))
    if asked.spec.policy is not None:
        faults += policy_spec_faults(asked.spec.policy, "spec.policy")
    if faults:
        raise InvalidObjectError(str(asked.KIND), tuple(faults))
