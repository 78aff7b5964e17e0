"""Opens the bucket of the embedded registry, as the settings name it."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from upwell.machine.clock import seconds
from upwell.outbound.dialing import Dialer
from upwell.outbound.http.urls import HttpUrl
from upwell.registry.s3.client import S3Bucket
from upwell.registry.s3.credentials import CredentialsFile
from upwell.registry.s3.requests import DEFAULT_TIMEOUTS, BucketLocation, S3Timeouts
from upwell.settings.bucket import BucketSettings


def machine_owner(instance_id: str) -> str:
    """Return what a server on a machine is named in its bucket, by the id of its data folder."""
    return f"server {instance_id}"


def bucket_location(settings: BucketSettings) -> BucketLocation:
    """Return the place that the settings name."""
    return BucketLocation(
        HttpUrl.parse(settings.endpoint),
        settings.bucket,
        settings.region,
        settings.prefix,
        settings.path_style,
        settings.ca_file,
    )


@dataclass(frozen=True, slots=True)
class OwnedBucket:
    """Bucket, and the name of the server whose images it has."""

    bucket: S3Bucket
    owner: str


def open_bucket(
    settings: BucketSettings, dialer: Dialer, owner: str, stack: AsyncExitStack
) -> OwnedBucket:
    """Return the bucket of the server `owner`, with a client that the stack closes."""
    bucket = bucket_client(settings, dialer)
    stack.push_async_callback(bucket.aclose)
    return OwnedBucket(bucket, owner)


def bucket_client(
    settings: BucketSettings, dialer: Dialer, timeouts: S3Timeouts = DEFAULT_TIMEOUTS
) -> S3Bucket:
    """Return a client of the bucket; close it after use."""
    credentials = CredentialsFile(settings.credentials_file or Path())
    return S3Bucket(bucket_location(settings), credentials, dialer, timeouts, clock=seconds)
