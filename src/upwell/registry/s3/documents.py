"""XML of S3: answers are read by a parser without entities, within limits; nothing else is made."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from xml.parsers import expat
from xml.sax.saxutils import escape

MAX_BYTES = 8 * 1024 * 1024
"""Of one answer; a page of 1000 keys has less than 1 MiB."""
_MAX_DEPTH = 8


class DocumentError(ValueError):
    """A text is no XML as S3 writes it."""


@dataclass(slots=True)
class Element:
    """Element without its namespace and attributes."""

    name: str
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, name: str) -> Iterator["Element"]:
        """Yield the children of a name."""
        return (one for one in self.children if one.name == name)

    def value(self, name: str) -> str:
        """Return the text of the first child of a name; empty where there is none."""
        return next((one.text for one in self.all(name)), "")


def parse(raw: bytes) -> Element:
    """Return the root of a document; raises DocumentError."""
    root = Element("")
    open_elements = [root]

    def start(name: str, attributes: object) -> None:
        del attributes
        if len(open_elements) > _MAX_DEPTH:
            raise DocumentError("it is nested too deeply")
        element = Element(name.rpartition(" ")[2])
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(name: str) -> None:
        del name
        open_elements.pop()

    def text(data: str) -> None:
        open_elements[-1].text += data

    def refuse(*_: object) -> None:
        raise DocumentError("it declares a type")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.buffer_text = True
    try:
        parser.Parse(raw, True)  # noqa: FBT003 - positional in expat
    except expat.ExpatError:
        raise DocumentError("it is no XML") from None
    return root.children[0]


@dataclass(frozen=True, slots=True)
class ListedObject:
    """Object of a listing; `changed` in seconds since the epoch, by the endpoint's clock."""

    key: str
    size: int
    changed: float
    etag: str


@dataclass(frozen=True, slots=True)
class ListedUpload:
    """Multipart upload that is neither completed nor aborted; `begun` as ListedObject.changed."""

    key: str
    upload: str
    begun: float


@dataclass(frozen=True, slots=True)
class ListingPage[T]:
    """Part of a listing, and the parameters of the query for the next one; none at the end."""

    items: Sequence[T]
    following: Sequence[tuple[str, str]]


def objects_page(raw: bytes) -> ListingPage[ListedObject]:
    """Return a page of ListObjectsV2; raises DocumentError."""
    root = _root(raw, "ListBucketResult")
    items = [
        ListedObject(
            one.value("Key"),
            _number(one.value("Size")),
            _seconds(one.value("LastModified")),
            one.value("ETag"),
        )
        for one in root.all("Contents")
    ]
    token = root.value("NextContinuationToken")
    if root.value("IsTruncated") == "true" and not token:
        raise DocumentError("it has no token of the next page")
    return ListingPage(items, [("continuation-token", token)] if token else [])


def uploads_page(raw: bytes) -> ListingPage[ListedUpload]:
    """Return a page of ListMultipartUploads; raises DocumentError."""
    root = _root(raw, "ListMultipartUploadsResult")
    items = [
        ListedUpload(one.value("Key"), one.value("UploadId"), _seconds(one.value("Initiated")))
        for one in root.all("Upload")
    ]
    key, upload = root.value("NextKeyMarker"), root.value("NextUploadIdMarker")
    if root.value("IsTruncated") != "true":
        return ListingPage(items, [])
    if not key:
        raise DocumentError("it has no marker of the next page")
    return ListingPage(items, [("key-marker", key), ("upload-id-marker", upload)])


def upload_id(raw: bytes) -> str:
    """Return the id of a multipart upload that was begun; raises DocumentError."""
    found = _root(raw, "InitiateMultipartUploadResult").value("UploadId")
    if not found:
        raise DocumentError("it has no UploadId")
    return found


def error_code(raw: bytes) -> str:
    """Return the code of an error; empty where the document tells none."""
    try:
        root = parse(raw)
    except (DocumentError, IndexError):
        return ""
    code = root.value("Code") if root.name == "Error" else ""
    return code if code.isascii() and code.isalnum() else ""


def completion(parts: Iterable[str]) -> bytes:
    """Return the document that completes a multipart upload of parts with these ETags."""
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
        for number, etag in enumerate(parts, 1)
    )
    return f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()


def _root(raw: bytes, name: str) -> Element:
    root = parse(raw)
    if root.name != name:
        raise DocumentError(f"it is no {name}")
    return root


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise DocumentError("a size is no number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise DocumentError("a time is none") from None
