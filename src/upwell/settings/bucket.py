"""The table [embedded-registry.bucket] of the configuration file: where images lie."""

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, model_validator

from upwell.settings.base import SettingsTable
from upwell.settings.values import AllowedValues, FilePath, Flag, Text, is_http_address

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")


def _endpoint(value: Any) -> str:
    """Read the origin that requests go to; what else an address may have would be lost."""
    if not value:
        return ""
    text = str(value)
    parts = urlsplit(text)
    rest = (parts.path.removesuffix("/"), parts.query, parts.fragment)
    is_place = is_http_address(text) and text.isascii() and parts.port != 0
    if not is_place or any(rest) or "@" in parts.netloc:
        raise ValueError("not the address of a server")
    return f"{parts.scheme}://{parts.netloc}"


def _bucket(value: Any) -> str:
    if isinstance(value, str) and (not value or _BUCKET.fullmatch(value)):
        return value
    raise ValueError("not the name of a bucket")


def _prefix(value: Any) -> str:
    if isinstance(value, str) and (not value or _PREFIX.fullmatch(value.removesuffix("/"))):
        return f"{value.removesuffix('/')}/" if value else ""
    raise ValueError("not a prefix of keys")


class BucketSettings(SettingsTable):
    """S3-compatible storage for the embedded registry (docs/registry-storage.md).

    Without a bucket, images lie in the data folder.
    """

    endpoint: Annotated[
        str,
        BeforeValidator(_endpoint),
        AllowedValues("http://HOST:PORT or https://HOST:PORT", blank=True),
    ] = ""
    """The address of the storage, as `https://s3.eu-central-1.amazonaws.com`."""
    bucket: Annotated[
        str, BeforeValidator(_bucket), AllowedValues("the name of a bucket", blank=True)
    ] = ""
    """The bucket, which exists; every replica of the server has the same."""
    prefix: Annotated[
        str, BeforeValidator(_prefix), AllowedValues("a path such as upwell/images", blank=True)
    ] = ""
    """The beginning of all keys, where the bucket has other things as well."""
    region: Text = "us-east-1"
    """The region that requests are signed for."""
    credentials_file: FilePath | None = None
    """A file with `aws_access_key_id` and `aws_secret_access_key`, as AWS' tools have it, or the
    folder of a mounted Secret with such keys; read again when it changes."""
    ca_file: FilePath | None = None
    """Certificates of the authorities by which the endpoint is trusted, in PEM; without it, those
    of the system."""
    path_style: Flag = True
    """Names the bucket in the path of URLs; else in the host's name, as `BUCKET.s3.example`."""

    @model_validator(mode="after")
    def _is_whole(self) -> "BucketSettings":
        if not self.bucket and not self.endpoint:
            return self
        if not (self.bucket and self.endpoint and self.credentials_file):
            raise ValueError("name `endpoint`, `bucket` and `credentials-file`")
        return self
