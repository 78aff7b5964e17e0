"""Layers that strangers made take little time to compare, and little room to tell of."""

import time

import pytest
from tests.support.registry.made_images import made_image, tar_of

from upwell.inventory.interface import ElfFacts, EntryKind, LayerEntry, LayerFiles
from upwell.oci import Digest
from upwell.oci.rebase.documents import RebasedImage, rebased
from upwell.policy.rebase.comparison import BaseComparison, BaseUpdate
from upwell.policy.rebase.findings import RebaseFault, RebaseFinding, listed, shortened
from upwell.policy.rebase.layered_files import LayeredFiles
from upwell.policy.rebase.safety import UnreadLayer, rebase_findings, unread_findings

FILE = LayerEntry(EntryKind.FILE, 0o644, 0, 0, size=1, content="x")
WITHIN_SECONDS = 15.0
"""Of the processor, where each with each would take many minutes."""


def link(target: str) -> LayerEntry:
    return LayerEntry(EntryKind.SYMLINK, 0o777, 0, 0, content=target)


def layer(
    entries: dict[str, LayerEntry], elf: dict[str, ElfFacts | None] | None = None
) -> LayerFiles:
    return LayerFiles(Digest.of(b""), entries, elf=elf or {})


def image(**new: object) -> RebasedImage:
    a, b, c = (tar_of({name: b""}) for name in "abc")
    base = made_image(a).named("base:1")
    return rebased(made_image(a, c).layered, base, made_image(b, settings=new).named("base:1"))


def update(own: LayerFiles, old: LayerFiles, new: LayerFiles) -> BaseUpdate:
    return BaseUpdate(BaseComparison(LayeredFiles.of([old]), LayeredFiles.of([new])), [own])


def test_volumes_and_files_are_not_compared_each_with_each() -> None:
    own = layer({f"srv{at}/file": FILE for at in range(20_000)})
    names = (*(f"/data{at}" for at in range(20_000)), "/srv7")
    volumes = {name: {"x": 1} for name in names}
    begun = time.process_time()
    found = rebase_findings(image(Volumes=volumes), update(own, layer({}), layer({})))
    assert time.process_time() - begun < WITHIN_SECONDS
    assert [one.paths for one in found] == [("srv7/file",)]


def test_programs_and_libraries_are_not_compared_each_with_each() -> None:
    libraries = {f"lib{at}/lib.so": FILE for at in range(20_000)}
    base = layer(libraries, {path: ElfFacts(defined=frozenset({"V1"})) for path in libraries})
    asks = {
        f"bin/{at}": ElfFacts(needed=("lib.so",), required={"lib.so": ("V1", f"V{at}")})
        for at in range(20_000)
    }
    own = layer(dict.fromkeys(asks, FILE), dict(asks))
    begun = time.process_time()
    found = rebase_findings(image(), update(own, base, base))
    assert time.process_time() - begun < WITHIN_SECONDS
    assert [one.fault for one in found] == [RebaseFault.UNKNOWN]
    assert "more programs and libraries than can be compared" in str(found[0])


def test_the_same_question_of_many_programs_is_asked_once() -> None:
    libraries = {f"lib{at}/lib.so": FILE for at in range(1000)}
    base = layer(libraries)
    asks = {f"bin/{at}": ElfFacts(needed=("lib.so",)) for at in range(20_000)}
    own = layer(dict.fromkeys(asks, FILE), dict(asks))
    assert rebase_findings(image(), update(own, base, base)) == []


def test_each_link_is_followed_once() -> None:
    chain = {f"l{at}": link("./" * 2000 + f"l{at + 1}") for at in range(39)} | {"l39": FILE}
    own = {f"own{at}": link("/l0") for at in range(20_000)}
    files = LayeredFiles.of([layer(chain | own)])
    begun = time.process_time()
    assert {files.resolve(path) for path in own} == {"l39"}
    assert time.process_time() - begun < WITHIN_SECONDS


@pytest.mark.parametrize(
    ("links", "path", "real"),
    [
        ({"a": "b", "b": "d"}, "a/f", "d/f"),
        ({"a": "/d/../d"}, "a/f", "d/f"),
        ({"d/up": ".."}, "d/up/d/f", "d/f"),
        ({"a": "a"}, "a", None),
        ({"a": "b", "b": "a/x"}, "b", None),
        ({"a": "/none"}, "a", None),
        ({"a": "none/../d"}, "a/f", None),
        ({"a": "x" * 5000}, "a", None),
        ({f"a{at}": f"a{at + 1}" for at in range(41)} | {"a41": "d"}, "a0/f", None),
        ({"a": "d", "b": "a/../a/../a"}, "b/f", "d/f"),
    ],
)
def test_links_lead_where_a_kernel_lets_them(
    links: dict[str, str], path: str, real: str | None
) -> None:
    files = LayeredFiles.of([layer({"d/f": FILE} | {name: link(to) for name, to in links.items()})])
    assert files.resolve(path) == real
    assert files.resolve(path) == real


def test_what_holds_for_many_layers_is_told_once() -> None:
    unread = [UnreadLayer("one", "full"), UnreadLayer("two", "broken"), UnreadLayer("3", "full")]
    assert [one.why for one in unread_findings(unread)] == [
        "layer one and 1 more cannot be looked at: full",
        "layer two cannot be looked at: broken",
    ]


def test_a_finding_is_told_in_short() -> None:
    long = "x" * 1_000_000
    finding = RebaseFinding(RebaseFault.WHITEOUT, long, (long,) * 1000)
    assert len(str(finding)) < 2000
    assert str(finding).endswith("and 995 more")
    short = shortened(finding)
    assert str(short) == str(finding)
    assert sum(map(len, (short.why, *short.paths))) < 2000
    assert shortened(short) == short
    assert listed(["a", "b", "c"], 2) == ["a", "b", "and 1 more reasons"]
    assert listed(["a", "b"], 2) == ["a", "b"]
