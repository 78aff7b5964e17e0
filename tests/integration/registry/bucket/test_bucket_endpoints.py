"""Ways to an endpoint: TLS with an authority of one's own, and the bucket in the host's name."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.registry.hosted_images import CONFIG, push, push_blob
from tests.support.s3.strict_server import StrictS3, bucket_at, strict_s3
from tests.support.workload.tls_servers import OwnCertificate, make_certificate

from upwell.oci import Digest
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.s3.errors import BucketUnavailableError

HOST, APP = "registry.internal:5000", "team/app"


@pytest.fixture
def certificate(tmp_path: Path) -> OwnCertificate:
    return make_certificate(tmp_path, "localhost")


@pytest.fixture
async def encrypted(certificate: OwnCertificate) -> AsyncIterator[StrictS3]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)
    async with strict_s3(context) as s3:
        yield s3


async def test_an_authority_of_ones_own_is_trusted_by_ca_file(
    encrypted: StrictS3, certificate: OwnCertificate, tmp_path: Path
) -> None:
    async with bucket_at(encrypted.url, tmp_path, ca_file=certificate.chain) as bucket:
        registry = BucketRegistry(bucket, HOST)
        await registry.recover()
        digest = await push(registry, APP)
        assert (await registry.find_manifest(APP, "v1")).digest == digest


async def test_without_it_the_key_is_sent_to_nobody_and_the_setting_is_named(
    encrypted: StrictS3, certificate: OwnCertificate, tmp_path: Path
) -> None:
    del certificate
    async with bucket_at(encrypted.url, tmp_path) as bucket:
        with pytest.raises(BucketUnavailableError, match="certificate is not trusted") as caught:
            await BucketRegistry(bucket, HOST).recover()
    assert "`ca-file`" in caught.value.step
    assert encrypted.requests == []


@pytest.mark.parametrize("text", [None, "no certificate"])
async def test_a_ca_file_that_is_none_is_named(
    encrypted: StrictS3, tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "authority.pem"
    if text is not None:
        path.write_text(text)
    async with bucket_at(encrypted.url, tmp_path, ca_file=path) as bucket:
        with pytest.raises(BucketUnavailableError, match=f"ca-file {path} cannot be used"):
            await BucketRegistry(bucket, HOST).recover()


async def test_the_bucket_may_be_part_of_the_hosts_name(tmp_path: Path) -> None:
    async with strict_s3() as s3:
        s3.names_bucket_by_host = True
        # The address of loopback is a bucket `127.0` of the host `0.1`: no name has to be found.
        url = s3.url.replace("127.0.0.1", "0.1")
        opened = bucket_at(url, tmp_path, name="127.0", path_style=False)
        async with opened as bucket:
            registry = BucketRegistry(bucket, HOST)
            await registry.recover()
            digest = await push_blob(registry, APP, CONFIG)
            assert digest == Digest.of(CONFIG)
            assert await registry.blob_size(APP, digest) == len(CONFIG)
        assert any(key.startswith("ours/contents/") for key in s3.objects)
