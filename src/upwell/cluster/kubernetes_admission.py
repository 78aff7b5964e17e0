"""Configurations of a cluster's admission webhooks, and the name of this server's account there."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from upwell.api.meta import Kind, ObjectKey, Scope
from upwell.api.schemas.webhooks import CONFIGURATION, MUTATING, VALIDATING
from upwell.cluster.errors import ClusterError
from upwell.cluster.kubernetes import cluster_error
from upwell.store.interface import NotFoundError, StoreError
from upwell.store.kubernetes_http import ApiConnection, ApiRequest

_KINDS = {
    name: Kind("admissionregistration.k8s.io", "v1", name, f"{name.lower()}s", scope=Scope.CLUSTER)
    for name in (MUTATING, VALIDATING)
}
_SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class KubernetesAdmission:
    """Reads and writes Upwell's webhook configurations at the API server behind `api`.

    Every method raises a ClusterError.
    """

    def __init__(self, api: ApiConnection) -> None:
        self._api = api

    async def configuration(self, kind: str) -> Mapping[str, Any] | None:
        """Return the configuration of a kind; None: there is none."""
        try:
            return (await self._api.ask(ApiRequest("GET", _KINDS[kind], _key(kind)))).document
        except NotFoundError:
            return None
        except StoreError as error:
            raise cluster_error(error) from error

    async def replace(self, kind: str, configuration: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write a configuration in the place of the one that was read; return what it became."""
        request = ApiRequest("PUT", _KINDS[kind], _key(kind), body=configuration)
        try:
            return (await self._api.ask(request)).document
        except StoreError as error:
            raise cluster_error(error) from error

    async def own_account(self) -> str:
        """Return the name by which the cluster knows this server.

        Clusters before 1.28 do not say it to whoever asks: there it is that of the token.
        """
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            answer = await self._api.send_raw("POST", _SELF, review)
            name = answer["status"]["userInfo"]["username"]
        except StoreError as error:
            name = _subject(self._api.bearer_token)
            if not name:
                raise cluster_error(error) from error
        except (KeyError, TypeError) as error:
            raise ClusterError("the cluster does not say who this server is") from error
        return str(name)


def _key(kind: str) -> ObjectKey:
    return ObjectKey(kind, "", CONFIGURATION)


def _subject(token: str | None) -> str:
    """Return whom a JSON Web Token is of (RFC 7519, `sub`); empty: it is none.

    It is our own, and what it is good for the cluster decides.
    """
    parts = (token or "").split(".")
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.urlsafe_b64decode(padded))
        return str(claims.get("sub") or "")
    except (ValueError, IndexError, AttributeError):
        return ""
