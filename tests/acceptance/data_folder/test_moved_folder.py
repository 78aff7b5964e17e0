"""The data folder moved to another path, and restored from a copy that was made while it ran."""

import subprocess

from tests.acceptance.data_folder.test_lost_database import answers, ready, serving, web
from tests.support.installation.data_folders import refused
from tests.support.installation.installation import Installation, until

KEEPS = """\
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
      containers:
"""
LINE = "echo line >> /data/log; "


def keeping() -> str:
    """Return the workload with a claim, to which it adds a line whenever it is started."""
    text = web().replace("      containers:\n", KEEPS).replace('"mkdir', f'"{LINE}mkdir')
    mounts = "          volumeMounts: [{name: data, mountPath: /data}]\n          ports:"
    return text.replace("          ports:", mounts)


async def running_with_a_claim(made: Installation) -> None:
    async with made.client() as client:
        await serving(made, client)
        await made.apply(client, keeping())
        await until(lambda: lines(made), lambda count: count == 1)
        await ready(client, "web")


async def lines(made: Installation) -> int:
    log = made.data_dir / "workloads" / "claims" / "default" / "data" / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


async def test_all_goes_on_where_the_folder_was_moved_to(made: Installation) -> None:
    await running_with_a_claim(made)
    made.kill()
    made.data_dir.rename(made.folder / "moved")
    made.data_name = "moved"
    await made.start()

    # Its files are another path's: it is made anew, with the data of its claim.
    await until(lambda: lines(made), lambda count: count == 2)
    await answers(made)
    assert not (made.folder / "data" / "workloads" / "claims").exists()


async def test_a_copy_of_a_running_folder_is_served_when_the_original_is_gone(
    made: Installation,
) -> None:
    await running_with_a_claim(made)
    subprocess.run(  # noqa: ASYNC221 - nothing else happens meanwhile
        ["cp", "-a", made.data_dir, made.folder / "copy"], check=True, timeout=120
    )
    made.kill()
    made.data_name = "copy"
    assert "is a copy of" in refused(made)

    (made.folder / "data").rename(made.folder / "original")
    await made.start()
    await until(lambda: lines(made), lambda count: count == 2)
    await answers(made)
    original = made.folder / "original" / "workloads" / "claims" / "default" / "data" / "log"
    assert original.read_text() == "line\n"
