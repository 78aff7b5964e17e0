"""Containers that cannot run yet, where several follow tags."""

import json

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.policy.images.streams import StreamName
from upwell.policy.rollouts.triggers import IMAGE_TRIGGERED, decide, unresolved

WITH_IMAGE = StreamName("shop", "there")
TAGS = {"web": "there:1", "mail": "missing:1"}


def config(said: str = "", *, generation: int = 2) -> DeploymentConfig:
    return decode_as(
        DeploymentConfig,
        {
            "metadata": {"namespace": "shop", "name": "gate", "generation": generation},
            "spec": {
                "triggers": [
                    {
                        "type": "ImageChange",
                        "imageChangeParams": {
                            "automatic": True,
                            "containerNames": [name],
                            "from": {"kind": "ImageStreamTag", "name": tag},
                        },
                    }
                    for name, tag in TAGS.items()
                ],
                "template": {"spec": {"containers": [{"name": n, "image": " "} for n in TAGS]}},
            },
            "status": {
                "conditions": [
                    {
                        "type": IMAGE_TRIGGERED,
                        "status": "False",
                        "reason": "StreamNotFound",
                        "message": said,
                        "observedGeneration": 2,
                    }
                ]
            },
        },
    )


def stream() -> ImageStream:
    image = f"registry.test/there@sha256:{'1' * 64}"
    item = {
        "image": image.partition("@")[2],
        "dockerImageReference": image,
        "created": "2026-03-01T12:00:00Z",
    }
    return decode_as(
        ImageStream,
        {
            "metadata": {"namespace": "shop", "name": "there"},
            "status": {"tags": [{"tag": "1", "items": [item]}]},
        },
    )


def test_the_tag_is_named_that_has_no_image() -> None:
    verdict = decide(config(), {WITH_IMAGE: stream()})
    assert verdict is not None
    assert "shop/missing" in verdict.message

    found = unresolved(config(verdict.message))

    assert found == f"containers web, mail wait: {verdict.message}"
    assert "there" not in found


def test_all_are_named_while_nobody_has_said_which() -> None:
    for unsaid in (config(), config("of before", generation=3)):
        found = unresolved(unsaid)
        assert found == (
            "containers web, mail wait for ImageStreamTag shop/there:1 and"
            " ImageStreamTag shop/missing:1 to have an image"
        )


def test_one_that_waits_alone_is_named_with_its_tag() -> None:
    pinned = f"registry.test/there@sha256:{'1' * 64}"
    tags = [
        {
            "from": {"kind": "ImageStreamTag", "name": tag},
            "fieldPath": f'spec.template.spec.containers[?(@.name=="{name}")].image',
        }
        for name, tag in TAGS.items()
    ]
    workload = decode_as(
        Deployment,
        {
            "metadata": {
                "namespace": "shop",
                "name": "gate",
                "annotations": {"image.openshift.io/triggers": json.dumps(tags)},
            },
            "spec": {
                "template": {
                    "spec": {
                        "containers": [
                            {"name": "web", "image": pinned},
                            {"name": "mail", "image": "x"},
                        ]
                    }
                }
            },
        },
    )

    found = unresolved(workload)

    assert found == "container mail waits for ImageStreamTag shop/missing:1 to have an image"
