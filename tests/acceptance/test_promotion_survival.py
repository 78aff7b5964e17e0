"""`kill -9` at every step of a promotion: it continues or goes back, once, and leaves nothing."""

from collections.abc import Awaitable, Callable, Mapping

from tests.support.installation.installation import installation, until
from tests.support.installation.promoted_installation import BAD, PromotedInstallation, manifests
from tests.support.installation.traffic import traffic

from upwell.api.apps import Deployment, Job
from upwell.api.promotion import CheckPhase, Promotion, PromotionPhase

SOAK_SECONDS = 2
LONG_SOAK_SECONDS = 15
"""Longer than a test takes: a soak goes on beside it."""
TRIES = 6
"""Versions that are published until all their steps are hit: some take milliseconds."""

type Moment = Callable[[PromotedInstallation], Awaitable[bool | None]]
"""Condition of an installation: True at the moment, None when the moment is over."""


async def release_made(promoted: PromotedInstallation) -> bool | None:
    if promoted.newest not in await promoted.releases():
        return False
    return None if f"{promoted.newest}.dev" in await promoted.promotions() else True


def at(holds: Callable[[Promotion], bool], phase: PromotionPhase, stage: str = "dev") -> Moment:
    """The newest Release's promotion is in this phase, and more of it holds."""

    async def reached(promoted: PromotedInstallation) -> bool | None:
        found = (await promoted.promotions()).get(f"{promoted.newest}.{stage}")
        if found is None:
            return False
        if found.status.phase is phase and holds(found):
            return True
        return None if found.status.phase.is_final else False

    return reached


async def new_instance_started(promoted: PromotedInstallation) -> bool | None:
    found = (await promoted.promotions()).get(f"{promoted.newest}.dev")
    if found is not None and found.status.phase is not PromotionPhase.ROLLING_OUT:
        return None
    return len(promoted.made.podman_names()) > 2


async def test_runs(promoted: PromotedInstallation) -> bool | None:
    if (await promoted.client.list(Job)).items:
        return True
    found = (await promoted.promotions()).get(f"{promoted.newest}.dev")
    return None if found is not None and found.status.phase.is_final else False


test_runs.__test__ = False  # type: ignore[attr-defined]


def e2e(promotion: Promotion) -> CheckPhase | None:
    return next((one.phase for one in promotion.status.checks if one.name == "e2e"), None)


def anyhow(_: Promotion) -> bool:
    return True


def unchecked(promotion: Promotion) -> bool:
    return e2e(promotion) in {None, CheckPhase.PENDING}


def soaking(promotion: Promotion) -> bool:
    return e2e(promotion) is CheckPhase.PASSED


def step(name: str) -> Callable[[Promotion], bool]:
    return lambda one: bool(one.status.steps) and one.status.steps[-1].name == name


GOING = {
    "its Release is made": release_made,
    "its rollout begins": at(step("RollOut"), PromotionPhase.ROLLING_OUT),
    "the new instance is started": new_instance_started,
    "it serves and is not checked": at(unchecked, PromotionPhase.VERIFYING),
    "its test runs": test_runs,
}
AT_LAST = {
    "its test has passed": at(soaking, PromotionPhase.VERIFYING),
    "it waits for approval": at(anyhow, PromotionPhase.WAITING, "production"),
}
BAD_ONES = {
    "its test, which will fail, runs": test_runs,
    "it goes back": at(anyhow, PromotionPhase.ROLLING_BACK),
    "it has failed": at(anyhow, PromotionPhase.FAILED),
}
RARE = {"its Release is made", "it serves and is not checked"}
"""Of these none may be hit: they are over within one look."""


async def kill_at(promoted: PromotedInstallation, moment: Moment) -> bool:
    """Kill the server at this moment, or not if it is over; return whether it was hit."""

    async def now() -> bool | None:
        return await moment(promoted)

    hit = await until(now, lambda found: found is not False, closely=True)
    if hit:
        promoted.made.kill()
        await promoted.made.start()
    return bool(hit)


