"""What builds read from other objects: uploads, Secrets, ConfigMaps, and what of it is missing."""

from contextlib import suppress

from upwell.api.build import Build, BuildConfig
from upwell.oci import Digest, InvalidDigestError
from upwell.store.interface import Store


async def referenced_inputs(store: Store) -> frozenset[Digest]:
    """Return the uploads that a Build or a BuildConfig names."""
    names = set()
    # BuildConfigs last: a build that goes in between has left its upload in one's status.
    for build in (await store.list(Build)).items:
        if build.spec.source.binary is not None:
            names.add(build.spec.source.binary.digest or "")
    for config in (await store.list(BuildConfig)).items:
        if config.status.binary_input is not None:
            names.add(config.status.binary_input.digest)
    found = set()
    for name in names:
        with suppress(InvalidDigestError):
            found.add(Digest.parse(name))
    return frozenset(found)
