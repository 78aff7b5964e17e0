"""Records of Waves: which image and which import each is of, and what a deletion ends."""

from tests.support.builds.build_namespace import IMAGE_TRIGGER, NAMESPACE
from tests.support.waves.namespace import WavesNamespace

from upwell.api.image import ImageStream
from upwell.api.waves.wave import WavePhase
from upwell.policy.waves.approval import ApprovalRules

EVERY = ApprovalRules(all_images=True)


async def mirrored(setup: WavesNamespace, name: str, image: str) -> None:
    """Let a stream import another image, or the same, which is as the vendor's is now."""
    stream = await setup.store.get(ImageStream, NAMESPACE, "debian")
    document = stream.spec.model_dump(by_alias=True)
    for tag in document["tags"]:
        tag["from"]["name"] = image
    spec = type(stream.spec).model_validate(document)
    other = stream.with_metadata(name=name, resource_version="", uid="")
    made = await setup.store.create(other.model_copy(update={"spec": spec}))
    await setup.store.update_status(made.with_status(stream.status))


async def test_mirrors_that_publish_the_same_have_a_wave_each() -> None:
    setup = await WavesNamespace.standing()
    for number in range(3):
        await mirrored(setup, f"mirror{number}", f"mirror.test/acme{number}/debian:11")
        await setup.config(f"mine{number}", f"mirror{number}:latest", [IMAGE_TRIGGER])
    await setup.wave_index.ready()
    streams = ["debian", "mirror0", "mirror1", "mirror2"]

    for mark in ("new", "newer", "new"):
        setup.clock.advance(1)
        changes = [await setup.moves(name, mark) for name in streams]
        await setup.wave_index.ready()
        await setup.look(*{key for change in changes for key in setup.waves.moved(*change)})
        for wave in await setup.all():
            assert wave.status.phase in {WavePhase.RUNNING, WavePhase.SUPERSEDED}
    waves = await setup.all()
    images = sorted(one.spec.image for one in waves if one.status.phase is WavePhase.RUNNING)
    assert images == sorted(
        ["vendor.test/debian:11", *(f"mirror.test/acme{n}/debian:11" for n in range(3))]
    )
    assert len({one.name for one in waves}) == len(waves) == 3 * len(streams)
    [name] = {one.name for one in waves if one.name.endswith("-2") and one.name.count("-") == 3}
    assert name.startswith("debian-11-"), "the image that had the name first goes on having it"


async def test_a_mirror_gets_its_wave_at_once_where_another_was_just_looked_at() -> None:
    setup = await WavesNamespace.standing()
    await mirrored(setup, "mirror", "mirror.test/acme/debian:11")
    await setup.config("mine", "mirror:latest", [IMAGE_TRIGGER])
    await setup.imports("new")
    change = await setup.moves("mirror", "new")
    await setup.wave_index.ready()
    for key in {*setup.waves.moved(*change)}:
        await setup.waves.reconcile(key)  # no time has passed
    assert len(await setup.all()) == 2


async def test_a_wave_that_others_need_stays_when_the_last_importer_goes() -> None:
    setup = await WavesNamespace.standing(EVERY)
    await mirrored(setup, "later", "vendor.test/debian:11")
    await setup.config("mine", "later:latest", [IMAGE_TRIGGER])
    changes = []
    for name in ("debian", "later"):
        setup.clock.advance(1)
        changes.append(await setup.moves(name, "new"))
    await setup.wave_index.ready()
    await setup.look(*{key for change in changes for key in setup.waves.moved(*change)})
    [wave] = await setup.all()
    first = changes[0][1].status.tags[0].items[0].created
    assert wave.spec.changed == first, "that of the first import"

    await setup.store.delete(ImageStream, NAMESPACE, "later")
    await setup.wave_index.ready()
    [wave] = await setup.all()
    assert wave.status.phase is WavePhase.WAITING
    await setup.reconcile("base")
    assert await setup.names("base") == ["base-1"], "nobody has approved it"

    setup.clock.advance(1)
    await setup.imports("newer")
    assert [one.status.phase for one in await setup.all()] == [
        WavePhase.SUPERSEDED,
        WavePhase.WAITING,
    ]


async def test_a_wave_that_was_recorded_at_a_later_import_is_not_over_for_the_earlier() -> None:
    setup = await WavesNamespace.standing(EVERY)
    await setup.imports("new")
    [wave] = await setup.all()
    later = wave.spec.changed and wave.spec.changed.replace(year=wave.spec.changed.year + 1)
    spec = wave.spec.model_copy(update={"changed": later})
    await setup.store.update(wave.model_copy(update={"spec": spec}))
    [wave] = await setup.all()
    assert wave.status.phase is WavePhase.WAITING
