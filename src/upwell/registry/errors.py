"""Errors of registries; `reason` goes into a condition, `retryable` tells the work queue."""

from typing import ClassVar

from upwell.oci import Digest, Reference


class RegistryError(Exception):
    """Base of every error that this package raises.

    `retry_after` is the number of seconds that the registry asked us to wait, if it did.
    """

    reason: ClassVar[str] = "RegistryError"
    retryable: ClassVar[bool] = False
    retry_after: float | None = None


class ManifestUnknownError(RegistryError):
    """No manifest has this name; a tag may still be pushed, so it is worth asking again later."""

    reason = "ManifestUnknown"

    def __init__(self, reference: Reference) -> None:
        super().__init__(f"no manifest {reference}: check the name, and that it was pushed")
        self.reference = reference


class RepositoryUnknownError(RegistryError):
    """Error for a repository to which nothing was pushed."""

    reason = "RepositoryUnknown"

    def __init__(self, repository: str) -> None:
        super().__init__(f"no repository {repository}: check the name, and that it was pushed")
        self.repository = repository


class BlobUnknownError(RegistryError):
    """No blob has this digest in the repository."""

    reason = "BlobUnknown"

    def __init__(self, name: str, digest: Digest) -> None:
        super().__init__(f"no blob {digest} in {name}")
        self.digest = digest


class DigestMismatchError(RegistryError):
    """The bytes are not what the digest names; nothing of them was used."""

    reason = "DigestMismatch"

    def __init__(self, name: str, expected: Digest, actual: Digest) -> None:
        super().__init__(f"{name} answered content {actual} where {expected} was asked for")
        self.expected = expected
        self.actual = actual


class UnauthorizedError(RegistryError):
    """The registry wants (other) credentials."""

    reason = "Unauthorized"

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self.refusal = f"{name} refused our credentials: {why}"
        """The message without a next step."""
        super().__init__(
            f"{self.refusal}; log in with `podman login`"
            " or add a kubernetes.io/dockerconfigjson Secret"
        )


class InvalidAnswerError(RegistryError):
    """The registry answered what its protocol does not allow, or more than the limit."""

    reason = "InvalidAnswer"
    retryable = True

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} gave an answer that cannot be used: {why}")


class PlatformMissingError(InvalidAnswerError):
    """Index that has no image of a platform: another answer comes only with another image."""

    retryable = False

    def __init__(self, name: str, platform: str) -> None:
        super().__init__(name, f"it has no image for {platform}")
        self.platform = platform


class RegistryRejectedError(RegistryError):
    """The registry refused the request for good."""

    reason = "Rejected"

    def __init__(self, name: str, status: int, why: str) -> None:
        super().__init__(f"{name} refused the request with HTTP {status}: {why}")
        self.status = status


class RegistryUnavailableError(RegistryError):
    """The registry does not answer, or answers 5xx."""

    reason = "Unavailable"
    retryable = True

    def __init__(self, name: str, why: str, retry_after: float | None = None) -> None:
        super().__init__(f"{name} is not available: {why}")
        self.retry_after = retry_after


class UntrustedCertificateError(RegistryUnavailableError):
    """The registry has a certificate of no authority that is trusted; `name` is the image's."""

    def __init__(self, name: str) -> None:
        why = (
            "its certificate is not trusted: set `ca-file` (or `insecure`) in a [[registry]] of the"
            " configuration file, or importPolicy.insecure of the tag"
        )
        super().__init__(name, why)
        self.name = name


class RateLimitedError(RegistryError):
    """The registry answered 429, or its budget is spent; every caller waits, not just this one."""

    reason = "RateLimited"
    retryable = True

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(f"{name} limits our requests: next try in {retry_after:.0f} s")
        self.retry_after = retry_after


class BlockedError(RegistryError):
    """The administrator's settings forbid this registry or this part of it."""

    reason = "RegistryBlocked"

    def __init__(self, name: str, prefix: str) -> None:
        super().__init__(f"{name} is blocked by the settings of {prefix}")
        self.prefix = prefix


class ForbiddenRegistryError(RegistryError):
    """The registry is at an address to which nothing is sent, as the message says."""

    reason = "RegistryBlocked"

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} is not asked: {why}")


class InvalidCredentialsError(RegistryError):
    """A file, Secret or helper that should hold credentials cannot be used; never quotes it."""

    reason = "InvalidCredentials"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"credentials in {where} cannot be used: {why}")
        self.where = where
