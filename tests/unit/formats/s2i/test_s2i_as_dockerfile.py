"""The Dockerfile that a source build becomes for other tools."""

from upwell.formats.dockerfile.isolation import check_isolation
from upwell.formats.dockerfile.parse import parse
from upwell.formats.s2i.as_dockerfile import DockerfileRequest, dockerfile


def test_nothing_of_an_injection_stays_and_signals_arrive() -> None:
    text = dockerfile(
        DockerfileRequest(
            builder="r/builder:1",
            own_scripts=frozenset({"assemble"}),
            environment={"A": 'a "b" $C \\'},
            labels={"z": "1", "a": "2"},
            injections=("/run/secret/a", "/run/secret/b"),
        )
    )
    place = "--mount=type=bind,source=upload/injections/run/secret/{0},target=/run/secret/{0}"
    mounts = f"{place.format('a')} {place.format('b')}"
    assert text.splitlines() == [
        "FROM r/builder:1",
        'LABEL "a"="2"',
        'LABEL "z"="1"',
        r'ENV A="a \"b\" \$C \\"',
        'COPY --chown=1001:0 ["upload/src", "/tmp/src"]',
        'COPY --chown=1001:0 ["upload/scripts", "/tmp/scripts"]',
        "USER 1001",
        f'RUN {mounts} ["/tmp/scripts/assemble"]',
        'CMD ["/usr/libexec/s2i/run"]',
    ]


def test_an_incremental_one_takes_its_artifacts_from_a_stage() -> None:
    text = dockerfile(DockerfileRequest(builder="b", tag="r/app:1", incremental=True))
    document = parse(text)
    check_isolation(text)
    assert document.images == ("r/app:1", "b")
    assert [stage.name for stage in document.stages] == ["cached", ""]
    assert "/usr/libexec/s2i/save-artifacts > /tmp/artifacts.tar" in text
    assert "--mount=type=bind,from=cached,source=/tmp/artifacts.tar" in text


def test_save_artifacts_of_the_source_runs_in_the_image_of_the_last_build() -> None:
    text = dockerfile(
        DockerfileRequest(
            builder="b",
            tag="r/app:1",
            assemble_user="2250",
            destination="/opt",
            own_scripts=frozenset({"save-artifacts"}),
            incremental=True,
        )
    )
    lines = text.splitlines()
    assert lines[:3] == [
        "FROM r/app:1 AS cached",
        'COPY --chown=2250:0 ["upload/scripts/save-artifacts", "/opt/scripts/save-artifacts"]',
        "USER 2250",
    ]
    assert "/opt/scripts/save-artifacts > /tmp/artifacts.tar" in lines[3]
    assert "tar -xf /tmp/artifacts.tar -C /opt/artifacts" in text
    assert 'RUN ["/usr/libexec/s2i/assemble"]' in lines
