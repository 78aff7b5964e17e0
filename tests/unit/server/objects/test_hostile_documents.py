"""Documents that would hold the server up, grow in it, or stay in it."""

import asyncio
import json
import time
import tracemalloc
from typing import Any

import pytest
from tests.support.server.api_server import Api, config_map, deployment

from upwell.api.codec import decode_as
from upwell.api.core import ConfigMap
from upwell.api.image import ImageStream

DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
MAPS = "/api/v1/namespaces/shop/configmaps"
STREAMS = "/apis/image.openshift.io/v1/namespaces/shop/imagestreams"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"


def stream(rule: str) -> dict[str, Any]:
    tag = {
        "name": "stable",
        "annotations": {"upwell.dev/tag-selection": rule},
        "from": {"kind": "DockerImage", "name": "vendor.test/app"},
    }
    return {"metadata": {"namespace": "shop", "name": "app"}, "spec": {"tags": [tag]}}


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"replicas": 10**9}, "spec.replicas: 1000000000 is more than 10000"),
        ({"replicas": 10**30}, "spec.replicas"),
        ({"revisionHistoryLimit": 2**31}, "spec.revisionHistoryLimit"),
        ({"strategy": {"rollingUpdate": {"maxSurge": 2**31}}}, "rollingUpdate.maxSurge"),
    ],
)
async def test_a_number_that_nothing_needs_is_refused_by_its_path(
    api: Api, spec: dict[str, Any], path: str
) -> None:
    answer = await api.send("POST", DEPLOYMENTS, deployment("web", **spec))

    assert (answer.status, path in answer.text) == (422, True), answer.text


async def test_a_scale_has_the_same_bound(api: Api) -> None:
    await api.send("POST", DEPLOYMENTS, deployment("web"))

    path = f"{DEPLOYMENTS}/web/scale"
    answer = await api.send("PATCH", path, {"spec": {"replicas": 10**9}}, MERGE)

    assert (answer.status, "spec.replicas" in answer.text) == (422, True), answer.text


@pytest.mark.parametrize("field", ["spec", "metadata"])
async def test_a_scale_that_is_no_scale_is_refused(api: Api, field: str) -> None:
    await api.send("POST", DEPLOYMENTS, deployment("web"))

    answer = await api.send("PUT", f"{DEPLOYMENTS}/web/scale", {field: [1]})

    assert (answer.status, f"{field}: expected an object" in answer.text) == (422, True)


