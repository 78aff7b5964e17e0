"""Check of `upwell doctor`: the bucket of the embedded registry, tried as a server tries it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import ValidationError

from upwell.app.outbound import storage_places
from upwell.app.registries.bucket import bucket_client, machine_owner
from upwell.machine.checks import HostCheck, HostCheckStatus
from upwell.outbound.dialing import Dialer
from upwell.outbound.policy import OutboundPolicy
from upwell.registry.bucket.probe import owner_of, require_fit
from upwell.registry.s3.client import S3Bucket
from upwell.registry.s3.errors import (
    BucketCredentialsError,
    BucketError,
    BucketUnavailableError,
)
from upwell.registry.s3.requests import S3Timeouts
from upwell.settings.bucket import BucketSettings

_NAME = "registry bucket"
_SECONDS = 60.0
_TIMEOUTS = S3Timeouts(connect=5.0, request=10.0, idle=10.0)
_PAGE = "docs/registry-storage.md"


def served_bucket(table: Mapping[str, object]) -> BucketSettings | None:
    """Return the bucket of a running server, as its settings name it; None: it has none."""
    try:
        return BucketSettings.model_validate(table, by_name=True) if table else None
    except ValidationError:  # of another version of Upwell
        return None


async def check_bucket(settings: BucketSettings, data_dir: Path) -> HostCheck:
    """Try rights, conditional writes and multipart uploads, and ask whose images the bucket has.

    Small objects are written, and removed.
    """
    async with _opened(settings) as bucket:
        try:
            async with asyncio.timeout(_SECONDS):
                await require_fit(bucket)
                owner = await owner_of(bucket)
        except TimeoutError:
            detail = f"{bucket.name} did not answer all in {_SECONDS:.0f} s"
            return HostCheck(_NAME, HostCheckStatus.FAIL, detail, _remedy(None))
        except BucketError as error:
            return HostCheck(_NAME, HostCheckStatus.FAIL, error.problem, _remedy(error))
        return await asyncio.to_thread(_judge_owner, bucket, owner, data_dir)


@asynccontextmanager
async def _opened(settings: BucketSettings) -> AsyncIterator[S3Bucket]:
    dialer = Dialer(OutboundPolicy.of(tuple(storage_places(settings))))
    bucket = bucket_client(settings, dialer, _TIMEOUTS)
    try:
        yield bucket
    finally:
        await bucket.aclose()
        dialer.close()


def _judge_owner(bucket: S3Bucket, owner: str, data_dir: Path) -> HostCheck:
    path = data_dir / "instance-id"
    own = machine_owner(path.read_text(errors="replace").strip()) if path.is_file() else ""
    fit = f"{bucket.name} can be read, written and listed, and honours conditional writes"
    if owner in {"", own}:
        return HostCheck(_NAME, HostCheckStatus.OK, fit)
    detail = f"{fit}; it has the images of {owner!r}, and a server of {data_dir} is refused"
    remedy = f"another `prefix` for this server; the same data folder for that one ({_PAGE})"
    return HostCheck(_NAME, HostCheckStatus.WARN, detail, remedy)


def _remedy(error: BucketError | None) -> str:
    if error is not None and error.step:
        return error.step
    if isinstance(error, BucketCredentialsError):
        return "mend `credentials-file` of [embedded-registry.bucket], or the file"
    if error is None or isinstance(error, BucketUnavailableError):
        return "mend `endpoint` of [embedded-registry.bucket], or what lies between"
    return _PAGE
