"""Scripts that a build names by URL: fetched by the policy of the server's own connections."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.outbound.dialers import loopback_dialer
from tests.support.verification.loopback import says, server

from upwell.builder.interface import BuildError
from upwell.builder.strategies.s2i_scripts import ScriptSources, collect_scripts
from upwell.outbound.dialing import Dialer
from upwell.outbound.policy import OutboundPolicy

SECRET = "of the machine alone"


@pytest.mark.parametrize("whose", ["BuildConfig", "builder image"])
async def test_scripts_of_this_machine_are_not_fetched(tmp_path: Path, whose: str) -> None:
    async with server(says(SECRET)) as url:
        wanted, labelled = (url, "") if whose == "BuildConfig" else ("", url)
        refusing = ScriptSources(wanted, tmp_path, labelled, dialer=Dialer(OutboundPolicy()))
        with pytest.raises(BuildError, match="a loopback address") as refused:
            await collect_scripts(refusing, tmp_path)
        assert SECRET not in str(refused.value)
        assert not (tmp_path / "assemble").exists()
        await collect_scripts(replace(refusing, dialer=loopback_dialer()), tmp_path)
        assert (tmp_path / "assemble").read_text() == SECRET
