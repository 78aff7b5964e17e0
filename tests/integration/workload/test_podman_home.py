"""The tests' own Podman: a test that fails half way leaves nothing to the next one."""

from tests.support.workload.podman_home import PodmanHome

from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings


async def test_what_still_runs_is_cleared_with_its_volumes(
    settings: PodmanSettings, podman_home: PodmanHome
) -> None:
    before = podman_home.run("volume", "ls", "--quiet")
    label = f"--label=upwell.dev/instance={settings.instance_id}"
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.network()
        podman_home.run("run", "--detach", label, "--volume=/data", "localhost/web", "sleep", "60")
        assert podman_home.run("volume", "ls", "--quiet") != before
    podman_home.clear(settings.instance_id, settings.network_name)
    assert podman_home.run("volume", "ls", "--quiet") == before
