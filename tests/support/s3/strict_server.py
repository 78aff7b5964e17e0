"""An S3 server in memory that is as strict as S3: conditional writes, parts, ranges, signatures.

It answers in this process's event loop, so that a test can look between two requests, let one fail
before or after it is carried out, and count them. `tests/contract/registry/test_bucket_servers.py`
holds it to what moto does.
"""

import asyncio
import hashlib
import itertools
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from aiohttp import web

from upwell.outbound.dialing import unrestricted
from upwell.outbound.http.urls import HttpUrl
from upwell.registry.s3.client import S3Bucket
from upwell.registry.s3.credentials import CredentialsFile
from upwell.registry.s3.requests import BucketLocation, S3Timeouts

LEAST_PART, MOST_PART = 5 * 1024**2, 5 * 1024**3
KEY, SECRET, BUCKET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "images"
QUICK = S3Timeouts(connect=5, request=10, idle=5, backoff=0.001)

type Fault = Callable[[web.BaseRequest], Awaitable[web.StreamResponse | None]]
"""Asked before a request is carried out; what it returns is answered in its place."""


@dataclass
class StoredObject:
    raw: bytes
    etag: str
    changed: datetime


@dataclass
class MultipartUpload:
    key: str
    begun: datetime
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)


class StrictS3:
    """Objects of one bucket, and the faults that a test is about."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, MultipartUpload] = {}
        self.requests: list[str] = []
        """Method and path of each."""
        self.fault: Fault | None = None
        self.drops_answers: Callable[[web.BaseRequest], bool] = lambda _: False
        """Says which answers are lost after the request was carried out."""
        self.honours_conditions = True
        self.keys = {KEY}
        self.names_bucket_by_host = False
        """The bucket is the beginning of the name in Host; else of the path."""
        self.age = 0.0
        """Seconds that everything is older than it is."""
        self.page = 1000
        self.url = ""
        self.ended = asyncio.Event()
        """Set when the test is over: whatever hangs ends."""
        self._numbers = itertools.count(1)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        request._client_max_size = MOST_PART
        raw = await request.read()
        if self.fault is not None and (answer := await self.fault(request)) is not None:
            return answer
        signed = re.search(r"Credential=([^/]+)/", request.headers.get("Authorization", ""))
        if signed is None or signed[1] not in self.keys:
            return error(403, "InvalidAccessKeyId" if signed else "AccessDenied")
        payload = request.headers.get("x-amz-content-sha256", "")
        if payload not in {"UNSIGNED-PAYLOAD", hashlib.sha256(raw).hexdigest()}:
            return error(400, "XAmzContentSHA256Mismatch")
        bucket, _, key = request.path.removeprefix("/").partition("/")
        if self.names_bucket_by_host:
            bucket, key = request.host, request.path.removeprefix("/")
        if bucket not in {BUCKET, urlsplit(self.url).netloc}:
            return error(404, "NoSuchBucket")
        answer = self._answer(request, key, raw)
        if self.drops_answers(request) and request.transport is not None:
            request.transport.abort()
        return answer

    def _answer(self, request: web.BaseRequest, key: str, raw: bytes) -> web.Response:
        query = request.query
        if not key:
            return self._list_uploads(query) if "uploads" in query else self._list(query)
        if request.method == "POST" and "uploads" in query:
            upload = f"upload-{next(self._numbers)}"
            self.uploads[upload] = MultipartUpload(key, self._now())
            return document(
                f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId>"
                "</InitiateMultipartUploadResult>"
            )
        if "uploadId" in query:
            return self._of_upload(request, key, raw)
        if request.method == "PUT":
            return self._put(request, key, raw)
        if request.method == "DELETE":
            self.objects.pop(key, None)
            return web.Response(status=204)
        return self._get(request, key)

    def _put(self, request: web.BaseRequest, key: str, raw: bytes) -> web.Response:
        known = self.objects.get(key)
        if self.honours_conditions:
            if request.headers.get("If-None-Match") == "*" and known is not None:
                return error(412, "PreconditionFailed")
            if (wanted := request.headers.get("If-Match")) is not None:
                if known is None:
                    return error(404, "NoSuchKey")
                if known.etag != wanted:
                    return error(412, "PreconditionFailed")
        return web.Response(headers={"ETag": self._store(key, raw)})

    def _store(self, key: str, raw: bytes, etag: str = "") -> str:
        etag = etag or f'"{hashlib.md5(raw, usedforsecurity=False).hexdigest()}"'
        self.objects[key] = StoredObject(raw, etag, self._now())
        return etag

    def _get(self, request: web.BaseRequest, key: str) -> web.Response:
        known = self.objects.get(key)
        if known is None:
            return error(404, "NoSuchKey")
        headers = {"ETag": known.etag, "Accept-Ranges": "bytes"}
        if request.headers.get("If-None-Match") == known.etag:
            return web.Response(status=304, headers=headers)
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if span is None:
            return web.Response(body=known.raw, headers=headers)
        first, last = int(span[1]), min(int(span[2]), len(known.raw) - 1)
        if first >= len(known.raw):
            return error(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(known.raw)}"
        return web.Response(status=206, body=known.raw[first : last + 1], headers=headers)

    def _of_upload(self, request: web.BaseRequest, key: str, raw: bytes) -> web.Response:
        upload = self.uploads.get(request.query["uploadId"])
        if upload is None or upload.key != key:
            return error(404, "NoSuchUpload")
        if request.method == "PUT":
            etag = f'"{hashlib.md5(raw, usedforsecurity=False).hexdigest()}"'
            upload.parts[int(request.query["partNumber"])] = etag, raw
            return web.Response(headers={"ETag": etag})
        if request.method == "DELETE":
            del self.uploads[request.query["uploadId"]]
            return web.Response(status=204)
        named = re.findall(r"<PartNumber>(\d+)</PartNumber><ETag>(?:&quot;|\")?(\w+)", raw.decode())
        parts = []
        for number, etag in named:
            known = upload.parts.get(int(number))
            if known is None or known[0].strip('"') != etag:
                return error(400, "InvalidPart")
            parts.append(known[1])
        if not parts or any(len(part) < LEAST_PART for part in parts[:-1]):
            return error(400, "EntityTooSmall" if parts else "MalformedXML")
        del self.uploads[request.query["uploadId"]]
        etag = self._store(key, b"".join(parts), f'"{next(self._numbers):032x}-{len(parts)}"')
        return document(
            f"<CompleteMultipartUploadResult><ETag>{escape(etag)}</ETag>"
            "</CompleteMultipartUploadResult>"
        )

    def _list(self, query: Mapping[str, str]) -> web.Response:
        after = query.get("continuation-token", "")
        keys = sorted(one for one in self.objects if one.startswith(query.get("prefix", "")))
        left = [one for one in keys if one > after]
        page = left[: self.page]
        listed = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key].raw)}</Size>"
            f"<LastModified>{_text(self.objects[key].changed)}</LastModified>"
            f"<ETag>{escape(self.objects[key].etag)}</ETag></Contents>"
            for key in page
        )
        more = len(left) > len(page)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return document(
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{listed}{token}</ListBucketResult>"
        )

    def _list_uploads(self, query: Mapping[str, str]) -> web.Response:
        listed = "".join(
            f"<Upload><Key>{escape(one.key)}</Key><UploadId>{name}</UploadId>"
            f"<Initiated>{_text(one.begun)}</Initiated></Upload>"
            for name, one in self.uploads.items()
            if one.key.startswith(query.get("prefix", ""))
        )
        return document(
            "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>"
            f"{listed}</ListMultipartUploadsResult>"
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() - self.age, UTC)


def error(status: int, code: str) -> web.Response:
    body = f"<Error><Code>{code}</Code><Message>secret of a stranger</Message></Error>"
    return web.Response(status=status, text=body, content_type="application/xml")


def document(text: str) -> web.Response:
    return web.Response(text=text, content_type="application/xml")


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@asynccontextmanager
async def strict_s3(tls: ssl.SSLContext | None = None) -> AsyncIterator[StrictS3]:
    """Serve an empty bucket on a free port, by TLS where a context is given."""
    s3 = StrictS3()
    runner = web.ServerRunner(web.Server(s3.handle), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    scheme, host = ("http", "127.0.0.1") if tls is None else ("https", "localhost")
    s3.url = f"{scheme}://{host}:{runner.addresses[0][1]}"
    try:
        yield s3
    finally:
        s3.ended.set()
        await runner.cleanup()


def credentials_file(folder: Path, key: str = KEY, secret: str = SECRET, token: str = "") -> Path:
    path = folder / "credentials"
    lines = [f"aws_access_key_id = {key}", f"aws_secret_access_key = {secret}"]
    lines += [f"aws_session_token = {token}"] if token else []
    path.write_text("\n".join(["[default]", *lines]) + "\n")
    return path


@asynccontextmanager
async def bucket_at(
    url: str,
    folder: Path,
    *,
    name: str = BUCKET,
    prefix: str = "ours/",
    timeouts: S3Timeouts = QUICK,
    path_style: bool = True,
    ca_file: Path | None = None,
) -> AsyncIterator[S3Bucket]:
    """Open a client of a bucket; each one is a replica of its own."""
    location = BucketLocation(
        HttpUrl.parse(url), name, prefix=prefix, path_style=path_style, ca_file=ca_file
    )
    credentials = CredentialsFile(credentials_file(folder))
    dialer = unrestricted()
    bucket = S3Bucket(location, credentials, dialer, timeouts)
    try:
        yield bucket
    finally:
        await bucket.aclose()
        dialer.close()
        await asyncio.sleep(0)
