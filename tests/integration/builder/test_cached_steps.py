"""Steps that builds of the server find again, whatever their names and commits are."""

from tests.support.builds.openshift_builds import BuildInstallation

from upwell.api.build import BuildPhase

CONFIG = """\
kind: BuildConfig
apiVersion: build.openshift.io/v1
metadata: {name: app}
spec:
  source: {type: Binary, binary: {}}
  strategy:
    type: Docker
    dockerStrategy:
      from: {kind: DockerImage, name: "BASE"}
      env: [{name: MODE, value: "say \\"$HOME\\""}]
  output: {to: {kind: ImageStreamTag, name: "test:latest"}}
"""
DOCKERFILE = """\
FROM x
COPY list /list
RUN echo "installing for $MODE" > /installed
COPY code /code
RUN --mount=type=cache,target=/kept cat /code >> /kept/all; echo "seen: $(tr '\\n' ' ' </kept/all)"
"""


async def test_a_change_of_the_code_installs_nothing_anew(
    installed: BuildInstallation, docker_hub: str
) -> None:
    await installed.stream("test")
    await installed.create(CONFIG.replace("BASE", f"{docker_hub}/vendor/base:1"))
    logs = []
    for code in ("one", "two"):
        files = {"Dockerfile": DOCKERFILE, "list": "a\n", "code": f"{code}\n"}
        done = await installed.upload("app", files)
        assert done.status.phase is BuildPhase.COMPLETE, installed.log(done)
        logs.append(installed.logs.tail(done.uid, 100))
    assert "Using cache" not in logs[0].partition("STEP 3")[2]
    assert (
        logs[1].count("Using cache") == 4
    )  # whose they are, MODE, the list, and what was installed
    assert "\nseen: one two \n" in logs[1]
