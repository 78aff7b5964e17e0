import asyncio
from collections import Counter

import pytest
from tests.support.server.api_server import Api, config_map, deployment, names

from upwell.api.cluster_operator import ClusterOperator
from upwell.api.codec import decode
from upwell.api.core import ConfigMap, Namespace, Service
from upwell.api.meta import ObjectMeta, Resource
from upwell.store.interface import EVERYTHING, Listing, NotFoundError, Selector
from upwell.store.memory import MemoryStore

MAPS = "/api/v1/namespaces/shop/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


async def test_a_created_object_can_be_read_listed_replaced_and_deleted(api: Api) -> None:
    created = await api.send("POST", MAPS, config_map("one", a="1"))
    assert created.status == 201
    assert created.json["metadata"]["namespace"] == "shop"
    assert created.json["metadata"]["creationTimestamp"] == "2024-05-01T12:00:00Z"

    read = await api.get(f"{MAPS}/one")
    assert read.json == created.json
    listed = await api.get("/api/v1/configmaps")
    assert listed.json["kind"] == "ConfigMapList"
    assert listed.json["items"] == [created.json]

    replaced = await api.send("PUT", f"{MAPS}/one", config_map("one", a="2"))
    assert replaced.json["data"] == {"a": "2"}
    deleted = await api.send("DELETE", f"{MAPS}/one")
    assert deleted.json["status"] == "Success"
    assert deleted.json["details"]["uid"] == created.json["metadata"]["uid"]
    assert (await api.get(f"{MAPS}/one")).status == 404


async def test_an_object_brings_its_namespace_into_being(api: Api) -> None:
    assert [*names(await api.get("/api/v1/namespaces"))] == ["default"]
    made = await api.send("POST", MAPS, config_map("one"))
    assert [*names(await api.get("/api/v1/namespaces"))] == ["default", "shop"]
    [said] = made.said
    assert "namespace shop did not exist and was created: `upwell delete namespace shop`" in said
    assert (await api.send("POST", MAPS, config_map("two"))).said == ()


async def test_a_deleted_namespace_takes_its_objects_along(api: Api) -> None:
    await api.send("POST", MAPS, config_map("one"))
    assert (await api.send("DELETE", "/api/v1/namespaces/shop")).status == 200
    assert [*names(await api.get("/api/v1/configmaps"))] == []
    refused = await api.send("DELETE", "/api/v1/namespaces/default")
    assert (refused.status, refused.json["reason"]) == (403, "Forbidden")


async def test_a_yaml_body_is_read(api: Api) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {a: '1'}\n"
    created = await api.send("POST", MAPS, body, "application/yaml")
    assert created.json["data"] == {"a": "1"}


async def test_every_fault_is_a_cause_with_its_field(api: Api) -> None:
    wrong = deployment("web", replicas="two")
    wrong["spec"]["template"]["spec"]["containers"][0]["image"] = 5
    answer = await api.send("POST", DEPLOYMENTS, wrong)
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    details = answer.json["details"]
    assert (details["kind"], details["name"], details["group"]) == ("Deployment", "web", "apps")
    assert [(cause["reason"], cause["field"]) for cause in details["causes"]] == [
        ("FieldValueTypeInvalid", "spec.replicas"),
        ("FieldValueTypeInvalid", "spec.template.spec.containers[0].image"),
    ]


async def test_what_breaks_a_rule_is_told_with_its_type_and_its_object(api: Api) -> None:
    route = {
        "apiVersion": "route.openshift.io/v1",
        "kind": "Route",
        "metadata": {"name": "web"},
        "spec": {"to": {"kind": "Service", "name": ""}, "tls": {"termination": "none"}},
    }
    path = "/apis/route.openshift.io/v1/namespaces/shop/routes"
    details = (await api.send("POST", path, route)).json["details"]
    assert (details["kind"], details["name"]) == ("Route", "web")
    assert [(cause["reason"], cause["field"]) for cause in details["causes"]] == [
        ("FieldValueRequired", "spec.to.name"),
        ("FieldValueNotSupported", "spec.tls.termination"),
    ]


