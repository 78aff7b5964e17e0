"""upwell.dev/v1alpha1 AdminTokenRotation: asks for another token of the server's own user."""

from typing import ClassVar

from upwell.api.meta import Kind, Resource, Scope
from upwell.api.pipeline import GROUP


class AdminTokenRotation(Resource):
    """One rotation. The new token is in the data folder, and in no answer."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1alpha1",
        "AdminTokenRotation",
        "admintokenrotations",
        scope=Scope.CLUSTER,
        has_status=False,
    )
