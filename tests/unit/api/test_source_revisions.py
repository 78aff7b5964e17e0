"""Revisions of builds (build/v1 SourceRevision): each survives as it came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.builds.build import Build
from upwell.api.builds.inputs import SourceRevision
from upwell.api.codec import InvalidObjectError, decode_as, encode

_texts = st.text(st.characters(codec="utf-8"), max_size=20)
_person = st.fixed_dictionaries({}, optional={"name": _texts, "email": _texts, "login": _texts})
_git = st.fixed_dictionaries(
    {},
    optional={
        "commit": _texts,
        "author": _person,
        "committer": _person,
        "message": _texts,
        "x": _texts,
    },
)
_revisions = st.fixed_dictionaries({}, optional={"type": _texts, "git": _git, "other": _texts})


def build(spec: object = None, status: object = None) -> Build:
    document = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "Build",
        "metadata": {"name": "app-1"},
        "spec": {"revision": spec} if spec is not None else {},
        "status": {"revision": status} if status is not None else {},
    }
    return decode_as(Build, document)


@given(_revisions)
def test_every_revision_survives_its_text_form(document: dict[str, object]) -> None:
    encoded = encode(build(document, document))
    assert encoded["spec"]["revision"] == document
    assert encoded["status"]["revision"] == document


def test_what_was_built_outranks_what_was_asked_for() -> None:
    asked, built = {"git": {"commit": "a"}}, {"git": {"commit": "b", "message": "one\ntwo"}}
    assert build(asked).revision.commit == "a"
    assert build(asked, built).revision.commit == "b"
    assert build(asked, built).revision.subject == "one"
    assert build().revision == SourceRevision()
    assert (build().revision.commit, build().revision.subject) == ("", "")


def test_a_revision_that_is_none_is_refused_with_its_path() -> None:
    with pytest.raises(InvalidObjectError, match=r"spec\.revision\.git\.commit"):
        build({"git": {"commit": 7}})