@pytest.mark.parametrize(
    ("path", "document", "reason"),
    [
        (MAPS, config_map("one") | {"kind": "Secret"}, "expected v1 ConfigMap"),
        (
            MAPS,
            config_map("one") | {"kind": "Confgmap"},
            "unknown kind Confgmap in v1; did you mean kind ConfigMap in",
        ),
        (MAPS, config_map("one") | {"kind": "Wobble"}, "leave it out, or apply it to a cluster"),
        (f"{MAPS}?dryRun=Some", config_map("one"), "dryRun: expected All"),
        (
            MAPS,
            config_map("one") | {"metadata": {"name": "one", "namespace": "other"}},
            "namespace 'other' is not that of the request",
        ),
        (MAPS, [], "expected a JSON object"),
        (MAPS, b"{", "not JSON"),
        (MAPS, b"[" * 20_000, "the body"),
        (MAPS, b'{"a":' * 500 + b"1" + b"}" * 500, "nested deeper"),
    ],
)
async def test_a_bad_request_says_why(api: Api, path: str, document: object, reason: str) -> None:
    answer = await api.send("POST", path, document)
    assert (answer.status, answer.json["reason"]) == (400, "BadRequest")
    assert reason in answer.json["message"]


async def test_an_unknown_field_is_kept_with_one_warning(api: Api) -> None:
    odd = deployment("web")
    odd["spec"]["colour"] = "red\nSet-Cookie: x"
    created = await api.send("POST", DEPLOYMENTS, odd)
    assert created.warnings == (
        '299 - "unknown field \\"spec.colour\\" is kept and has no effect"',
    )
    assert created.json["spec"]["colour"] == "red\nSet-Cookie: x"
    # What is odd already is not worth saying again.
    patch = {"spec": {"replicas": 7, "shape": 1}}
    path = f"{DEPLOYMENTS}/web"
    patched = await api.send("PATCH", path, patch, "application/merge-patch+json")
    assert [warning.split('"')[2] for warning in patched.warnings] == ["spec.shape\\"]


async def test_the_same_manifest_again_changes_nothing(api: Api) -> None:
    path = f"{DEPLOYMENTS}/web"
    created = await api.send("POST", DEPLOYMENTS, deployment("web"))
    api.clock.advance(hours=1)
    again = await api.send("PUT", path, deployment("web"))
    assert again.json == created.json
    patched = await api.send(
        "PATCH", path, deployment("web"), "application/strategic-merge-patch+json"
    )
    assert patched.json == created.json


async def test_a_stale_resource_version_conflicts(api: Api) -> None:
    created = (await api.send("POST", MAPS, config_map("one", a="1"))).json
    await api.send("PUT", f"{MAPS}/one", config_map("one", a="2"))
    stale = await api.send("PUT", f"{MAPS}/one", created)
    assert (stale.status, stale.json["reason"]) == (409, "Conflict")
    patch = {"metadata": {"resourceVersion": created["metadata"]["resourceVersion"]}}
    stale = await api.send("PATCH", f"{MAPS}/one", patch, "application/merge-patch+json")
    assert stale.status == 409


async def test_who_read_an_older_object_is_told_that_before_what_is_invalid(api: Api) -> None:
    """As `oc cancel-build` relies on, whose Build gets its spec meanwhile: it tries anew."""
    read = (await api.send("POST", DEPLOYMENTS, deployment("web"))).json
    newer = {**read, "metadata": {**read["metadata"], "labels": {"a": "b"}}}
    assert (await api.send("PUT", f"{DEPLOYMENTS}/web", newer)).status == 200
    read["spec"]["selector"]["matchLabels"] = {"app": "other"}  # immutable
    stale = await api.send("PUT", f"{DEPLOYMENTS}/web", read)
    assert (stale.status, stale.json["reason"]) == (409, "Conflict")
    patch = {"metadata": read["metadata"], "spec": read["spec"]}
    kind = "application/merge-patch+json"
    stale = await api.send("PATCH", f"{DEPLOYMENTS}/web", patch, kind)
    assert stale.status == 409


async def test_patches_that_race_all_count(api: Api) -> None:
    await api.send("POST", MAPS, config_map("one"))

    async def add(key: str) -> int:
        patch = {"data": {key: "x"}}
        answer = await api.send("PATCH", f"{MAPS}/one", patch, "application/merge-patch+json")
        return answer.status

    assert await asyncio.gather(*(add(f"k{n}") for n in range(6))) == [200] * 6
    assert len((await api.get(f"{MAPS}/one")).json["data"]) == 6


