"""Steps of an image, as its history tells them: what would they do on the new base?"""

from typing import Any

import pytest
from tests.unit.policy.rebase.test_rebase_safety import (
    NEW,
    OLD,
    Settings,
    faults,
    file,
    findings,
    layer,
)

from upwell.policy.rebase.findings import RebaseFault

VERSION: Settings = ({"Env": ["V=1"]}, {"Env": ["V=2"]}, {"Env": ["V=1"]})


def steps(*own: str) -> list[dict[str, Any]]:
    """Return a history whose last step has made the one layer of the image."""
    *empty, last = own
    return [
        {"created_by": "base"},
        *({"created_by": text, "empty_layer": True} for text in empty),
        {"created_by": last},
    ]


@pytest.mark.parametrize(
    "step",
    [
        "/bin/sh -c pip install tool==$V",
        "RUN /bin/sh -c pip install tool==${V:-1} # buildkit",
        "RUN |1 ARCH=amd64 /bin/sh -c printenv V > /v",
        "RUN |1 WANTED=1 /bin/sh -c install $WANTED",
        "/bin/sh -c #(nop) COPY file:1 in /opt/$V",
        "ARG WANTED=$V",
    ],
)
def test_a_step_that_reads_what_the_base_update_changes_is_a_fault(step: str) -> None:
    found = findings(OLD, NEW, settings=VERSION, history=steps(step))
    assert [one.fault for one in found] == [RebaseFault.BUILD_SETTING]
    assert "a step reads V, which the base update changes" in found[0].why
    same: Settings = (VERSION[0], VERSION[0], VERSION[0])
    assert findings(OLD, NEW, settings=same, history=steps(step)) == []


@pytest.mark.parametrize(
    "own",
    [
        ("RUN /bin/sh -c make VERSION=1 OF=$OTHER # buildkit",),
        ('CMD ["sh", "-c", "echo $V"]', "COPY . /srv"),
        ("LABEL V=kept", "COPY . /srv"),
    ],
)
def test_what_a_container_reads_or_nobody_is_safe(own: tuple[str, ...]) -> None:
    assert findings(OLD, NEW, settings=VERSION, history=steps(*own)) == []


@pytest.mark.parametrize(("old", "new"), [({}, VERSION[1]), (VERSION[0], {})])
def test_a_variable_that_comes_or_goes_changes_too(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    history = steps("RUN /bin/sh -c echo ${V:-none} > /v")
    assert faults(OLD, NEW, settings=(old, new, old), history=history) == {
        RebaseFault.BUILD_SETTING
    }


def test_a_variable_is_the_images_own_once_a_step_has_set_it() -> None:
    own: Settings = (*VERSION[:2], {"Env": ["V=mine"]})
    read = "RUN /bin/sh -c echo $V"
    assert findings(OLD, NEW, settings=own, history=steps("ENV V=mine", read)) == []
    before = [{"created_by": "base"}, {"created_by": read}, *steps("ENV V=mine")[1:]]
    before[-1]["empty_layer"] = True
    assert faults(OLD, NEW, settings=own, history=before) == {RebaseFault.BUILD_SETTING}
    path: Settings = ({"Env": ["P=/a"]}, {"Env": ["P=/b"]}, {"Env": ["P=/srv:/a"]})
    history = steps("ENV P=/srv:/a", "RUN /bin/sh -c echo $P")
    assert faults(OLD, NEW, settings=path, history=history) == {RebaseFault.BUILD_SETTING}


@pytest.mark.parametrize("history", [[], [{}, {}], [{"created_by": "ADD"}] * 3])
def test_without_a_history_nobody_knows_who_has_set_a_value(history: list[dict[str, Any]]) -> None:
    found = findings(OLD, NEW, settings=VERSION, history=history)
    assert [one.fault for one in found] == [RebaseFault.UNKNOWN]
    own: Settings = (*VERSION[:2], {"Env": ["V=mine"]})
    assert findings(OLD, NEW, settings=own, history=history) == [], "another value is its own"
    label = {"Labels": {"io.buildpacks.lifecycle.metadata": "{}"}}
    packs: Settings = (*VERSION[:2], {**VERSION[2], **label})
    assert findings(OLD, NEW, settings=packs, history=history) == []


@pytest.mark.parametrize(
    "step",
    [
        "RUN /bin/sh -c sha256sum /etc/issue.net > /srv/out # buildkit",
        "/bin/sh -c . /etc/issue.net && make",
        "RUN /bin/sh -c keytool -file=/etc/issue.net",
    ],
)
def test_a_step_that_names_a_file_which_the_base_update_changes_is_a_fault(step: str) -> None:
    old, new = (layer({"etc/issue.net": file(text, mode=0o644)}) for text in ("11.1", "11.2"))
    found = findings(old, new, history=steps(step))
    assert [one.fault for one in found] == [RebaseFault.BUILD_SETTING]
    assert "a step names /etc/issue.net, which the base update changes" in found[0].why
    assert findings(old, old, history=steps(step)) == []
    assert findings(layer({}), new, history=steps(step)) != []


@pytest.mark.parametrize(
    "step", ["RUN /usr/bin/make all", "RUN cat /etc/issue.net.d", "COPY /etc/issue.net /srv"]
)
def test_programs_and_other_paths_are_none_that_a_step_reads(step: str) -> None:
    old, new = (
        layer({"etc/issue.net": file(text, mode=0o644), "usr/bin/make": file(text, mode=0o755)})
        for text in ("11.1", "11.2")
    )
    assert findings(old, new, history=steps(step)) == []


def test_a_program_that_is_gone_is_one_that_a_step_cannot_run() -> None:
    old = layer({"usr/lib/init-functions": file("1")})
    history = steps("RUN /bin/sh -c . /usr/lib/init-functions && make")
    assert RebaseFault.BUILD_SETTING in faults(old, layer({}), history=history)
