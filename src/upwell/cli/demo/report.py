"""Report at the end of the demo."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from upwell.api.image import Image
from upwell.api.promotion import CheckPhase, Evidence, Promotion
from upwell.cli.demo.observed import APPLICATIONS, NAMESPACE, STAGES
from upwell.cli.demo.outcomes import DemoClaim
from upwell.cli.demo.ports import HOST, Ports
from upwell.cli.demo.progress import FixProgress, reasons
from upwell.oci import Digest
from upwell.policy.explain.package_changes import PackageChange, package_changes
from upwell.store.interface import ApiClient, NotFoundError, UnavailableError

_SHOWN_PACKAGES = 10
_SHOWN_LINES = 12
_FIRST = ("libc6", "libc-bin", "openssl", "libssl1.1", "libssl3", "zlib1g", "perl-base")
_INDEX_SECONDS = 20.0
_POLL_SECONDS = 0.2


async def changed_packages(client: ApiClient, progress: FixProgress) -> Sequence[PackageChange]:
    """Return the packages that differ between the two bases, well-known ones first."""
    fix = progress.publication
    old, new = [await _packages(client, digest) for digest in (fix.old, fix.new)]
    rank = {name: place for place, name in enumerate(_FIRST)}
    return sorted(
        package_changes(old, new),
        key=lambda change: (rank.get(change.name, len(rank)), change.name),
    )


async def _packages(client: ApiClient, digest: Digest) -> Sequence[dict[str, str]]:
    """Return an image's packages; they are read in the background after an import."""
    packages: list[dict[str, str]] = []
    async with asyncio.timeout(_INDEX_SECONDS):
        while not packages:
            try:
                answer = await client.call("GET", Image, "", str(digest), "packages")
                packages = answer["packages"]
            except (NotFoundError, UnavailableError):
                await asyncio.sleep(_POLL_SECONDS)
    return packages


async def test_log(client: ApiClient, progress: FixProgress) -> Sequence[str]:
    """Return the name and the last log lines of each failed test."""
    lines: list[str] = []
    for promotion in _promotions(progress):
        for check in promotion.status.checks:
            if check.phase is not CheckPhase.FAILED:
                continue
            lines.append(f"{promotion.name}: check {check.name}: {check.message}")
            for kept in check.evidence:
                if kept.digest and kept.name.endswith("log.txt"):
                    lines += [f"  {line}" for line in await _tail(client, promotion, kept)]
    return lines


def _promotions(progress: FixProgress) -> Iterator[Promotion]:
    for name in APPLICATIONS:
        for stage in STAGES:
            if (promotion := progress.promotion(name, stage)) is not None:
                yield promotion


async def _tail(client: ApiClient, promotion: Promotion, kept: Evidence) -> Sequence[str]:
    place = f"/apis/{Promotion.KIND.api_version}/namespaces/{NAMESPACE}/{Promotion.KIND.plural}"
    log = await client.get_raw(f"{place}/{promotion.name}/evidence?digest={kept.digest}")
    return log.decode(errors="replace").strip().splitlines()[-_SHOWN_LINES:]


def report(
    progress: FixProgress,
    packages: Sequence[PackageChange],
    refusal: Sequence[str],
    claims: Sequence[DemoClaim],
) -> Iterator[str]:
    """Yield the lines of the report."""
    fix = progress.publication
    yield "Timeline (seconds from the publication of the fix)"
    for point in progress.timeline():
        yield f"  {progress.offset(point):+7.2f}  {point.what}"
    yield "\nglibc, from responses"
    for name, stats in progress.load_stats.items():
        yield f"  {name}: {fix.old_glibc} -> {stats.version}"
    yield "\nRequests"
    for name, stats in progress.load_stats.items():
        yield f"  {name}: {stats.requests}, failed: {stats.failed}"
        for at, why in stats.failures:
            yield f"    {(at - fix.at).total_seconds():+7.2f}  {why}"
    yield "\nWhy each build ran"
    for reason in reasons(progress):
        yield f"  {reason}"
    yield f"\nPackages that changed between the two bases: {len(packages)}"
    for change in packages[:_SHOWN_PACKAGES]:
        yield f"  {change}"
    if len(packages) > _SHOWN_PACKAGES:
        yield f"  and {len(packages) - _SHOWN_PACKAGES} more"
    if refusal:
        yield "\nWhy it was not promoted"
        yield from (f"  {line}" for line in refusal)
    yield from claim_lines(claims)


def claim_lines(claims: Sequence[DemoClaim]) -> Iterator[str]:
    """Yield the claims, and of those that do not hold what is there instead."""
    yield "\nClaims"
    for claim in claims:
        yield f"  {'true ' if claim.holds else 'FALSE'}  {claim.text}" + (
            "" if claim.holds else f": {claim.found}"
        )


def addresses(folder: Path, ports: Ports) -> Iterator[str]:
    """Yield commands to use a demo that keeps running, and to stop it."""
    yield "The demo keeps running. Try:"
    yield f"  export UPWELL_SERVER={ports.server}"
    yield "  upwell status"
    yield "  upwell pipeline status"
    yield "  upwell history shop"
    yield "  upwell wave list"
    yield "  upwell explain deployment/shop --namespace production"
    for name in ("shop", "gate"):
        yield f"  curl -H 'Host: {name}.localhost' http://{HOST}:{ports.router}/"
    yield f"  kubectl --server={ports.server} get builds,deployments"
    yield f"The vendor's registry: http://{ports.vendor_host}/v2/vendor/debian/tags/list"
    yield f"Logs: {folder}/logs"
    yield f"To stop it: upwell demo --stop --data-dir {folder}"