async def test_a_dry_run_answers_as_if_and_writes_nothing(api: Api) -> None:
    created = await api.send("POST", f"{MAPS}?dryRun=All", config_map("one"))
    assert created.status == 201
    assert (await api.get(f"{MAPS}/one")).status == 404
    await api.send("POST", DEPLOYMENTS, deployment("web"))
    path = f"{DEPLOYMENTS}/web"
    changed = await api.send("PUT", f"{path}?dryRun=All", deployment("web", replicas=9))
    assert (changed.json["spec"]["replicas"], changed.json["metadata"]["generation"]) == (9, 2)
    await api.send("DELETE", f"{path}?dryRun=All")
    await api.send("DELETE", path, {"dryRun": ["All"]})
    assert (await api.get(path)).json["spec"]["replicas"] == 2
    twice = await api.send("POST", f"{DEPLOYMENTS}?dryRun=All", deployment("web"))
    assert (twice.status, twice.json["reason"]) == (409, "AlreadyExists")


async def test_status_and_spec_are_written_apart(api: Api) -> None:
    path = f"{DEPLOYMENTS}/web"
    await api.send("POST", DEPLOYMENTS, deployment("web"))
    both = deployment("web", replicas=5) | {"status": {"readyReplicas": 5}}
    written = await api.send("PUT", path, both)
    assert (written.json["spec"]["replicas"], "status" in written.json) == (5, False)
    patch = {"spec": {"replicas": 9}, "status": {"readyReplicas": 3}}
    merge = "application/merge-patch+json"
    status = await api.send("PATCH", f"{path}/status", patch, merge)
    assert status.json["spec"]["replicas"] == 5
    assert status.json["status"] == {"readyReplicas": 3}
    assert (await api.get(f"{path}/status")).json == status.json
    cleared = await api.send("PUT", f"{path}/status", deployment("web"))
    assert cleared.json["status"] == {}
    assert (await api.get("/api/v1/namespaces/shop/configmaps/one/status")).status == 404


async def test_a_build_can_be_cancelled_through_its_status(api: Api) -> None:
    path = "/apis/build.openshift.io/v1/namespaces/shop/builds"
    build = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "Build",
        "metadata": {"name": "b-1"},
        "spec": {"source": {"dockerfile": "FROM base\n"}, "strategy": {"dockerStrategy": {}}},
    }
    await api.send("POST", path, build)
    patch = {"status": {"cancelled": True}}
    merge = "application/merge-patch+json"
    answer = await api.send("PATCH", f"{path}/b-1/status", patch, merge)
    assert answer.json["status"]["cancelled"] is True


async def test_patches_need_a_known_type(api: Api) -> None:
    await api.send("POST", MAPS, config_map("one"))
    answer = await api.send("PATCH", f"{MAPS}/one", {}, "application/json")
    assert (answer.status, answer.json["reason"]) == (415, "UnsupportedMediaType")
    operations = [{"op": "test", "path": "/data", "value": {"a": "9"}}]
    answer = await api.send("PATCH", f"{MAPS}/one", operations, "application/json-patch+json")
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("labelSelector=tier%3Dweb", ["a"]),
        ("labelSelector=tier%3D%3Dweb,env", []),
        ("labelSelector=tier+in+(web,db)", ["a", "b"]),
        ("labelSelector=tier+notin+(web)", ["b", "c"]),
        ("labelSelector=tier!%3Dweb,tier", ["b"]),
        ("labelSelector=!tier", ["c"]),
        ("fieldSelector=metadata.name%3Db", ["b"]),
        ("fieldSelector=metadata.name!%3Db,metadata.namespace%3Dshop", ["a", "c"]),
        ("fieldSelector=data.k%3D2", ["b"]),
    ],
)
async def test_selectors_choose(api: Api, selector: str, found: list[str]) -> None:
    for at, (name, tier) in enumerate([("a", "web"), ("b", "db"), ("c", None)]):
        document = config_map(name, k=str(at + 1))
        document["metadata"]["labels"] = {"tier": tier} if tier else {}
        await api.send("POST", MAPS, document)
    assert [*names(await api.get(f"{MAPS}?{selector}"))] == found


@pytest.mark.parametrize(
    "selector",
    [
        "labelSelector=a+in+b",
        "labelSelector=,",
        "labelSelector=a%3Db%3Dc",
        "labelSelector=a%3D%3D%3Db",
        "fieldSelector=a",
    ],
)
async def test_a_selector_that_is_not_understood_selects_nothing(api: Api, selector: str) -> None:
    answer = await api.get(f"{MAPS}?{selector}")
    assert (answer.status, answer.json["reason"]) == (400, "BadRequest")