async def test_a_kill_at_any_step_of_a_promotion_loses_and_repeats_nothing() -> None:
    async with installation() as made, made.client() as client:
        promoted = PromotedInstallation(made, client)
        await promoted.publish()
        await made.apply(client, manifests(made.vendor, soak=SOAK_SECONDS))
        await promoted.approve()
        await promoted.until_phase("shop-1.production", PromotionPhase.SUCCEEDED)
        await promoted.still()
        async with traffic(made.router_port, ["shop-dev.test", "shop-production.test"]) as seen:
            for soak, moments in ((SOAK_SECONDS, GOING), (LONG_SOAK_SECONDS, AT_LAST)):
                await made.apply(client, manifests(made.vendor, soak=soak))
                await publish_and_kill(promoted, "good", moments)
                await promoted.until_served("dev", promoted.versions[-1])
            await promoted.approve()
            await kill_at(promoted, at(anyhow, PromotionPhase.ROLLING_OUT, "production"))
            await promoted.until_served("production", promoted.versions[-1])
            good = promoted.versions[-1]
            await publish_and_kill(promoted, BAD, BAD_ONES)
            assert await promoted.served("dev") == good
        assert [failure for one in seen.values() for failure in one.failures] == []


async def publish_and_kill(
    promoted: PromotedInstallation, kind: str, moments: Mapping[str, Moment]
) -> None:
    """Publish versions until one was killed at each moment; check what became of each version."""
    left = dict(moments)
    for _ in range(TRIES):
        await promoted.publish(f"{kind}-{len(promoted.versions) + 1}")
        hit = [name for name, moment in left.items() if await kill_at(promoted, moment)]
        ends = PromotionPhase.FAILED if kind == BAD else PromotionPhase.SUCCEEDED
        try:
            await promoted.until_phase(f"{promoted.newest}.dev", ends)
            await promoted.still()
            await check(promoted)
        except AssertionError as error:
            error.add_note(f"{promoted.versions[-1]} was killed when {', '.join(hit)}")
            raise
        for name in hit:
            del left[name]
        if left.keys() <= RARE:
            return
    raise AssertionError(f"never seen: {', '.join(left.keys() - RARE)}")


async def check(promoted: PromotedInstallation) -> None:
    """Each version made one Release; each went through each stage at most once."""
    numbered = {f"shop-{number}": one for number, one in enumerate(promoted.versions, start=1)}
    good = [name for name, version in numbered.items() if not version.startswith(BAD)]
    assert set(await promoted.releases()) == set(numbered)

    async def phases() -> tuple[object, object]:
        return await promoted.phases(), await expected(promoted, numbered, good)

    # The next stage's promotion is made once the one before has ended: it may be a moment later.
    await until(phases, lambda found: found[0] == found[1])
    rejected = {name for name, one in (await promoted.releases()).items() if one.status.rejection}
    assert rejected == set(numbered) - set(good)
    # One rollout for a good one; one forth and one back for a bad one.
    dev = await promoted.client.get(Deployment, "default", "shop-dev")
    assert dev.status.revisions[0].revision == 2 * len(numbered) - len(good)


async def expected(
    promoted: PromotedInstallation, numbered: Mapping[str, str], good: list[str]
) -> Mapping[str, PromotionPhase]:
    """Return the promotions that there must be, and how each has ended."""
    production = (await promoted.pipeline()).status.stage("production").release
    wanted: dict[str, PromotionPhase] = {}
    for name in numbered:
        ended = PromotionPhase.SUCCEEDED if name in good else PromotionPhase.FAILED
        wanted[f"{name}.dev"] = ended
    for name in good:
        wanted[f"{name}.production"] = PromotionPhase.SUPERSEDED
    if good[-1] != production:
        wanted[f"{good[-1]}.production"] = PromotionPhase.WAITING
    wanted["shop-1.production"] = wanted[f"{production}.production"] = PromotionPhase.SUCCEEDED
    return wanted
