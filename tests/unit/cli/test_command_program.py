"""Commands that a shell starts by name end and are ended as those of other processes."""

import signal
import subprocess
from pathlib import Path

from tests.support.cli.command_program import upwell_program

_TEMPLATE = """\
{apiVersion: template.openshift.io/v1, kind: Template, metadata: {name: app},
objects: [{apiVersion: v1, kind: ConfigMap, metadata: {name: app}}]}
"""


def _shell(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder), "OBJECT": _TEMPLATE},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def test_a_command_has_the_shells_output_input_folder_and_environment(tmp_path: Path) -> None:
    script = """\
echo "$OBJECT" >object.yaml
upwell process --local -f object.yaml -o name | cat
cat object.yaml | upwell process --local -f - -o name
UPWELL_SERVER=http://127.0.0.1:9 upwell get pods
echo $?
"""
    with upwell_program(tmp_path):
        done = _shell(tmp_path, script)
    assert done.stdout == "configmap/app\nconfigmap/app\n4\n", done.stderr
    assert "127.0.0.1:9" in done.stderr


def test_a_command_that_waits_is_ended_by_the_shells_kill(tmp_path: Path) -> None:
    script = """\
set -m
mkfifo given; exec 3<>given
upwell process --local -f - <given 3<&- &
kill %1
wait %1
echo $?
"""
    with upwell_program(tmp_path):
        done = _shell(tmp_path, script)
    assert done.stdout == f"{128 + signal.SIGTERM}\n", done.stderr
