"""/metrics: what it counts, and that no label grows without bound; /readyz's checks."""

import asyncio
from collections.abc import Iterator, Sequence
from math import isnan

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.support.registry.memory import RegistryInMemory
from tests.support.server.api_server import Api, deployment

from upwell.api.codec import decode
from upwell.api.core import IMAGE_STORAGE, ResourceQuota, ResourceQuotaStatus
from upwell.api.meta import ObjectMeta
from upwell.oci import Digest, Reference
from upwell.registry.budget import RequestBudget
from upwell.registry.errors import ManifestUnknownError
from upwell.server.metrics.counted_registry import CountedRegistry
from upwell.server.metrics.gauges import budget_gauges
from upwell.server.metrics.metrics import Metrics
from upwell.store.interface import StoreError
from upwell.store.memory import MemoryStore

SCRAPE_TIMEOUT = "X-Prometheus-Scrape-Timeout-Seconds"


def samples(families: Sequence[Metric]) -> Iterator[tuple[str, float]]:
    for family in families:
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            yield f"{sample.name}{{{labels}}}" if labels else sample.name, sample.value


async def scraped(api: Api) -> dict[str, float]:
    answer = await api.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return dict(samples(list(text_string_to_metric_families(answer.text))))


def build(name: str, phase: str) -> dict[str, object]:
    return {
        "apiVersion": "build.openshift.io/v1",
        "kind": "Build",
        "metadata": {"namespace": "shop", "name": name},
        "status": {"phase": phase},
    }


async def test_requests_are_counted_by_what_they_are(api: Api) -> None:
    await api.get("/api/v1/namespaces/shop/configmaps/a")
    await api.get("/api/v1/namespaces/shop/configmaps/b")
    await api.get("/nothing/of/ours")
    found = await scraped(api)
    gets = "upwell_http_requests_total{code=404,resource=configmaps,verb=get}"
    assert found[gets] == 2
    assert found["upwell_http_requests_total{code=404,resource=other,verb=get}"] == 1
    seconds = "upwell_http_request_duration_seconds_count{resource=configmaps,verb=get}"
    assert found[seconds] == 2


async def test_no_name_and_no_path_becomes_a_label(api: Api) -> None:
    for path in ("/secret-path", "/apis/x.example/v1/things/secret-path", "/v2/secret-path/a"):
        await api.get(path)
    await api.send("BREW", "/api/v1/namespaces/secret-path/configmaps")
    text = (await api.get("/metrics")).text
    assert "upwell_http_requests_total" in text
    assert "secret-path" not in text
    assert "BREW" not in text


async def test_the_state_of_objects_is_told(api: Api) -> None:
    for number, phase in enumerate(("New", "Pending", "Running", "Complete")):
        made = await api.store.create(decode(build(f"b-{number}", phase)))
        wanted = decode(build(f"b-{number}", phase))
        await api.store.update_status(wanted.with_metadata(resource_version=made.resource_version))
    await api.send("POST", "/apis/apps/v1/namespaces/shop/deployments", deployment("web"))
    found = await scraped(api)
    assert found["upwell_builds{phase=Running}"] == 1
    assert found["upwell_builds{phase=Failed}"] == 0
    assert found["upwell_builds_waiting"] == 2
    assert isnan(found["upwell_builds_remaining_seconds"])  # none has told how long it takes
    assert found["upwell_objects{kind=Build}"] == 4
    assert found["upwell_rollouts{state=Progressing}"] == 1
    assert found["upwell_workloads_behind"] == 1  # it has never served


async def test_open_watches_are_counted(api: Api) -> None:
    assert (await scraped(api))["upwell_watches"] == 0
    async with api.stream("/api/v1/configmaps?watch=true"):
        found = await scraped(api)
    assert found["upwell_watches"] == 1
    assert not any("verb=watch" in name for name in found if "duration" in name)


