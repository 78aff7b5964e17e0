"""ImageStreamImports: someone asks what images are, and perhaps to import them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from upwell.actions.images import ExaminationError, ImageExaminer
from upwell.api.codec import InvalidObjectError, encode, encode_json
from upwell.api.image import ImageStream, ImageStreamImport, ImportSpec
from upwell.api.validation.openshift.images import import_faults
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.images.repository_tags import (
    GENERATION_ANNOTATION,
    INSECURE_ANNOTATION,
    repository_generation,
)
from upwell.server.auth.caller import require_rights
from upwell.server.http.errors import to_api_error
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import json_response
from upwell.server.http.target import RequestTarget
from upwell.server.objects.large_work import read_as
from upwell.server.objects.write_options import WriteOptions, write_options
from upwell.server.objects.writes import Writer
from upwell.store.interface import NotFoundError, Store

type Document = dict[str, Any]

_AT_ONCE = 8


class ImageImportHandlers:
    """Answers the creation of ImageStreamImports."""

    def __init__(
        self,
        store: Store,
        examiner: ImageExaminer,
        limits: ServerLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self._writer = Writer(store, clock)
        self._examiner = examiner
        self._limits = limits
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def create(self, request: Request, target: RequestTarget) -> Response:
        """Say what each image is now; with `spec.import`, declare the tags that import them.

        The import itself is the stream's own, and is tried again where it fails.
        """
        wanted = await read_as(request, self._limits, ImageStreamImport, _check)
        require_rights(request, wanted.with_metadata(namespace=target.namespace))
        status: Document = {}
        images = [self._image(target.namespace, image) for image in wanted.spec.images]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(image) for image in images]
        if tasks:
            status["images"] = [task.result() for task in tasks]
        if wanted.spec.repository is not None:
            status["repository"] = await self._repository(target.namespace, wanted.spec.repository)
        if wanted.spec.import_:
            options = write_options(request)
            stream = await self._declare(target, wanted, options)
            status["import"] = encode(stream)
        answer = wanted.with_metadata(namespace=target.namespace)
        return json_response(encode_json(answer.model_copy(update={"status": status})), 201)

    async def _image(self, namespace: str, wanted: ImportSpec) -> Document:
        tag = _tag_of(wanted)
        insecure = bool(wanted.import_policy and wanted.import_policy.insecure)
        return await self._examined(namespace, wanted.from_.name, tag, insecure=insecure)

    async def _examined(self, namespace: str, name: str, tag: str, *, insecure: bool) -> Document:
        try:
            async with self._slots:
                image = await self._examiner.image(namespace, name, insecure=insecure)
        except ExaminationError as error:
            return {"tag": tag, "status": _failure(error)}
        return {"tag": tag, "image": encode(image), "status": {"status": "Success"}}

    async def _repository(self, namespace: str, wanted: ImportSpec) -> Document:
        name = wanted.from_.name
        insecure = bool(wanted.import_policy and wanted.import_policy.insecure)
        try:
            plan = await self._examiner.tags(namespace, name, insecure=insecure)
        except ExaminationError as error:
            return {"status": _failure(error)}
        images = [
            self._examined(namespace, f"{name}:{tag}", tag, insecure=insecure)
            for tag in plan.imported
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(image) for image in images]
        return {
            "status": {"status": "Success"},
            "images": [task.result() for task in tasks],
            "additionalTags": list(plan.additional),
        }

    async def _declare(
        self, target: RequestTarget, wanted: ImageStreamImport, options: WriteOptions
    ) -> ImageStream:
        """Declare what is to be imported; what is declared already is imported again."""
        stream = RequestTarget(ImageStream, target.namespace, wanted.name)

        def change(document: Document) -> Document:
            return _with_imports(document, wanted)

        try:
            written = await self._writer.modify(stream, change, options)
        except NotFoundError:
            new = change({"metadata": {"name": wanted.name}})
            written = await self._writer.create(replace(stream, name=""), new, options)
        if not isinstance(written.resource, ImageStream):
            raise NotFoundError(stream.key)
        return written.resource


def _with_imports(document: Document, wanted: ImageStreamImport) -> Document:
    spec = dict(document.get("spec") or {})
    tags: Sequence[Document] = spec.get("tags") or ()
    named = {entry["name"]: entry for entry in tags}
    for image in wanted.spec.images:
        name = _tag_of(image)
        declared = _dump(image, "from_", "import_policy", "reference_policy")
        # Generation 0 asks for the import, also of what is known.
        named[name] = {**named.get(name, {}), **declared, "name": name, "generation": 0}
    if named:
        spec["tags"] = list(named.values())
    metadata = dict(document.get("metadata") or {})
    repository = wanted.spec.repository
    if repository is not None:
        spec["dockerImageRepository"] = repository.from_.name
        annotations = dict(metadata.get("annotations") or {})
        annotations[GENERATION_ANNOTATION] = str(repository_generation(annotations) + 1)
        if repository.import_policy and repository.import_policy.insecure:
            annotations[INSECURE_ANNOTATION] = "true"
        metadata["annotations"] = annotations
    return {**document, "metadata": metadata, "spec": spec}


def _dump(image: ImportSpec, *fields: str) -> Document:
    dumped: Document = image.model_dump(
        mode="json", by_alias=True, include=set(fields), exclude_unset=True, exclude_none=True
    )
    return dumped


def _tag_of(image: ImportSpec) -> str:
    """Return the tag that an image is imported to: as it says, else the tag that it has."""
    if image.to is not None and image.to.name:
        return image.to.name
    try:
        return Reference.parse(image.from_.name).tag or "latest"
    except InvalidReferenceError:
        return "latest"


def _check(wanted: ImageStreamImport) -> None:
    """Raise InvalidObjectError with all that is wrong."""
    if faults := tuple(import_faults(wanted)):
        raise InvalidObjectError(f"ImageStreamImport {wanted.name!r}", faults)


def _failure(error: ExaminationError) -> Document:
    fault = to_api_error(error)
    return {
        "status": "Failure",
        "message": str(fault),
        "reason": fault.reason,
        "code": fault.code,
    }
