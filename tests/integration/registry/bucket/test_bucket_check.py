"""`upwell doctor` on the bucket of the embedded registry: what is wrong with it, and what to do."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from tests.support.ports import free_port
from tests.support.s3.settings import bucket_settings
from tests.support.s3.strict_server import SECRET, StoredObject, StrictS3, error, strict_s3

from upwell.app.hardening.bucket import check_bucket
from upwell.machine.checks import HostCheck, HostCheckStatus
from upwell.settings import read_file


@pytest.fixture
async def s3() -> AsyncIterator[StrictS3]:
    async with strict_s3() as server:
        yield server


async def checked(folder: Path, url: str, **more: str | bool) -> HostCheck:
    """Return what `upwell doctor --config FILE` says of the bucket."""
    settings = read_file(bucket_settings(folder, url, **more)).embedded_registry.bucket
    return await check_bucket(settings, folder)


async def test_a_bucket_that_can_be_used_is_left_as_it_was(s3: StrictS3, tmp_path: Path) -> None:
    found = await checked(tmp_path, s3.url)
    assert found.status is HostCheckStatus.OK
    assert "honours conditional writes" in found.detail
    assert (s3.objects, s3.uploads) == ({}, {})


async def test_the_right_that_lacks_is_told_and_not_what_failed_after_it(
    s3: StrictS3, tmp_path: Path
) -> None:
    async def denied(_: web.BaseRequest) -> web.StreamResponse | None:
        return error(403, "AccessDenied")

    s3.fault = denied
    found = await checked(tmp_path, s3.url)
    assert found.status is HostCheckStatus.FAIL
    assert found.detail.endswith("refused to write: HTTP 403 AccessDenied")
    assert "s3:PutObject" in found.remedy
    assert SECRET not in f"{found}"


async def test_storage_without_conditional_writes_is_told(s3: StrictS3, tmp_path: Path) -> None:
    s3.honours_conditions = False
    found = await checked(tmp_path, s3.url)
    assert (found.status, "(If-None-Match)" in found.detail) == (HostCheckStatus.FAIL, True)
    assert found.remedy == "use storage that does, a volume, or an external registry"
    assert s3.objects == {}


async def test_an_endpoint_that_is_not_there_is_told(tmp_path: Path) -> None:
    found = await checked(tmp_path, f"http://127.0.0.1:{free_port()}")
    assert (found.status, "Connect call failed" in found.detail) == (HostCheckStatus.FAIL, True)
    assert "`endpoint`" in found.remedy


async def test_credentials_that_lack_are_told(s3: StrictS3, tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    found = await checked(tmp_path, s3.url, credentials_file=missing)
    assert found.status is HostCheckStatus.FAIL
    assert (missing in found.detail, "`credentials-file`" in found.remedy) == (True, True)


async def test_images_of_another_server_are_told(s3: StrictS3, tmp_path: Path) -> None:
    s3.objects["owner"] = StoredObject(b"server mine", '"1"', datetime.now(UTC))
    (tmp_path / "instance-id").write_text("mine\n")
    assert (await checked(tmp_path, s3.url)).status is HostCheckStatus.OK
    (tmp_path / "instance-id").write_text("other\n")
    found = await checked(tmp_path, s3.url)
    assert (found.status, "'server mine'" in found.detail) == (HostCheckStatus.WARN, True)
    assert "`prefix`" in found.remedy
