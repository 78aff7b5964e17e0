"""Decisions about Waves at the API: who may make them, and what is recorded."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.api_server import START, ApiAnswer
from tests.support.server.granted_api import GrantedApi, open_granted_api, path_of

from upwell.api.image import ImageStream, ImportState, NamedTagEventList, TagEvent
from upwell.api.meta import ObjectMeta
from upwell.api.values.author import author_of
from upwell.api.waves.wave import StreamApproval, Wave, WaveApproval, WaveSpec, WaveStatus
from upwell.oci import Digest
from upwell.policy.images.repository_tags import GENERATION_ANNOTATION

NAME = "debian-11"
NEW, OLD = (str(Digest.of(mark)) for mark in (b"new", b"old"))
PATH = f"/apis/upwell.dev/v1alpha1/waves/{NAME}"


async def decided(served: GrantedApi) -> WaveStatus:
    return (await served.api.store.get(Wave, "", NAME)).status


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    """Serve a Wave that needs approval, whose image ada had imported, and a stream that has it."""
    async with open_granted_api(tmp_path) as served:
        spec = WaveSpec(
            image="vendor.test/debian:11",
            digest=NEW,
            approval=WaveApproval.MANUAL,
            requested_by="ada",
        )
        await served.api.store.create(Wave(metadata=ObjectMeta(name=NAME), spec=spec))
        await _imported(served)
        await served.grant("ada", "promoter@*")
        await served.grant("grace", "approver@*")
        await served.grant("joan", "overrider@*")
        await served.grant("tenant", "promoter@shop")
        await served.grant("builder", "builder@shop")
        yield served


async def _imported(
    served: GrantedApi, name: str = "debian", requested_by: str | None = None
) -> None:
    source = {"kind": "DockerImage", "name": "vendor.test/debian:11"}
    stream = await served.api.store.create(
        ImageStream.model_validate(
            {
                "metadata": {"name": name, "namespace": "shop"},
                "spec": {"tags": ({"name": "latest", "from": source},)},
            }
        )
    )
    events = tuple(
        TagEvent(
            created=START,
            docker_image_reference=f"vendor.test/debian@{one}",
            image=one,
            requested_by=requested_by if one == NEW else None,
        )
        for one in (NEW, OLD)
    )
    state = ImportState(source=source["name"], imported_digest=NEW, upstream_digest=NEW)
    history = NamedTagEventList(tag="latest", items=events, import_state=state)
    status = stream.status.model_copy(update={"tags": (history,)})
    await served.api.store.update_status(stream.with_status(status))


async def ask(served: GrantedApi, who: str, verb: str, **body: Any) -> ApiAnswer:
    return await served.send(who, "POST", f"{PATH}/{verb}", body)


@pytest.mark.parametrize("who", ["tenant", "builder"])
@pytest.mark.parametrize("verb", ["approve", "cancel", "retry"])
async def test_a_wave_is_decided_about_by_who_may_everywhere(
    served: GrantedApi, who: str, verb: str
) -> None:
    answer = await ask(served, who, verb, reason="mine")
    assert answer.status == 403
    status = await decided(served)
    assert (status.approval, status.cancelled) == (None, None)


async def test_an_approval_has_who_when_and_why_from_the_server(served: GrantedApi) -> None:
    forged = {"reason": "seen", "by": "root", "at": "2001-01-01T00:00:00Z"}
    assert (await ask(served, "grace", "approve", **forged)).status == 200
    given = (await decided(served)).approval
    assert given is not None
    assert (given.by, given.reason, given.at) == ("grace", "seen", served.api.clock())
    again = await ask(served, "grace", "approve")
    assert (again.status, "approved already, by grace" in again.text) == (422, True)


async def test_who_has_the_image_imported_needs_somebody_else_or_the_right_to_override(
    served: GrantedApi,
) -> None:
    alone = await ask(served, "ada", "approve", reason="hurry")
    assert (alone.status, "somebody else approves it" in alone.text) == (422, True)
    assert (await ask(served, "ada", "approve", override="hurry")).status == 403
    await served.grant("ada", "promoter@*", "overrider@*")
    assert (await ask(served, "ada", "approve", override="hurry")).status == 200
    given = (await decided(served)).approval
    assert given is not None
    assert given.override == "hurry"


async def test_who_asks_for_a_whole_repository_has_its_images_imported(served: GrantedApi) -> None:
    await served.grant("ken", "builder@shop")
    source = {"dockerImageRepository": "vendor.test/debian"}
    stream = {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": "all"},
        "spec": source,
    }
    assert (await served.send("ken", "POST", path_of("imagestreams", "shop"), stream)).status == 201
    merge = {"content_type": "application/merge-patch+json"}
    asked = {"metadata": {"annotations": {GENERATION_ANNOTATION: "1"}}}
    path = path_of("imagestreams", "shop", "all")
    assert (await served.send("builder", "PATCH", path, asked, **merge)).status == 200
    assert author_of(await served.api.store.get(ImageStream, "shop", "all")) == "builder"


async def test_an_approval_is_not_lost_with_its_wave(served: GrantedApi) -> None:
    await served.grant("root", "admin@*")
    await ask(served, "grace", "approve")
    for path in (PATH, PATH.rpartition("/")[0]):
        answer = await served.send("root", "DELETE", path)
        assert (answer.status, f"`upwell wave cancel {NAME}" in answer.text) == (409, True)
    await ask(served, "ada", "cancel", reason="broken")
    assert (await served.send("root", "DELETE", PATH)).status == 200


async def test_a_stream_of_a_namespace_is_approved_there(served: GrantedApi) -> None:
    path = path_of("imagestreams", "shop", "debian", "approve")
    assert (await served.send("builder", "POST", path, {"wave": NAME})).status == 403
    assert (await served.send("tenant", "POST", path, {})).status == 422
    answer = await served.send("tenant", "POST", path, {"wave": NAME})
    assert (answer.status, "vendor.test" in answer.text) == (200, False), "it tells no Wave"
    [given] = (await decided(served)).stream_approvals
    assert (given.by, given.namespace, given.stream) == ("tenant", "shop", "debian")


async def test_who_has_a_stream_import_an_image_needs_somebody_else_there_too(
    served: GrantedApi,
) -> None:
    await _imported(served, "asked", "ben")
    await served.grant("tenant", "promoter@shop", person="ben")
    path = path_of("imagestreams", "shop", "asked", "approve")
    alone = await served.send("tenant", "POST", path, {"wave": NAME})
    assert (alone.status, "role overrider in namespace shop" in alone.text) == (422, True)
    hurry = {"wave": NAME, "override": "nobody else is awake"}
    assert (await served.send("tenant", "POST", path, hurry)).status == 403
    await served.grant("tenant", "overrider@shop", person="ben")
    assert (await served.send("tenant", "POST", path, hurry)).status == 200
    [given] = (await decided(served)).stream_approvals
    assert (given.by, given.override) == ("ben", "nobody else is awake")

    await _imported(served, "again", "ben")
    other = path_of("imagestreams", "shop", "again", "approve")
    assert (await served.send("grace", "POST", other, {"wave": NAME})).status == 200


async def test_one_namespace_does_not_fill_a_wave_with_its_approvals(served: GrantedApi) -> None:
    path = path_of("imagestreams", "shop", "debian", "approve")
    long = await served.send("tenant", "POST", path, {"wave": NAME, "reason": "x" * 201})
    assert long.status == 422
    wave = await served.api.store.get(Wave, "", NAME)
    given = tuple(
        StreamApproval(by="tenant", at=START, namespace=namespace, stream=f"debian-{number}")
        for namespace, count in (("shop", 99), ("bank", 100))
        for number in range(count)
    )
    status = wave.status.model_copy(update={"stream_approvals": given})
    await served.api.store.update_status(wave.with_status(status))
    assert (await served.send("tenant", "POST", path, {"wave": NAME})).status == 200
    await _imported(served, "another")
    other = path_of("imagestreams", "shop", "another", "approve")
    answer = await served.send("tenant", "POST", other, {"wave": NAME})
    assert (answer.status, "for 100 ImageStreams of namespace shop" in answer.text) == (422, True)
    assert len((await decided(served)).stream_approvals) == 200


async def test_an_approval_for_a_stream_tells_nothing_of_waves_of_others(
    served: GrantedApi,
) -> None:
    spec = WaveSpec(image="secret.test/base:1", digest=OLD)
    await served.api.store.create(Wave(metadata=ObjectMeta(name="base-1"), spec=spec))
    path = path_of("imagestreams", "shop", "debian", "approve")
    answers = [await served.send("tenant", "POST", path, {"wave": n}) for n in ("base-1", "base-2")]
    told = {(one.status, one.json["message"].replace("base-2", "base-1")) for one in answers}
    assert told == {(422, "ImageStream shop/debian has not imported the change of a Wave base-1")}


async def test_a_cancellation_needs_a_reason(served: GrantedApi) -> None:
    assert (await ask(served, "ada", "cancel")).status == 422
    assert (await ask(served, "ada", "cancel", reason="broken", running=True)).status == 200
    given = (await decided(served)).cancelled
    assert given is not None
    assert (given.by, given.reason, given.running) == ("ada", "broken", True)


async def test_an_update_neither_approves_nor_says_an_unknown_severity(served: GrantedApi) -> None:
    merge = {"content_type": "application/merge-patch+json"}
    auto = await served.send("ada", "PATCH", PATH, {"spec": {"approval": "auto"}}, **merge)
    assert (auto.status, "upwell wave approve" in auto.text) == (422, True)
    other = await served.send("ada", "PATCH", PATH, {"spec": {"requestedBy": "joan"}}, **merge)
    assert other.status == 422
    urgent = {"metadata": {"labels": {"upwell.dev/severity": "urgent"}}}
    unknown = await served.send("ada", "PATCH", PATH, urgent, **merge)
    assert (unknown.status, '\\"critical\\"' in unknown.text) == (422, True)
    status = {"status": {"approval": {"by": "ada", "at": "2024-05-01T12:00:00Z"}}}
    assert (await served.send("ada", "PATCH", f"{PATH}/status", status, **merge)).status == 403
    await served.send("ada", "PATCH", PATH, status, **merge)
    assert (await decided(served)).approval is None