async def test_the_numbers_of_a_container_are_bounded_too(api: Api) -> None:
    made = deployment("web")
    probe = {"httpGet": {"port": 80}, "failureThreshold": 2**40}
    made["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = probe

    answer = await api.send("POST", DEPLOYMENTS, made)

    assert answer.status == 422
    assert "spec.template.spec.containers[0].readinessProbe.failureThreshold" in answer.text


@pytest.mark.parametrize("rule", ["pattern:(?=a)", "pattern:(a{1,500}){1,500}", "semver:high"])
async def test_a_selection_that_cannot_be_followed_is_refused(api: Api, rule: str) -> None:
    answer = await api.send("POST", STREAMS, stream(rule))

    assert answer.status == 422
    assert "spec.tags[0].annotations[upwell.dev/tag-selection]" in answer.text


async def test_one_that_was_stored_before_hinders_no_other_change(api: Api) -> None:
    await api.store.create(decode_as(ImageStream, stream("pattern:(?=a)")))

    labelled = {"metadata": {"labels": {"a": "b"}}}
    changed = await api.send("PATCH", f"{STREAMS}/app", labelled, MERGE)
    worse = await api.send("PUT", f"{STREAMS}/app", stream(r"pattern:(a)\1"))

    assert changed.status == 200, changed.text
    assert worse.status == 422


@pytest.mark.parametrize("directive", ["$setElementOrder/args", "$deleteFromPrimitiveList/args"])
async def test_lists_of_a_patch_take_linear_time_and_no_step_of_the_loop(
    api: Api, directive: str
) -> None:
    words = [f"--option-{number}" for number in range(18_000)]
    made = deployment("web")
    made["spec"]["template"]["spec"]["containers"][0]["args"] = words
    assert (await api.send("POST", DEPLOYMENTS, made)).status == 201

    container = {"name": "web", directive: words[::-1]}
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    longest, answer = await longest_step(api.send("PATCH", f"{DEPLOYMENTS}/web", patch, STRATEGIC))

    assert answer.status == 200, answer.text[:500]
    assert longest < 2.5  # quadratic, it was a minute


async def test_what_was_repaired_to_be_looked_at_is_never_stored(api: Api) -> None:
    await api.send("POST", DEPLOYMENTS, deployment("web"))
    before = (await api.get(f"{DEPLOYMENTS}/web")).text
    broken, changes = deployment("web"), {"replicas": "3", "paused": "true"}
    broken["spec"] |= changes
    operations = [{"op": "add", "path": "/spec/replicas", "value": "3"}]
    new = json.loads(json.dumps(broken).replace('"web"', '"new"'))
    apply, one = "application/apply-patch+yaml", f"{DEPLOYMENTS}/web?fieldManager=m"

    requests: list[tuple[str, str, Any, str]] = [
        ("POST", f"{DEPLOYMENTS}?fieldManager=m", new, "application/json"),
        ("PUT", one, broken, "application/json"),
        ("PATCH", one, {"spec": changes}, MERGE),
        ("PATCH", one, {"spec": changes}, STRATEGIC),
        ("PATCH", one, operations, JSON_PATCH),
        ("PATCH", f"{one}&force=true", broken, apply),
        ("PATCH", f"{DEPLOYMENTS}/new?fieldManager=m", new, apply),
    ]

    answers = [
        await api.send(method, f"{path}{dry_run}", body, sent_as)
        for method, path, body, sent_as in requests
        for dry_run in ("", "&dryRun=All")
    ]

    found = {(answer.status, "spec.replicas" in answer.text) for answer in answers}
    assert found == {(422, True)}
    assert (await api.get(f"{DEPLOYMENTS}/web")).text == before
    assert (await api.get(f"{DEPLOYMENTS}/new")).status == 404


async def longest_step(request: Any) -> tuple[float, Any]:
    """Return the most computing time in which the loop did not turn while a request is answered."""
    task, longest = asyncio.ensure_future(request), 0.0
    while not task.done():
        before = time.thread_time()
        await asyncio.wait({task}, timeout=0.005)
        longest = max(longest, time.thread_time() - before)
    return longest, await task


async def test_lists_of_what_is_no_text_are_ordered_too(api: Api) -> None:
    await api.send("POST", MAPS, config_map("settings") | {"extra": [{"a": 1}, {"b": 2}]})

    patch = {"$setElementOrder/extra": [{"b": 2}, {"a": 1}]}
    answer = await api.send("PATCH", f"{MAPS}/settings", patch, STRATEGIC)

    assert answer.json["extra"] == [{"b": 2}, {"a": 1}]


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "add", "path": "/data" + "/a" * 70, "value": {}}],
        [{"op": "copy", "from": "/extra", "path": "/extra" + "/a" * at} for at in range(1, 60)]
        * 20,
        [{"op": "copy", "from": "/extra", "path": "/extra/a"}] * 11_000,
        [{"op": "x" * 100_000}],
    ],
    ids=["deep", "nested copies", "operations", "name"],
)
async def test_a_patch_does_not_grow_what_a_body_could_not_bring(
    api: Api, operations: list[Any]
) -> None:
    await api.send("POST", MAPS, config_map("settings") | {"extra": {"a": {}}})

    answer = await api.send("PATCH", f"{MAPS}/settings", operations, JSON_PATCH)

    assert answer.status in {413, 422}
    assert len(answer.text) < 2000


@pytest.mark.parametrize(
    "body",
    [
        rb'{"kind": "\ud800", "apiVersion": "v1", "metadata": {"name": "a"}}',
        rb'{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a\udfff"}}',
        rb'{"metadata": {"name": "a", "annotations": {"\uD800": "x"}}}',
    ],
)
async def test_half_of_a_surrogate_pair_is_no_text(api: Api, body: bytes) -> None:
    for content_type in ("application/json", "application/yaml"):
        answer = await api.send("POST", MAPS, body, content_type)
        assert (answer.status, answer.json["reason"]) == (400, "BadRequest"), answer.text
    patched = await api.send("PATCH", f"{MAPS}/a", body, MERGE)
    assert patched.status == 400


async def test_a_surrogate_pair_is_a_letter(api: Api) -> None:
    body = rb'{"metadata": {"name": "a", "annotations": {"face": "\ud83d\ude00"}}}'

    answer = await api.send("POST", MAPS, body)

    assert answer.json["metadata"]["annotations"] == {"face": "\U0001f600"}


@pytest.mark.parametrize("token", ["W1tb" * 15_000, "W1tb" * 200, "W10", "bnVsbA==", "A" * 900])
async def test_a_continue_token_of_somebody_else_is_refused(api: Api, token: str) -> None:
    answer = await api.get(f"{MAPS}?limit=1&continue={token}")

    assert answer.status == 400
    assert "continue" in answer.text


