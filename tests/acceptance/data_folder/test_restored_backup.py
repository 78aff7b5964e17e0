"""A backup that was made in mid-build, restored elsewhere: the loop goes on; then all is undone."""

import subprocess

from tests.acceptance.data_folder.test_lost_database import answers, ready, serving
from tests.support.installation.applications import deployment, docker_build, published, stream
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.traffic import answer

from upwell.api.builds.build import Build
from upwell.store.interface import ApiClient

BUILT = 'FROM base\nRUN sleep 3 && mkdir -p /www && echo built > /www/index.html\nCMD ["serve"]\n'


async def phases(client: ApiClient) -> list[str]:
    return [one.status.phase for one in (await client.list(Build)).items]


async def test_a_backup_in_mid_build_goes_on_in_another_folder() -> None:
    async with installation() as made:
        async with made.client() as client:
            await serving(made, client)
            manifests = stream("app") + docker_build("app", base="web:latest", dockerfile=BUILT)
            await made.apply(client, manifests + deployment("app") + published("app"))
            await until(lambda: phases(client), lambda found: found == ["Running"], closely=True)
            backup = made.folder / "backup.tar"
            done = made.upwell("backup", str(backup), "--data-dir", str(made.data_dir))
            assert done.returncode == 0, done.stderr
            assert "Running" in await phases(client)
        lose(made)

        done = made.upwell("restore", str(backup), "--data-dir", str(made.folder / "restored"))
        assert done.returncode == 0, done.stderr
        made.data_name = "restored"
        await made.start()
        async with made.client() as client:
            await until(lambda: phases(client), lambda found: found[-1] == "Complete")
            await ready(client, "web")
            await ready(client, "app")
        await answers(made)

        async def built() -> str:
            return await answer(made.router_port, "app.test")

        await until(built, lambda text: text == "built")

        undo = ["setup", "--undo", "--yes", "--data-dir", str(made.data_dir)]
        undo += ["--container-storage", str(made.storage)]
        assert "is in use by process" in made.upwell(*undo).stderr
        made.stop()
        done = made.upwell(*undo)
        assert done.returncode == 0, done.stderr
        assert made.podman_names() == set()
        assert (made.data_dir / "upwell.db").is_file()
        done = made.upwell(*undo, "--data")
        assert done.returncode == 0, done.stderr
        assert not made.data_dir.exists()


def lose(made: Installation) -> None:
    """Lose the machine: the server, what ran with its images, and the data folder."""
    made.power_off(wipe_runtime=True)
    for place in (made.data_dir, made.storage):
        lost = place.with_name(f"lost-{place.name}")
        subprocess.run(["mv", place, lost], check=True, timeout=60)
