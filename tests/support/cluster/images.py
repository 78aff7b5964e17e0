"""Streams, Builds and Images by which a running image is known."""

from typing import Any

from upwell.api.builds.build import Build
from upwell.api.codec import decode_as
from upwell.api.image import Image, ImageStream
from upwell.oci import Digest


def digest(name: str) -> str:
    """Return the digest of an image that a test calls by a name."""
    return str(Digest.of(name.encode()))


def stream(namespace: str, name: str, **tags: list[str]) -> ImageStream:
    """Return a stream whose tags have had these images, the newest first."""
    histories = [
        {
            "tag": tag.replace("_", "."),
            "items": [
                {
                    "created": "2026-01-01T00:00:00Z",
                    "dockerImageReference": f"registry.test/{name}@{digest(one)}",
                    "image": digest(one),
                }
                for one in images
            ],
        }
        for tag, images in tags.items()
    ]
    metadata = {"namespace": namespace, "name": name}
    return decode_as(ImageStream, {"metadata": metadata, "status": {"tags": histories}})


def build(namespace: str, name: str, result: str, *made_of: str) -> Build:
    """Return a Build that has made an image of others."""
    inputs = [
        {"image": f"registry.test/base@{digest(one)}", "from": {"kind": "DockerImage"}}
        for one in made_of
    ]
    document: dict[str, Any] = {
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"imageInputs": inputs},
        "status": {"phase": "Complete", "output": {"to": {"imageDigest": digest(result)}}},
    }
    return decode_as(Build, document)


def described(name: str, *layers: str, manifests: tuple[str, ...] = ()) -> Image:
    """Return an Image with these layers, or an index of manifests."""
    return decode_as(
        Image,
        {
            "metadata": {"name": digest(name)},
            "dockerImageLayers": [{"name": digest(one), "size": 1} for one in layers],
            "dockerImageManifests": [{"digest": digest(one)} for one in manifests],
        },
    )
