"""The recipes of source builds, and the paths in them that are refused."""

import pytest

from upwell.formats.s2i.contract import BuilderImage, S2iError
from upwell.formats.s2i.recipe import (
    Assembly,
    Copy,
    RuntimeRecipe,
    artifact_mappings,
    artifacts_recipe,
    assemble_recipe,
    checked_artifacts,
    onbuild_recipe,
    runtime_recipe,
)

SHELL = '["/bin/sh", "-c", "exec \\"$0\\"", '


def test_the_recipe_keeps_the_builders_user_and_runs_the_scripts_found() -> None:
    image = BuilderImage("", "/opt/a b/", "5", "1001")
    assembly = Assembly(
        builder="r/b@d",
        image=image,
        scripts={"run": "/s2i/run"},
        environment=["ENV A=1"],
        uploads=["scripts", "artifacts"],
        copies=[Copy("r/i@d", "/lib", "deps/lib"), Copy("input-0", ".", "/etc/app/")],
    )
    assert assemble_recipe(assembly).splitlines() == [
        "FROM r/b@d",
        "USER 5",
        'COPY --chown=5:0 [".", "/opt/a b/src/"]',
        'COPY --from=r/i@d --chown=5:0 ["/lib", "/opt/a b/src/deps/lib"]',
        'COPY --from=input-0 --chown=5:0 [".", "/etc/app/"]',
        'COPY --from=scripts --chown=5:0 [".", "/opt/a b/scripts/"]',
        'COPY --from=artifacts --chown=5:0 [".", "/opt/a b/artifacts/"]',
        f'RUN {SHELL}"/opt/a b/scripts/assemble"]',
        "USER 1001",
        "ENV A=1",
        'CMD ["/s2i/run"]',
    ]


@pytest.mark.parametrize(
    ("assemble_user", "user", "before", "after"),
    [
        ("5", "1001", ["USER 0"], ["USER 1001"]),
        ("1001", "1001", ["USER 0"], ["USER 1001"]),
        ("0", "1001", [], ["USER 1001"]),
        ("", "", [], []),
        ("5", "0", ["USER 0"], []),
    ],
)
def test_files_for_assemble_alone_are_emptied_by_root_and_the_user_stays(
    assemble_user: str, user: str, before: list[str], after: list[str]
) -> None:
    image = BuilderImage("", "/tmp", assemble_user, user)  # noqa: S108  # the contract's default
    files = [f"/srv/{number}" for number in range(101)]
    scripts = {"run": "/r", "assemble": "/a"}
    lines = assemble_recipe(Assembly("b", image, scripts, emptied=files)).splitlines()
    at = lines.index(f'RUN {SHELL}"/a"]') + 1
    runs = [index for index, line in enumerate(lines) if "/srv/" in line]
    assert lines[at : runs[0]] == before
    assert (runs[1], len(runs)) == (runs[0] + 1, 2)
    assert lines[runs[1] + 1 : -1] == after


def test_the_user_is_not_restated_without_need() -> None:
    image = BuilderImage("", "/tmp", "maker", "maker")  # noqa: S108  # the contract's default
    text = assemble_recipe(Assembly("b", image, {"run": "/r", "assemble": "/a"}))
    assert "USER" not in text
    assert "scripts" not in text
    assert "--chown=maker " in text


def test_a_runtime_image_gets_artifacts_and_keeps_its_user() -> None:
    image = BuilderImage("", "/tmp", "1001", "1001")  # noqa: S108  # the contract's default
    runtime = RuntimeRecipe(
        "r/run@d",
        BuilderImage("", "", "7", "9", working_dir="/srv"),
        {"run": "/opt/run"},
        (("/opt/app/bin", "."), ("/opt/app/config", "etc")),
        uploads_scripts=True,
    )
    assembly = Assembly("b", image, {"assemble": "/a", "run": "/r"}, ["ENV A=1"])
    assert runtime_recipe(assembly, runtime).splitlines() == [
        "FROM b AS assembled",
        'COPY --chown=1001:0 [".", "/tmp/src/"]',
        f'RUN {SHELL}"/a"]',
        "FROM r/run@d",
        'COPY --from=assembled ["/opt/app/bin", "/srv/bin"]',
        'COPY --from=assembled ["/opt/app/config", "/srv/etc/config"]',
        'COPY --from=runtime-scripts [".", "/srv/scripts/"]',
        "USER 7",
        f'RUN {SHELL}"/srv/scripts/assemble-runtime"]',
        "USER 9",
        "ENV A=1",
        'CMD ["/opt/run"]',
    ]


def test_the_first_executable_of_the_known_names_is_the_entrypoint() -> None:
    files = {"start.sh": True, "run": False, "exec": True, "assemble": False}
    assert onbuild_recipe("b", ["ENV A=1"], files).splitlines() == [
        "FROM b",
        'RUN ["sh", "assemble"]',
        "ENV A=1",
        'ENTRYPOINT ["./start.sh"]',
    ]
    with pytest.raises(S2iError, match="no valid entrypoint specified"):
        onbuild_recipe("b", [], {"run": False, "runner": True})


def test_artifacts_are_saved_outside_of_the_image() -> None:
    text = artifacts_recipe("r/app@d", "1001", "/s2i/save-artifacts")
    command = '"exec \\"$0\\" > /run/upwell/artifacts.tar"'
    assert text.splitlines() == [
        "FROM r/app@d",
        "USER 1001",
        f'RUN ["/bin/sh", "-c", {command}, "/s2i/save-artifacts"]',
    ]


def test_artifact_mappings_are_read() -> None:
    assert artifact_mappings("/a/b:c/d;/e;/f:./;") == (("/a/b", "c/d"), ("/e", "."), ("/f", "."))


@pytest.mark.parametrize(
    ("source", "target"),
    [("a", "b"), ("/a*", "b"), ("/a", "/b"), ("/a", "../b"), ("/a", "b/../..")],
)
def test_artifacts_that_leave_their_place_are_refused(source: str, target: str) -> None:
    with pytest.raises(S2iError, match="the artifact"):
        checked_artifacts([(source, target)])