async def test_what_takes_longer_than_the_scrape_may_is_left_out(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hanging(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(MemoryStore, "list", hanging)
    answer = await api.get("/metrics", **{SCRAPE_TIMEOUT: "0.5"})
    found = dict(samples(list(text_string_to_metric_families(answer.text))))
    assert answer.status == 200
    assert found["upwell_watches"] == 0
    assert not any(name.startswith("upwell_objects") for name in found)


@pytest.mark.parametrize("seconds", ["", "soon", "-1", "nan", "inf"])
async def test_a_scrape_without_a_time_is_answered(api: Api, seconds: str) -> None:
    answer = await api.get("/metrics", **{SCRAPE_TIMEOUT: seconds})
    assert "upwell_objects" in answer.text


async def test_checks_of_registries_are_counted_with_their_failures() -> None:
    metrics = Metrics()
    held = RegistryInMemory(tags={"vendor.test/app:1": Digest.of(b"")})
    registry = CountedRegistry(held, metrics)
    await registry.resolve(Reference.parse("vendor.test/app:1"))
    with pytest.raises(ManifestUnknownError):
        await registry.resolve(Reference.parse("vendor.test/gone:1"))
    found = dict(samples(list(metrics.registry.collect())))
    assert found["upwell_registry_checks_total{registry=vendor.test}"] == 2
    failure = f"reason={ManifestUnknownError.reason},registry=vendor.test"
    assert found[f"upwell_registry_check_failures_total{{{failure}}}"] == 1


def test_so_many_registries_have_a_label_of_their_own() -> None:
    metrics = Metrics()
    for number in range(60):
        metrics.count_check(f"r{number}.test")
    found = dict(samples(list(metrics.registry.collect())))
    names = [name for name in found if name.startswith("upwell_registry_checks_total")]
    assert len(names) == 51
    assert found["upwell_registry_checks_total{registry=other}"] == 10


def test_a_registry_that_told_us_to_wait_is_told() -> None:
    budget = RequestBudget()
    budget.observe("busy.test", 429, {"retry-after": "60"})
    budget.observe("calm.test", 200, {})
    found = dict(samples(budget_gauges(budget.closings())))
    assert found == {
        "upwell_registry_budget_closed{registry=busy.test}": 1,
        "upwell_registry_budget_closed{registry=calm.test}": 0,
    }


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
async def test_checks_are_listed_when_asked_for(api: Api, path: str) -> None:
    assert (await api.get(path)).text == "ok"
    answer = await api.get(f"{path}?verbose")
    assert answer.text.startswith("[+]ping ok\n")
    assert answer.text.endswith(f"{path[1:]} check passed\n")


async def test_a_failed_check_says_what_is_wrong(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise StoreError("disk gone")

    monkeypatch.setattr(MemoryStore, "list", broken)
    assert (await api.get("/readyz")).text == "the store cannot be read: disk gone"
    answer = await api.get("/readyz?verbose")
    assert answer.status == 503
    assert answer.text.splitlines() == [
        "[+]ping ok",
        "[+]shutdown ok",
        "[-]store failed: the store cannot be read: disk gone",
        "readyz check failed",
    ]
    assert (await api.get("/livez")).status == 200


async def test_a_component_that_is_required_is_a_check_of_readiness(api: Api) -> None:
    router = api.components.add("router")
    api.components.add("tracing", required=False).fail("Unreachable", "nobody answers")
    assert "[+]router ok\n" in (await api.get("/readyz?verbose")).text

    router.fail("RouterDown", "haproxy has ended; it is started again")
    answer = await api.get("/readyz")
    assert answer.status == 503
    assert answer.text == "router: haproxy has ended; it is started again"
    verbose = (await api.get("/readyz?verbose")).text
    assert "[-]router failed: router: haproxy has ended; it is started again\n" in verbose
    assert "tracing" not in verbose
    assert (await api.get("/livez")).status == 200

    router.recover()
    assert (await api.get("/readyz")).text == "ok"


async def test_no_message_writes_a_line_of_its_own_among_the_checks(api: Api) -> None:
    forged = "shop/x\n[+]role: leads\u202e"  # an object's name, as somebody has written it
    api.components.add("cache").fail("Undecided", forged)
    answer = await api.get("/readyz?verbose")
    assert "[-]cache failed: cache: shop/x [+]role: leads?\n" in answer.text
    assert (await api.get("/readyz")).text == "cache: shop/x [+]role: leads?"


async def test_components_are_told_with_their_starts(api: Api) -> None:
    router = api.components.add("router")
    found = await scraped(api)
    assert found["upwell_component_up{component=router}"] == 1
    assert found["upwell_component_restarts_total{component=router}"] == 0
    router.fail("RouterDown", "haproxy has ended")
    router.count_restart()
    found = await scraped(api)
    assert found["upwell_component_up{component=router}"] == 0
    assert found["upwell_component_restarts_total{component=router}"] == 1


async def test_quotas_are_told_by_namespace_with_their_lowest_limits(api: Api) -> None:
    for name, most in (("one", "20Ki"), ("other", "10Ki")):
        status = ResourceQuotaStatus(hard={IMAGE_STORAGE: most}, used={IMAGE_STORAGE: "8Ki"})
        meta = ObjectMeta(name=name, namespace="shop")
        quota = await api.store.create(ResourceQuota(metadata=meta))
        await api.store.update_status(quota.model_copy(update={"status": status}))
    text = (await api.get("/metrics")).text
    labels = f'{{namespace="shop",resource="{IMAGE_STORAGE}"}}'
    assert f"upwell_quota_limit{labels} {10 * 1024.0}" in text
    assert f"upwell_quota_used{labels} {8 * 1024.0}" in text