async def test_pages_hold_every_object_once(api: Api) -> None:
    for at in range(5):
        await api.send("POST", MAPS, config_map(f"m{at}"))
    seen: list[str] = []
    token = ""
    while True:
        page = await api.get(f"{MAPS}?limit=2&continue={token}")
        seen += names(page)
        token = page.json["metadata"].get("continue", "")
        if not token:
            break
        assert page.json["metadata"]["remainingItemCount"] == 5 - len(seen)
    assert seen == ["m0", "m1", "m2", "m3", "m4"]
    assert (await api.get(f"{MAPS}?continue=nonsense")).status == 400


async def test_a_strict_client_is_refused_what_kubernetes_does_not_know(api: Api) -> None:
    odd = deployment("web")
    odd["spec"]["template"]["spec"]["containers"][0]["colour"] = "red"
    path = "spec.template.spec.containers[0].colour"
    refused = await api.send("POST", f"{DEPLOYMENTS}?fieldValidation=Strict", odd)
    assert refused.status == 400
    assert f'strict decoding error: unknown field "{path}"' in refused.json["message"]
    assert (await api.send("POST", f"{DEPLOYMENTS}?fieldValidation=strict", odd)).status == 422

    kept = await api.send("POST", f"{DEPLOYMENTS}?fieldValidation=Ignore", odd)
    assert (kept.status, kept.warnings) == (201, ())
    # What is stored already hinders no other change.
    strict = f"{DEPLOYMENTS}/web?fieldValidation=Strict"
    for patch, code in (({"spec": {"replicas": 3}}, 200), ({"spec": {"shape": 1}}, 400)):
        answer = await api.send("PATCH", strict, patch, "application/merge-patch+json")
        assert answer.status == code


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersionMatch=Whatever&resourceVersion=1", 422),
        ("resourceVersionMatch=Exact&resourceVersion=0", 422),
        ("resourceVersionMatch=Exact&resourceVersion=1", 410),
        ("resourceVersionMatch=NotOlderThan&resourceVersion=1", 200),
        ("resourceVersionMatch=Exact&resourceVersion={now}", 200),
    ],
)
async def test_a_list_is_of_the_version_that_is_asked_for(api: Api, query: str, code: int) -> None:
    for name in ("a", "b"):
        await api.send("POST", MAPS, config_map(name))
    now = (await api.get(MAPS)).json["metadata"]["resourceVersion"]
    assert (await api.get(f"{MAPS}?{query.format(now=now)}")).status == code


async def test_a_collection_is_deleted_by_its_selector(api: Api) -> None:
    for name in ("a", "b", "c"):
        document = config_map(name)
        document["metadata"]["labels"] = {"keep": "no" if name != "b" else "yes"}
        await api.send("POST", MAPS, document)
    await api.send("DELETE", f"{MAPS}?labelSelector=keep%3Dno")
    assert [*names(await api.get(MAPS))] == ["b"]


async def test_a_deletion_keeps_to_its_preconditions(api: Api) -> None:
    uid = (await api.send("POST", MAPS, config_map("one"))).json["metadata"]["uid"]
    path = f"{MAPS}/one"
    other = await api.send("DELETE", path, {"preconditions": {"uid": "another"}})
    assert other.status == 409
    stale = await api.send("DELETE", path, {"preconditions": {"resourceVersion": "0"}})
    assert stale.status == 409
    unknown = await api.send("DELETE", path, {"propagationPolicy": "Sideways"})
    assert unknown.status == 422
    assert (await api.send("DELETE", path, {"preconditions": {"uid": uid}})).status == 200


async def test_what_an_object_owns_stays_if_that_is_wanted(api: Api) -> None:
    uid = (await api.send("POST", MAPS, config_map("owner"))).json["metadata"]["uid"]
    owned = config_map("owned")
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    owned["metadata"]["ownerReferences"] = [reference]
    await api.send("POST", MAPS, owned)
    path = f"{MAPS}/owner?propagationPolicy=Orphan"
    assert (await api.send("DELETE", f"{path}&dryRun=All")).status == 200
    assert (await api.get(f"{MAPS}/owned")).json["metadata"]["ownerReferences"]
    assert (await api.send("DELETE", path)).status == 200
    assert [*names(await api.get(MAPS))] == ["owned"]
    assert not (await api.get(f"{MAPS}/owned")).json["metadata"].get("ownerReferences")


