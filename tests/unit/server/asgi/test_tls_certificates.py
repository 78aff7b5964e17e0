"""Generated certificates: trusted by their authority, renewed in time, with the right names."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from upwell.server.asgi.tls import (
    Certificate,
    CertificateError,
    generated,
    keep_fresh,
    server_context,
)

NAMES = ["127.0.0.1", "localhost", "upwell.example.com"]
NOW = datetime.now(UTC)


def certificate_in(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.mark.parametrize("name", NAMES)
async def test_a_client_that_trusts_the_authority_trusts_the_server(
    tmp_path: Path, name: str
) -> None:
    certificate = generated(tmp_path / "tls", NAMES, NOW)

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        writer.close()

    context = server_context(certificate)
    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        trust = ssl.create_default_context(cafile=certificate.authority)
        trust.verify_flags |= ssl.VERIFY_X509_STRICT
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trust, server_hostname=name
        )
        assert await reader.readline() == b"hello\n"
        writer.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(
                "127.0.0.1", port, ssl=trust, server_hostname="other.example.com"
            )


def test_nobody_else_reads_the_keys(tmp_path: Path) -> None:
    certificate = generated(tmp_path / "tls", NAMES, NOW)
    keys = [certificate.key, tmp_path / "tls" / "ca.key"]
    assert [key.stat().st_mode & 0o777 for key in keys] == [0o600, 0o600]
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700


def test_it_is_made_once(tmp_path: Path) -> None:
    first = certificate_in(generated(tmp_path, NAMES, NOW).chain)
    again = certificate_in(generated(tmp_path, NAMES, NOW + timedelta(days=300)).chain)
    assert again == first


def test_it_is_renewed_before_it_ends_by_the_same_authority(tmp_path: Path) -> None:
    made = generated(tmp_path, NAMES, NOW)
    assert made.authority is not None
    authority, first = made.authority.read_bytes(), certificate_in(made.chain)
    later = NOW + timedelta(days=350)
    renewed = certificate_in(generated(tmp_path, NAMES, later).chain)
    assert renewed.not_valid_after_utc > first.not_valid_after_utc > later
    assert made.authority.read_bytes() == authority


def test_an_authority_near_its_end_is_replaced_with_what_it_signed(tmp_path: Path) -> None:
    made = generated(tmp_path, NAMES, NOW)
    assert made.authority is not None
    old = certificate_in(made.authority)
    generated(tmp_path, NAMES, NOW + timedelta(days=3640))
    new = certificate_in(made.authority)
    assert new.subject != old.subject
    certificate_in(made.chain).verify_directly_issued_by(new)


def test_other_names_need_another_certificate(tmp_path: Path) -> None:
    generated(tmp_path, NAMES, NOW)
    made = certificate_in(generated(tmp_path, [*NAMES, "10.0.0.1"], NOW).chain)
    found = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "10.0.0.1" in [str(name.value) for name in found]


def test_a_start_that_was_cut_short_is_made_good(tmp_path: Path) -> None:
    made = generated(tmp_path, NAMES, NOW)
    made.chain.unlink()
    server_context(generated(tmp_path, NAMES, NOW))


@pytest.mark.parametrize("content", ["", "nonsense"])
@pytest.mark.parametrize("name", ["ca.pem", "ca.key"])
def test_a_damaged_authority_is_named(tmp_path: Path, name: str, content: str) -> None:
    generated(tmp_path, NAMES, NOW)
    (tmp_path / name).write_text(content)
    with pytest.raises(CertificateError, match=r"ca\.pem or .*ca\.key is damaged"):
        generated(tmp_path, NAMES, NOW)


def test_an_authority_with_a_key_of_another_is_named(tmp_path: Path) -> None:
    made = generated(tmp_path, NAMES, NOW)
    (tmp_path / "ca.key").write_bytes(made.key.read_bytes())
    with pytest.raises(CertificateError, match="is damaged"):
        generated(tmp_path, NAMES, NOW)


@pytest.mark.parametrize("content", ["", "nonsense"])
@pytest.mark.parametrize("name", ["server.pem", "server.key"])
def test_a_damaged_certificate_is_made_anew(tmp_path: Path, name: str, content: str) -> None:
    made = generated(tmp_path, NAMES, NOW)
    (tmp_path / name).write_text(content)
    server_context(generated(tmp_path, NAMES, NOW))
    assert made.key.stat().st_mode & 0o777 == 0o600


def test_own_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    one, two = generated(tmp_path / "1", NAMES, NOW), generated(tmp_path / "2", NAMES, NOW)
    for chain, key in ((one.chain, two.key), (one.chain, tmp_path / "none"), (two.key, two.key)):
        with pytest.raises(CertificateError, match="and"):
            server_context(Certificate(chain, key))


async def test_a_running_server_takes_up_the_renewed_certificate(tmp_path: Path) -> None:
    context = server_context(generated(tmp_path, NAMES, NOW))
    renewed = asyncio.Event()

    async def renew() -> Certificate:
        renewed.set()
        return generated(tmp_path, [*NAMES, "new.example.com"], NOW)

    task = asyncio.create_task(keep_fresh(context, renew, seconds=0.01))
    async with asyncio.timeout(30):
        await renewed.wait()
        while not await _serves(context, tmp_path / "ca.pem", "new.example.com"):  # noqa: ASYNC110 - only a handshake can tell
            await asyncio.sleep(0.01)
    task.cancel()


async def _serves(context: ssl.SSLContext, authority: Path, name: str) -> bool:
    def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        trust = ssl.create_default_context(cafile=authority)
        try:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=trust, server_hostname=name
            )
        except ssl.SSLCertVerificationError:
            return False
        writer.close()
        return True
