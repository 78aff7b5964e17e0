"""Certificates for tests, and clients and servers that speak TLS with them."""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp


@dataclass(frozen=True)
class OwnCertificate:
    """A certificate that is its own authority, and its key; PEM in two files."""

    chain: Path
    key: Path


def make_certificate(folder: Path, host: str) -> OwnCertificate:
    made = OwnCertificate(folder / f"{host}.pem", folder / f"{host}.key")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"),
            *("-out", str(made.chain), "-keyout", str(made.key)),
        ],
        check=True,
        capture_output=True,
    )
    return made


async def fetch_by_tls(address: str, host: str, authority: Path | None = None) -> str:
    """Return the text of one answer, or how it failed; without an authority anybody is trusted."""
    context = ssl.create_default_context(cafile=authority)
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        async with aiohttp.ClientSession() as session:
            request = session.get(
                f"https://{address}/", ssl=context, server_hostname=host, headers={"Host": host}
            )
            async with request as answer:
                return (await answer.text()).strip()
    except (aiohttp.ClientError, OSError) as error:
        return f"failed: {error!r}"


@asynccontextmanager
async def tls_site(certificate: OwnCertificate, text: str) -> AsyncIterator[int]:
    """Answer every request by TLS alone; yields the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {len(text)}"
            writer.write(f"{head}\r\n\r\n{text}".encode())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