async def test_what_many_objects_own_is_looked_for_once(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(5):
        owner = config_map(f"owner-{at}")
        owner["metadata"]["labels"] = {"goes": "yes"}
        uid = (await api.send("POST", MAPS, owner)).json["metadata"]["uid"]
        owned = config_map(f"owned-{at}")
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": f"owner-{at}", "uid": uid}
        owned["metadata"]["ownerReferences"] = [reference]
        await api.send("POST", MAPS, owned)
    listed = Counter[type[Resource]]()
    list_all = MemoryStore.list

    async def counted[R: Resource](
        store: MemoryStore, kind: type[R], selector: Selector = EVERYTHING
    ) -> Listing[R]:
        listed[kind] += 1
        return await list_all(store, kind, selector)

    monkeypatch.setattr(MemoryStore, "list", counted)
    path = f"{MAPS}?labelSelector=goes&propagationPolicy=Orphan"
    assert (await api.send("DELETE", path)).status == 200
    assert [*names(await api.get(MAPS))] == [f"owned-{at}" for at in range(5)]
    assert (listed[ConfigMap], listed[Service]) == (3, 1), "before, for it, and afterwards"
    for at in range(5):
        owned = (await api.get(f"{MAPS}/owned-{at}")).json
        assert not owned["metadata"].get("ownerReferences")


async def test_instances_cannot_stay_behind(api: Api) -> None:
    await api.send("POST", DEPLOYMENTS, deployment("web"))
    refused = await api.send("DELETE", f"{DEPLOYMENTS}/web", {"propagationPolicy": "Orphan"})
    assert refused.status == 400
    assert "without --cascade=orphan" in refused.json["message"]
    one = await api.send("DELETE", DEPLOYMENTS, {"orphanDependents": True})
    assert one.status == 400
    assert (await api.get(f"{DEPLOYMENTS}/web")).status == 200


async def test_a_client_gets_metadata_alone_if_it_asks_for_that(api: Api) -> None:
    await api.send("POST", MAPS, config_map("one"))
    form = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    listed = (await api.get(MAPS, Accept=form)).json
    assert (listed["kind"], listed["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    (item,) = listed["items"]
    assert item.keys() == {"kind", "apiVersion", "metadata"}
    one = await api.get(f"{MAPS}/one", Accept=form.replace("List", ""))
    assert one.json["kind"] == "PartialObjectMetadata"
    unknown = await api.get(MAPS, Accept="application/json;as=Whatever;g=meta.k8s.io;v=v1")
    assert unknown.status == 406


async def test_a_finalizer_holds_an_object_until_it_is_removed(api: Api) -> None:
    held = config_map("one")
    held["metadata"]["finalizers"] = ["upwell.dev/test"]
    await api.send("POST", MAPS, held)
    deleting = await api.send("DELETE", f"{MAPS}/one")
    assert deleting.json["metadata"]["deletionTimestamp"]
    operations = [{"op": "remove", "path": "/metadata/finalizers"}]
    await api.send("PATCH", f"{MAPS}/one", operations, "application/json-patch+json")
    with pytest.raises(NotFoundError):
        await api.store.get(ConfigMap, "shop", "one")


async def test_a_table_has_the_columns_of_the_kind(api: Api) -> None:
    await api.send("POST", DEPLOYMENTS, deployment("web"))
    api.clock.advance(days=2, hours=3)
    table = (await api.get(DEPLOYMENTS, Accept=TABLE)).json
    assert table["kind"] == "Table"
    columns = [(c["name"], c["priority"]) for c in table["columnDefinitions"]]
    assert columns == [
        ("Name", 0),
        ("Ready", 0),
        ("Up-To-Date", 0),
        ("Available", 0),
        ("Age", 0),
        ("Hold", 1),
        ("Containers", 1),
        ("Images", 1),
        ("Selector", 1),
    ]
    assert table["rows"][0]["cells"] == [
        "web",
        "0/2",
        0,
        0,
        "2d3h",
        "<none>",
        "web",
        "app:1",
        "app=web",
    ]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    whole = await api.get(f"{DEPLOYMENTS}/web?includeObject=Object", Accept=TABLE)
    assert whole.json["rows"][0]["object"]["kind"] == "Deployment"
    assert (await api.get(DEPLOYMENTS, Accept="text/html")).status == 406


async def test_a_generated_name_is_completed(api: Api) -> None:
    document = config_map("") | {"metadata": {"generateName": "job-"}}
    created = await api.send("POST", MAPS, document)
    assert created.json["metadata"]["name"].startswith("job-")
    assert len(created.json["metadata"]["name"]) > len("job-")


async def test_a_secret_never_shows_in_an_error(api: Api) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "login"},
        "data": {"password": "hunter2!"},
        "stringData": {"other": ["hunter3"]},
    }
    answer = await api.send("POST", "/api/v1/namespaces/shop/secrets", secret)
    assert answer.status == 422
    assert "hunter" not in answer.text


async def test_unknown_places_are_not_found(api: Api) -> None:
    for path in (
        "/api/v1/namespaces/shop/nodes",
        "/apis/nope/v1/things",
        "/apis/nope",
        "/apis/apps/v1/deployments/web",
        f"{DEPLOYMENTS}/web/nope",
        f"{DEPLOYMENTS}/web/log/more",
        "/nowhere",
    ):
        answer = await api.get(path)
        assert (answer.status, answer.json["kind"]) == (404, "Status"), path
    assert (await api.send("POST", f"{DEPLOYMENTS}/web", {})).status == 405
    assert (await api.send("POST", "/api/v1/configmaps", config_map("x"))).status == 405


async def test_a_tag_is_a_view_of_its_stream(api: Api) -> None:
    digest = "sha256:" + "a" * 64
    stream = {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": "base", "namespace": "shop"},
        "spec": {"tags": [{"name": "12", "from": {"kind": "DockerImage", "name": "debian:12"}}]},
        "status": {
            "tags": [
                {
                    "tag": "12",
                    "items": [
                        {
                            "created": "2024-05-01T00:00:00Z",
                            "dockerImageReference": f"docker.io/library/debian@{digest}",
                            "image": digest,
                        }
                    ],
                }
            ]
        },
    }
    created = await api.store.create(decode(stream))
    await api.store.update_status(
        decode(stream).with_metadata(resource_version=created.resource_version)
    )
    path = "/apis/image.openshift.io/v1/namespaces/shop/imagestreamtags"
    tag = (await api.get(f"{path}/base:12")).json
    assert tag["image"]["dockerImageReference"] == f"docker.io/library/debian@{digest}"
    assert tag["tag"]["from"]["name"] == "debian:12"
    assert [*names(await api.get(path))] == ["base:12"]
    assert (await api.get(f"{path}/base:13")).status == 404
    assert (await api.get(f"{path}/other:12")).status == 404
    assert (await api.send("DELETE", f"{path}/base:12?dryRun=All")).status == 200
    assert (await api.send("DELETE", f"{path}/base:12")).status == 200
    assert [*names(await api.get(path))] == []
    streams = "/apis/image.openshift.io/v1/namespaces/shop/imagestreams/base"
    left = (await api.get(streams)).json
    assert (left["spec"]["tags"], left["status"]["tags"]) == ([], [])


async def test_a_namespace_that_exists_is_left_as_it_is(api: Api) -> None:
    stored = await api.store.create(Namespace(metadata=ObjectMeta(name="shop")))
    assert (await api.send("POST", MAPS, config_map("one"))).status == 201
    assert await api.store.get(Namespace, "", "shop") == stored


async def test_states_of_components_are_read_and_not_written(api: Api) -> None:
    operator = ClusterOperator(metadata=ObjectMeta(name="router"))
    await api.store.create(operator)
    path = "/apis/config.openshift.io/v1/clusteroperators"

    assert list(names(await api.get(path))) == ["router"]
    assert (await api.get(f"{path}/router/status")).status == 200
    document = (await api.get(f"{path}/router")).json
    for method, place in (
        ("POST", path),
        ("DELETE", path),
        ("PUT", f"{path}/router"),
        ("PATCH", f"{path}/router"),
        ("DELETE", f"{path}/router"),
        ("PUT", f"{path}/router/status"),
    ):
        answer = await api.send(method, place, document)
        assert answer.status == 405, place
        assert "is not possible here" in answer.json["message"]
    (found,) = [
        one
        for one in (await api.get("/apis/config.openshift.io/v1")).json["resources"]
        if one["name"] == "clusteroperators"
    ]
    assert found["verbs"] == ["get", "list", "watch"]
    assert (found["namespaced"], found["shortNames"]) == (False, ["co"])