@pytest.mark.parametrize(
    "extra",
    [
        [0] * 20_001,
        json.loads('{"a":' * 50 + json.dumps(dict.fromkeys(map(str, range(15_000)), 0)) + "}" * 50),
    ],
    ids=["many", "deep and many"],
)
async def test_more_values_than_an_object_has_are_refused(api: Api, extra: Any) -> None:
    answer = await api.send("POST", MAPS, config_map("large") | {"extra": extra})

    assert (answer.status, "values" in answer.text) == (413, True), answer.text


def listed(count: int) -> bytes:
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: large}\ndata:\n"
    return (head + "".join(f"  k{at}: v\n" for at in range(count))).encode()


async def test_a_real_objects_many_keys_are_applied_and_written_back(api: Api) -> None:
    path = f"{MAPS}/large?fieldManager=m"
    applied = await api.send("PATCH", path, listed(9_000), "application/apply-patch+yaml")
    again = await api.send("PUT", f"{MAPS}/large", (await api.get(f"{MAPS}/large")).json)

    assert (applied.status, again.status) == (201, 200), applied.text[:500] + again.text[:500]


async def test_too_many_values_are_refused_before_they_are_made(api: Api) -> None:
    body = listed(95_000)
    tracemalloc.start()
    try:
        path = f"{MAPS}/large?fieldManager=m"
        answer = await api.send("PATCH", path, body, "application/apply-patch+yaml")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (answer.status, "values" in answer.text) == (400, True), answer.text[:500]
    assert most < 12 * 1024**2


async def test_what_yaml_merges_counts_as_often_as_it_is_merged(api: Api) -> None:
    base = ", ".join(f"k{at}: v" for at in range(5_000))
    merges = "".join("  - {<<: *base}\n" for _ in range(4_000))
    body = f"metadata: {{name: a}}\nbase: &base {{{base}}}\nextra:\n{merges}".encode()
    tracemalloc.start()
    try:
        answer = await api.send("POST", MAPS, body, "application/yaml")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (answer.status, "too large once it is merged" in answer.text) == (400, True)
    assert most < 24 * 1024**2


@pytest.mark.parametrize("media_type", [MERGE, STRATEGIC])
async def test_an_object_does_not_grow_patch_by_patch(api: Api, media_type: str) -> None:
    await api.send("POST", MAPS, config_map("growing"))
    statuses = []
    for part in range(4):
        patch = {"data": {f"k{part}-{at}": "" for at in range(4_000)}}
        answer = await api.send("PATCH", f"{MAPS}/growing", patch, media_type)
        statuses.append(answer.status)
    less = {"data": {f"k0-{at}": None for at in range(100)}}
    smaller = await api.send("PATCH", f"{MAPS}/growing", less, media_type)

    assert statuses == [200, 200, 413, 413]
    assert "managedFields" in answer.text
    assert smaller.status == 200


async def test_copies_do_not_make_more_values_than_an_object_has(api: Api) -> None:
    await api.send("POST", MAPS, config_map("copied") | {"extra": [[0] * 1000]})
    copies = [{"op": "copy", "from": "/extra/0", "path": "/extra/-"}] * 30

    answer = await api.send("PATCH", f"{MAPS}/copied", copies, JSON_PATCH)

    assert (answer.status, "values" in answer.text) == (413, True), answer.text[:500]


async def test_one_that_was_larger_before_can_be_made_smaller(api: Api) -> None:
    large = config_map("old", **{f"k{at}": "" for at in range(25_000)})
    large["metadata"]["namespace"] = "shop"
    await api.store.create(decode_as(ConfigMap, large))

    less = await api.send("PATCH", f"{MAPS}/old", {"data": {"k0": None, "k1": None}}, MERGE)
    more = await api.send("PATCH", f"{MAPS}/old", {"data": {"more": "1"}}, MERGE)

    assert (less.status, more.status) == (200, 413), less.text[:300]


async def test_a_body_of_empty_lists_takes_no_memory(api: Api) -> None:
    body = b'{"extra": [' + b"[]," * 900_000 + b"[]]}"
    tracemalloc.start()
    try:
        answer = await api.send("POST", MAPS, body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (answer.status, "values" in answer.text) == (413, True)
    assert most < 24 * 1024**2


async def test_a_text_of_many_commas_is_one_value(api: Api) -> None:
    answer = await api.send("POST", MAPS, config_map("csv", table="1,[2],{3}\n" * 60_000))

    assert answer.status == 201, answer.text
