"""Errors of a bucket. No message quotes an answer, which may be another service's, but its code."""

from upwell.registry.hosting import StorageError, StorageUnavailableError


class BucketError(StorageError):
    """Base of all errors of a bucket; what was stored before is untouched.

    `problem` names the bucket and the cause, `step` what to do, where that is known.
    """

    reason = "BucketFailed"

    def __init__(self, problem: str, step: str = "") -> None:
        super().__init__(f"{problem}; {step}" if step else problem)
        self.problem = problem
        self.step = step


class BucketUnavailableError(BucketError, StorageUnavailableError):
    """The endpoint does not answer, answers 5xx, or asks for fewer requests."""

    reason = "BucketUnavailable"

    def __init__(self, where: str, why: str, step: str = "") -> None:
        super().__init__(f"{where} is not available: {why}", step)


class BucketAnswerError(BucketError):
    """The endpoint answered what the protocol does not allow, or more than the limit."""

    reason = "BucketAnswerInvalid"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where} gave an answer that cannot be used: {why}")


class BucketCredentialsError(BucketError):
    """The file of credentials cannot be used; never quotes it."""

    reason = "BucketCredentials"

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            f"credentials of the bucket: {where} {why}",
            "`credentials-file` needs aws_access_key_id and aws_secret_access_key; on a cluster,"
            " create the Secret that is mounted there (`upwell doctor --on kubernetes`)",
        )


_NEXT_STEPS = {
    "AccessDenied": (
        "allow its credentials s3:ListBucket and s3:ListBucketMultipartUploads of the bucket, and"
        " s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload of its objects"
    ),
    "InvalidAccessKeyId": "the access key is not known there: renew the file of credentials",
    "SignatureDoesNotMatch": "the secret key is not that of the access key, or the region is wrong",
    "ExpiredToken": "the session of the credentials has ended: renew the file of credentials",
    "InvalidToken": "the session token is not valid: renew the file of credentials",
    "RequestTimeTooSkewed": (
        "the clocks of this machine and of the endpoint differ by more than it allows: set them by"
        " NTP"
    ),
    "NoSuchBucket": "there is no such bucket: create it, or mend `bucket` of the settings",
    "AuthorizationHeaderMalformed": "mend `region` of the settings",
    "PermanentRedirect": "the bucket is at another endpoint: mend `endpoint` and `region`",
}
STALE_CREDENTIALS = frozenset({"ExpiredToken", "InvalidToken", "InvalidAccessKeyId"})
"""Codes after which the credentials are read again, once."""


class BucketRefusedError(BucketError):
    """The endpoint refused a request; `code` is S3's, empty where it told none."""

    reason = "BucketRefused"

    def __init__(self, where: str, what: str, status: int, code: str) -> None:
        told = f"HTTP {status} {code}".rstrip()
        super().__init__(f"{where} refused to {what}: {told}", _NEXT_STEPS.get(code, ""))
        self.status = status
        self.code = code


class PreconditionError(BucketError):
    """A conditional write lost: the object is not what the writer has seen."""

    reason = "PreconditionFailed"

    def __init__(self, where: str, key: str) -> None:
        super().__init__(f"{where}: {key} was changed by another writer")


class UploadGoneError(BucketError):
    """A multipart upload is completed or aborted, or one of its parts was replaced."""

    reason = "MultipartUploadGone"

    def __init__(self, where: str, key: str) -> None:
        super().__init__(f"{where}: the multipart upload of {key} is over")


class UnfitBucketError(BucketError):
    """The storage lacks what several writers need; no content of images is written to it."""

    reason = "BucketUnfit"
    retryable = False
