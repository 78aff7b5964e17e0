"""Settings of a server that keeps its images in a bucket."""

import json
from pathlib import Path

from tests.support.s3.strict_server import BUCKET, credentials_file


def bucket_settings(folder: Path, url: str, **more: str | bool) -> Path:
    """Write a configuration file that names the bucket at `url`, and return its path.

    `more` are further keys of the table, with _ for -.
    """
    named = {
        "endpoint": url,
        "bucket": BUCKET,
        "credentials_file": str(credentials_file(folder)),
        **more,
    }
    lines = [f"{key.replace('_', '-')} = {json.dumps(value)}" for key, value in named.items()]
    path = folder / "upwell.toml"
    path.write_text("\n".join(["[embedded-registry.bucket]", *lines]) + "\n")
    return path
