"""A rebased image is what Buildah makes of the same Dockerfile and the new base."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.installation.vendor_images import publish
from tests.support.registry.rebased_images import BuildSetup, build_setup

APPLICATIONS = {
    "shop": """
        FROM HOST/base:1
        ENV PATH=/opt/bin:$PATH MODE=production
        RUN mkdir -p /opt/bin && echo '#!/bin/sh' > /opt/bin/shop && chmod 750 /opt/bin/shop
        WORKDIR /srv
        USER 5:5
        CMD ["shop"]
        """,
    "tools": """
        FROM HOST/base:1
        COPY Dockerfile /etc/tools/
        RUN ln -s /bin/sh /bin/tool && chown 7:7 /etc/tools
        LABEL team=tools
        EXPOSE 8080
        VOLUME /data
        ENTRYPOINT ["/bin/tool"]
        """,
    "trap": """
        FROM HOST/base:1
        RUN cp /etc/base-version /copy && rm /etc/base-version
        """,
}


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[BuildSetup]:
    async with build_setup(tmp_path) as started:
        yield started


async def test_a_rebase_gives_what_a_build_would_or_says_why_not(setup: BuildSetup) -> None:
    await publish(setup.host, "base:1", "1.0")
    for name, dockerfile in APPLICATIONS.items():
        await setup.build(name, "old", dockerfile)
    await publish(setup.host, "base:1", "1.1")
    for name in ("shop", "tools"):
        done = await setup.rebase(f"{setup.host}/{name}:old", "--tag=rebased")
        assert done.exit_code == 0, done.output
        await setup.build(name, "built", APPLICATIONS[name])
        files = await setup.files(f"{name}:rebased")
        assert files == await setup.files(f"{name}:built")
        assert files != await setup.files(f"{name}:old")
        rebased, built = [await setup.config(f"{name}:{tag}") for tag in ("rebased", "built")]
        assert rebased["settings"] == built["settings"]
        assert len(rebased["layers"]["diff_ids"]) == len(built["layers"]["diff_ids"])
    refused = await setup.rebase(f"{setup.host}/trap:old")
    assert refused.exit_code == 1
    assert "CopyOfBaseFile" in refused.stderr
    assert "Whiteout" in refused.stderr
