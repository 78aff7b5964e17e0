"""Names of what the replicas of one server share on a cluster, and where the leader answers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from upwell.api.meta import ObjectMeta

KEYS_SECRET = "upwell-keys"  # noqa: S105 - a name, not a secret
"""Secret, in the namespace of the server, with the keys by which all replicas answer alike."""
_URL, _CERTIFICATE = "upwell.dev/leader-url", "upwell.dev/leader-certificate"
PLACE_ANNOTATIONS = frozenset({_URL, _CERTIFICATE})
"""Of the Lease: where the leader answers, and the SHA-256 of its certificate, in hex."""
_PLAIN = re.compile(r"http://[^/@?#\s]{1,255}:[0-9]{1,5}")
_SECURE = re.compile(r"https://[^/@?#\s]{1,255}:[0-9]{1,5}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ReplicaPlace:
    """Address at which a replica answers the others."""

    url: str
    """`http://HOST:PORT` or `https://HOST:PORT`."""
    certificate: str = ""
    """The SHA-256 of the certificate (DER) by which it answers, in hex; empty without TLS."""

    def annotations(self) -> Mapping[str, str]:
        """Return it as annotations of the Lease."""
        return {_URL: self.url, _CERTIFICATE: self.certificate}

    @classmethod
    def of(cls, annotations: Mapping[str, str]) -> Self | None:
        """Return the place in annotations of a Lease; None: there is none that can be trusted."""
        url, certificate = annotations.get(_URL, ""), annotations.get(_CERTIFICATE, "")
        if _PLAIN.fullmatch(url) and not certificate:
            return cls(url)
        if _SECURE.fullmatch(url) and _SHA256.fullmatch(certificate):
            return cls(url, certificate)
        return None


def shared_metadata(namespace: str, name: str) -> ObjectMeta:
    """Return the metadata of a Secret that replicas share: a part of the installation."""
    labels = {"app.kubernetes.io/name": "upwell", "app.kubernetes.io/part-of": "upwell"}
    return ObjectMeta(namespace=namespace, name=name, labels=labels)
