"""Severity of Waves and streams, as builds get it that wait for a slot."""

from tests.support.builds.build_namespace import NAMESPACE
from tests.support.waves.namespace import WavesNamespace

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.api.waves.wave import SEVERITY, Wave
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.waves.urgency import urgencies_in


async def told(setup: WavesNamespace, build: Build) -> tuple[int, int]:
    """Return the urgency of a build by a snapshot of all objects."""
    kinds = (ImageStream, BuildConfig, Build)
    objects = [one for kind in kinds for one in (await setup.store.list(kind)).items]
    waves = (await setup.store.list(Wave)).items
    return urgencies_in(Snapshot(objects), waves)(build)


async def test_builds_have_the_severity_of_their_change_and_of_their_streams() -> None:
    setup = await WavesNamespace.standing()
    await setup.imports("new")
    await setup.reconcile("base")
    build = (await setup.builds("base"))[-1]
    assert setup.index.urgency(build) == (0, 0)

    [wave] = await setup.all()
    wave = await setup.store.update(wave.with_metadata(labels={SEVERITY: "critical"}))
    stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
    await setup.store.update(stream.with_metadata(annotations={SEVERITY: "low"}))
    await setup.wave_index.ready()
    assert setup.index.urgency(build) == (3, -1)
    assert await told(setup, build) == (3, -1), "what explains a turn knows the same"
    first = (await setup.builds("base"))[0]
    assert setup.index.urgency(first) == (0, -1), "it is on the old image"
    assert await told(setup, first) == (0, -1)

    await setup.store.update(wave.with_metadata(labels={SEVERITY: "unheard of"}))
    await setup.wave_index.ready()
    assert setup.index.urgency(build) == (0, -1)
