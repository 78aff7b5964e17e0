"""Attacks at once on a running server, which goes on with its work and answers everybody else."""

from tests.support.attacks.attacks import ATTACKS
from tests.support.attacks.measurement import attacked, attacker_of
from tests.support.attacks.story import HOSTS, Story
from tests.support.installation.installation import installation
from tests.support.installation.promoted_installation import PromotedInstallation
from tests.support.installation.traffic import traffic

SECONDS = 20
MOST_MIB = 160
"""Above idle: the aim is 64, and machines differ in what their allocators keep of a burst."""


async def test_a_fix_gets_to_production_while_the_server_is_attacked_in_every_way() -> None:
    async with installation("--log-level", "info") as made, made.client() as client:
        target = attacker_of(made)
        story = Story(PromotedInstallation(made, client))
        await story.prepare()
        async with (
            traffic(made.router_port, HOSTS) as seen,
            attacked(target, made.pid, list(ATTACKS)) as found,
        ):
            await story.tell(SECONDS)
        print(found, story, sep="\n")  # noqa: T201
        assert made.is_alive
        assert [failure for one in seen.values() for failure in one.failures] == []
        assert found.failures == []
        assert found.seconds
        assert found.above_idle_mib < MOST_MIB
