"""Settings of the bucket in which images lie."""

from typing import Any

import pytest
from pydantic import ValidationError

from upwell.app.registries.bucket import bucket_location
from upwell.settings.bucket import BucketSettings


def settings(**given: Any) -> BucketSettings:
    whole = {"endpoint": "https://s3.example", "bucket": "images", "credentials_file": "/keys"}
    return BucketSettings.model_validate({**whole, **given})


@pytest.mark.parametrize("endpoint", ["https://S3.example", "http://[::1]:9000", "http://s3:9000/"])
def test_an_endpoint_has_a_host_and_maybe_a_port(endpoint: str) -> None:
    found = bucket_location(settings(endpoint=endpoint)).endpoint
    assert str(found) in {"https://s3.example/", "http://[::1]:9000/", "http://s3:9000/"}


@pytest.mark.parametrize("endpoint", [
    "s3.example",
    "https://s3.example:0",
    "https://s3.example:99999",
    "https://bücket.example",
    "https://gateway.example/s3",
    "https://s3.example?region=eu",
    "https://key:secret@s3.example",
])  # fmt: skip
def test_an_endpoint_that_requests_would_not_go_to_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="endpoint"):
        settings(endpoint=endpoint)


@pytest.mark.parametrize("left_out", ["endpoint", "bucket", "credentials_file"])
def test_a_bucket_is_named_whole(left_out: str) -> None:
    empty = None if left_out == "credentials_file" else ""
    with pytest.raises(ValidationError, match="name `endpoint`, `bucket` and `credentials-file`"):
        settings(**{left_out: empty})


def test_a_prefix_ends_with_one_slash() -> None:
    found = [settings(prefix=one).prefix for one in ("", "upwell", "upwell/images/")]
    assert found == ["", "upwell/", "upwell/images/"]


def test_a_bucket_may_be_a_part_of_the_name_of_its_server() -> None:
    assert str(bucket_location(settings()).url) == "https://s3.example/"
    named = bucket_location(settings(path_style=False, endpoint="https://s3.example:9000"))
    assert str(named.url) == "https://images.s3.example:9000/"
    assert named.name == "bucket images at s3.example:9000"
