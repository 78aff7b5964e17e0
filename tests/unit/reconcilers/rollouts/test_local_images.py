import json
from pathlib import Path

from tests.support.builds.memory_builds import NAMESPACE, BuildMachine, image_stream, push

from upwell.api.image import LookupPolicy
from upwell.api.pod_template import PodTemplate
from upwell.policy.images.local_names import RESOLVE_NAMES_ANNOTATION
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.rollouts import TemplateImages
from upwell.reconcilers.rollouts.local_images import LocalImages


async def test_a_workload_may_name_a_stream_in_short(tmp_path: Path) -> None:
    machine = BuildMachine(tmp_path)
    stream = image_stream("app")
    spec = stream.spec.model_copy(update={"lookup_policy": LookupPolicy(local=True)})
    await machine.store.create(stream.model_copy(update={"spec": spec}))
    await machine.store.create(image_stream("closed"))
    streams = machine.streams()
    wanted = {}
    for name in ("app", "closed"):
        digest = await push(machine.internal, f"{NAMESPACE}/{name}:1", name)
        await streams.reconcile((await machine.stream(name)).key)
        wanted[name] = f"{machine.internal.host}/{NAMESPACE}/{name}@{digest}"
    local = LocalImages(machine.store)
    assert await local.resolve("app:1", NAMESPACE) == wanted["app"]
    assert await local.resolve("closed:1", NAMESPACE) == "closed:1"
    assert await local.resolve("missing:1", NAMESPACE) == "missing:1"
    assert await local.resolve("app:1", "elsewhere") == "app:1"

    images = TemplateImages(
        machine.internal, machine.secrets, InsecureRegistries(machine.store), local
    )
    containers = [{"name": "a", "image": "app:1"}, {"name": "b", "image": "closed:1"}]
    metadata = {"annotations": {RESOLVE_NAMES_ANNOTATION: "*"}}
    template = PodTemplate.model_validate_json(
        json.dumps({"metadata": metadata, "spec": {"containers": containers}})
    )
    assert await images.pin(template, NAMESPACE) == {"a": wanted["app"], "b": wanted["closed"]}
