"""Each reason against a rebase is found, and what depends on nothing that changed is safe."""

from collections.abc import Mapping
from typing import Any

import pytest
from tests.support.registry.made_images import made_image, tar_of

from upwell.inventory.interface import ElfFacts, EntryKind, LayerEntry, LayerFiles
from upwell.oci import Digest
from upwell.oci.rebase.documents import rebased
from upwell.policy.rebase.comparison import BaseComparison, BaseUpdate
from upwell.policy.rebase.findings import RebaseFault, RebaseFinding
from upwell.policy.rebase.layered_files import LayeredFiles
from upwell.policy.rebase.safety import UnreadLayer, rebase_findings, unread_findings

LIB = "usr/lib/x86_64-linux-gnu"
LIBC = f"{LIB}/libc.so.6"
LOADER = "/lib64/ld-linux-x86-64.so.2"
DEBIAN = 'ID=debian\nVERSION_ID="11"\n'
type Settings = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]

FOLDER = LayerEntry(EntryKind.DIRECTORY, 0o755, 0, 0)


def file(content: str = "x", **other: Any) -> LayerEntry:
    return LayerEntry(
        EntryKind.FILE, **{"mode": 0o755, "uid": 0, "gid": 0, **other}, size=1, content=content
    )


def link(target: str) -> LayerEntry:
    return LayerEntry(EntryKind.SYMLINK, 0o777, 0, 0, content=target)


def hard(target: str) -> LayerEntry:
    return LayerEntry(EntryKind.HARD_LINK, 0o755, 0, 0, content=target)


def layer(entries: Mapping[str, LayerEntry] | None = None, **facts: Any) -> LayerFiles:
    return LayerFiles(Digest.of(b""), entries or {}, **facts)


def libc(*versions: str, content: str) -> LayerFiles:
    elf = {LIBC: ElfFacts(soname="libc.so.6", defined=frozenset(versions))}
    return layer({LIBC: file(content), LOADER[1:]: file("loader")}, elf=elf)


OLD = libc("GLIBC_2.31", content="old libc")
NEW = libc("GLIBC_2.31", content="new libc")


def findings(
    old: LayerFiles,
    new: LayerFiles,
    *own: LayerFiles,
    settings: Settings = ({}, {}, {}),
    history: list[dict[str, Any]] | None = None,
) -> list[RebaseFinding]:
    """Return the findings; without a `history` the image has a step that copies its files."""
    before, after, image = settings
    history = [{"created_by": "base"}, {"created_by": "COPY own /"}] if history is None else history
    a, b, c = (tar_of({name: b""}) for name in "abc")
    made = rebased(
        made_image(a, c, settings=image, history=history).layered,
        made_image(a, settings=before).named("base:1"),
        made_image(b, settings=after).named("base:1"),
    )
    bases = BaseComparison(LayeredFiles.of([old]), LayeredFiles.of([new]))
    return rebase_findings(made, BaseUpdate(bases, own))


def faults(*args: LayerFiles, **options: Any) -> set[RebaseFault]:
    return {one.fault for one in findings(*args, **options)}


def program(**facts: Any) -> LayerFiles:
    elf = ElfFacts(
        interpreter=LOADER, needed=("libc.so.6",), required={"libc.so.6": ("GLIBC_2.31",)}
    )
    return layer({"app/run": file("app")}, elf={"app/run": elf}, **facts)


def test_files_beside_the_bases_are_safe() -> None:
    own = layer({"usr": FOLDER, "app": FOLDER, "app/run": file(), "etc/app.conf": file()})
    assert findings(OLD, NEW, own) == []


def test_a_program_whose_library_keeps_its_versions_is_safe() -> None:
    assert findings(OLD, NEW, program()) == []


def test_a_static_program_needs_nothing() -> None:
    own = layer({"app/run": file()}, elf={"app/run": ElfFacts()})
    assert findings(OLD, layer({"other": file()}), own) == []


def test_an_own_file_that_the_base_update_leaves_alone_is_safe() -> None:
    old = layer({"etc/passwd": file("base"), LIBC: file("1")})
    new = layer({"etc/passwd": file("base"), LIBC: file("2")})
    assert findings(old, new, layer({"etc/passwd": file("with mine")})) == []


@pytest.mark.parametrize(
    "own",
    [
        {LIBC: file("mine")},
        {LIBC: link("libmine.so")},
        {LIBC: FOLDER},
        {LIB: file("in place of a folder")},
        {"app/libc.so.6": hard(LIBC)},
    ],
)
def test_what_the_base_update_changes_may_not_be_the_images_own(own: dict[str, LayerEntry]) -> None:
    assert faults(OLD, NEW, layer(own)) >= {RebaseFault.FILE_OVERLAP}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (file("1"), file("2")),
        (file("1"), None),
        (None, file("2")),
        (file("1"), file("1", mode=0o4755)),
        (file("1"), file("1", uid=5)),
        (file("1"), file("1", extended="capability")),
        (file("1"), link("elsewhere")),
    ],
)
def test_every_kind_of_change_counts(old: LayerEntry | None, new: LayerEntry | None) -> None:
    below, above = (layer({"bin/tool": one} if one else {}) for one in (old, new))
    found = findings(below, above, layer({"bin/tool": file("mine")}))
    assert [(one.fault, one.paths) for one in found] == [(RebaseFault.FILE_OVERLAP, ("bin/tool",))]


def test_a_file_that_is_what_the_new_base_has_is_safe() -> None:
    own = layer({"bin/tool": file("2")})
    assert findings(layer({"bin/tool": file("1")}), layer({"bin/tool": file("2")}), own) == []


def test_a_folder_that_the_image_names_again_is_safe_unless_the_base_changes_it() -> None:
    private = LayerEntry(EntryKind.DIRECTORY, 0o700, 0, 0)
    own = layer({"srv": FOLDER, "srv/app": file()})
    assert findings(layer({"srv": FOLDER}), layer({"srv": FOLDER}), own) == []
    assert findings(layer({"srv": FOLDER}), layer(), own) == []
    assert faults(layer({"srv": FOLDER}), layer({"srv": private}), own) == {
        RebaseFault.FILE_OVERLAP
    }


def test_a_folder_that_is_a_link_in_the_new_base_is_an_overlap() -> None:
    old = layer({"bin": FOLDER, "bin/sh": file("1")})
    new = layer({"bin": link("usr/bin"), "usr/bin/sh": file("1")})
    assert faults(old, new, layer({"bin": FOLDER, "bin/app": file()})) == {RebaseFault.FILE_OVERLAP}


@pytest.mark.parametrize("new", [link("srv"), link("gone"), file("1")])
def test_a_folder_that_leads_elsewhere_counts_where_no_layer_names_it(new: LayerEntry) -> None:
    own = layer({"opt/team/app": file()})
    folder, other = layer({"opt": FOLDER, "srv": FOLDER}), layer({"opt": new, "srv": FOLDER})
    assert faults(folder, other, own) == {RebaseFault.FILE_OVERLAP}
    assert faults(other, folder, own) == {RebaseFault.FILE_OVERLAP}
    assert findings(other, other, own) == []


def test_a_path_through_a_link_of_the_base_is_the_file_behind_it() -> None:
    old = layer({"bin": link("usr/bin"), "usr/bin/sh": file("1")})
    new = layer({"bin": link("usr/bin"), "usr/bin/sh": file("2")})
    assert faults(old, new, layer({"bin/sh": file("mine")})) == {RebaseFault.FILE_OVERLAP}
    assert findings(old, new, layer({"bin/app": file("mine")})) == []


def test_a_hard_link_of_the_base_changes_with_its_file() -> None:
    old = layer({"bin/a": file("1"), "bin/b": hard("bin/a")})
    new = layer({"bin/a": file("2"), "bin/b": hard("bin/a")})
    assert faults(old, new, layer({"bin/b": file("mine")})) == {RebaseFault.FILE_OVERLAP}


@pytest.mark.parametrize(
    "own",
    [
        layer(removed=frozenset({LIBC})),
        layer(removed=frozenset({LIB})),
        layer(removed=frozenset({"usr"})),
        layer(opaque=frozenset({LIB})),
        layer(opaque=frozenset({""})),
    ],
)
def test_what_the_base_update_changes_may_not_be_removed(own: LayerFiles) -> None:
    assert RebaseFault.WHITEOUT in faults(OLD, NEW, own)


@pytest.mark.parametrize(
    "own",
    [
        layer(removed=frozenset({"var/cache/apt", "never/was"})),
        layer(removed=frozenset({"etc/same"})),
        layer(removed=frozenset({"etc/gone"})),
        layer({"app/x": file()}, opaque=frozenset({"app"})),
    ],
)
def test_removals_of_what_does_not_change_are_safe(own: LayerFiles) -> None:
    old = layer({"etc/same": file(), "etc/gone": file(), "bin/a": file("1")})
    assert findings(old, layer({"etc/same": file(), "bin/a": file("2")}), own) == []


def test_what_an_image_adds_and_removes_itself_is_nothing() -> None:
    first, second = layer({"tmp/a": file()}), layer(removed=frozenset({"tmp/a"}))
    assert findings(OLD, NEW, first, second) == []


@pytest.mark.parametrize(
    "path", ["var/lib/dpkg/status", "lib/apk/db/installed", "var/lib/rpm/rpmdb.sqlite"]
)
def test_a_package_database_that_would_lie_is_a_fault(path: str) -> None:
    old, new = layer({path: file("sec 1.0")}), layer({path: file("sec 1.1")})
    assert faults(old, new, layer({path: file("sec 1.0, app")})) == {RebaseFault.PACKAGE_DATABASE}


def test_a_package_database_that_stays_true_is_safe() -> None:
    status = "var/lib/dpkg/status"
    same = file("base")
    assert findings(
        layer({status: same, "a": file("1")}), layer({status: same, "a": file("2")}),
        layer({status: file("base, app")}),
    ) == []  # fmt: skip
    old = layer({"var/lib/dpkg/status.d/libc6": file("1")})
    new = layer({"var/lib/dpkg/status.d/libc6": file("2")})
    assert findings(old, new, layer({"var/lib/dpkg/status.d/app": file("app")})) == []


def test_a_copy_of_what_the_base_update_replaces_is_a_fault() -> None:
    found = findings(OLD, NEW, layer({"opt/libc.so.6": file("old libc")}))
    assert [(one.fault, one.paths) for one in found] == [
        (RebaseFault.BASE_COPY, ("opt/libc.so.6",))
    ]
    assert findings(OLD, NEW, layer({"opt/libc.so.6": file("new libc")})) == []


def test_what_was_compiled_of_a_module_of_the_base_is_a_fault() -> None:
    old, new = (layer({"usr/lib/python3.9/os.py": file(text)}) for text in "12")
    own = layer({"usr/lib/python3.9/__pycache__/os.cpython-39.opt-1.pyc": file("c")})
    assert faults(old, new, own) == {RebaseFault.BASE_COPY}


@pytest.mark.parametrize("path", [f"{LIB}/other.so", "bin/other"])
def test_a_library_that_the_new_base_has_not_is_a_fault(path: str) -> None:
    new = layer({path: file(), LOADER[1:]: file()})
    assert faults(OLD, new, program()) == {RebaseFault.MISSING_LIBRARY}


def test_a_program_loader_that_the_new_base_has_not_is_a_fault() -> None:
    musl = layer({"lib/ld-musl-x86_64.so.1": file()})
    found = findings(OLD, musl, program())
    assert any(f"no {LOADER}" in one.why for one in found)


def test_a_symbol_version_that_the_new_base_has_not_is_a_fault() -> None:
    found = findings(OLD, libc("GLIBC_2.30", content="older"), program())
    assert [one.fault for one in found] == [RebaseFault.MISSING_SYMBOL_VERSION]
    assert "GLIBC_2.31" in found[0].why
    assert found[0].paths == ("app/run",)


def test_a_library_behind_links_is_found() -> None:
    def linked(real: str) -> LayerFiles:
        elf = {f"{LIB}/{real}": ElfFacts(defined=frozenset({"GLIBC_2.31"}))}
        return layer({LIBC: link(real), f"{LIB}/{real}": file(real), LOADER[1:]: file()}, elf=elf)

    assert findings(linked("libc-2.31.so"), linked("libc-2.36.so"), program()) == []


def test_a_library_that_moved_to_another_folder_of_the_loader_is_found() -> None:
    moved = layer(
        {"lib64/libc.so.6": file("new"), LOADER[1:]: file()},
        elf={"lib64/libc.so.6": ElfFacts(defined=frozenset({"GLIBC_2.31"}))},
    )
    assert findings(OLD, moved, program()) == []
    hidden = layer({"opt/libc.so.6": file("new"), LOADER[1:]: file()})
    assert faults(OLD, hidden, program()) == {RebaseFault.MISSING_LIBRARY}


def test_a_library_of_the_images_own_is_none_of_the_bases() -> None:
    elf = {"app/run": ElfFacts(needed=("libmine.so.1",))}
    own = layer({"app/run": file(), "app/libmine.so.1": file("lib")}, elf=elf)
    assert findings(OLD, NEW, own) == []
    assert findings(OLD, NEW, layer({"app/run": file()}, elf=elf)) == []  # missing all along


def test_a_library_that_comes_before_the_bases_is_a_fault() -> None:
    path = "usr/local/lib/libc.so.6"
    own = layer({path: file("mine")}, elf={path: ElfFacts(soname="libc.so.6")})
    assert RebaseFault.SHADOWED_LIBRARY in faults(OLD, NEW, own)
    assert findings(OLD, OLD, own) == []


def test_what_cannot_be_read_is_unknown() -> None:
    own = layer({"app/run": file()}, elf={"app/run": None})
    assert faults(OLD, NEW, own) == {RebaseFault.UNKNOWN}
    unreadable = layer({LIBC: file("new"), LOADER[1:]: file("loader")}, elf={LIBC: None})
    assert faults(OLD, unreadable, program()) == {RebaseFault.UNKNOWN}
    (finding,) = unread_findings([UnreadLayer("sha256:1", "compressed with zstd")])
    assert finding.fault is RebaseFault.UNKNOWN
    assert "zstd" in finding.why


@pytest.mark.parametrize(
    "line", ["/usr/bin/python3", "/usr/bin/env python3", "/usr/bin/env -S python3 -u"]
)
def test_an_interpreter_that_the_new_base_has_not_is_a_fault(line: str) -> None:
    base = {"usr/bin/env": file(), "usr/bin/python3": file()}
    own = layer({"app/run.py": file()}, scripts={"app/run.py": line})
    assert findings(layer(base), layer(base), own) == []
    assert faults(layer(base), layer({"usr/bin/env": file()}), own) == {RebaseFault.MISSING_FILE}


@pytest.mark.parametrize(
    "image", [{"Cmd": ["tool", "-v"]}, {"Entrypoint": ["/usr/bin/tool"]}, {"Cmd": ["sh", "/etc/x"]}]
)
def test_a_command_that_the_new_base_has_not_is_a_fault(image: dict[str, Any]) -> None:
    base = {"usr/bin/tool": file(), "etc/x": file(), "bin/sh": file()}
    settings: Settings = ({}, {}, image)
    assert findings(layer(base), layer(base), settings=settings) == []
    assert faults(layer(base), layer({"bin/sh": file()}), settings=settings) == {
        RebaseFault.MISSING_FILE
    }


def test_a_link_to_what_the_new_base_has_not_is_a_fault() -> None:
    own = layer({"app/tool": link("/usr/bin/tool")})
    base = layer({"usr/bin/tool": file()})
    assert findings(base, base, own) == []
    assert faults(base, layer(), own) == {RebaseFault.MISSING_FILE}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("usr/lib/python3.11/os.py", "usr/lib/python3.12/os.py"),
        ("usr/local/lib/ruby/3.1.0/set.rb", "usr/local/lib/ruby/3.2.0/set.rb"),
        ("usr/share/perl/5.32.1/strict.pm", "usr/share/perl/5.36.0/strict.pm"),
        ("usr/lib/php/20200930/x.so", "usr/lib/php/20210902/x.so"),
    ],
)
def test_another_version_of_a_runtime_is_a_fault(old: str, new: str) -> None:
    assert faults(layer({old: file()}), layer({new: file()})) == {RebaseFault.RUNTIME_VERSION}
    assert findings(layer({old: file("1")}), layer({old: file("2"), new: file()})) == []


def test_the_version_that_a_name_leads_to_counts() -> None:
    both = {f"usr/bin/python3.{minor}": file() for minor in (9, 10)}
    old, new = (layer({**both, "usr/bin/python3": link(f"python3.{n}")}) for n in (9, 10))
    assert faults(old, new) == {RebaseFault.RUNTIME_VERSION}


def test_node_and_java_are_told_by_what_they_say_of_themselves() -> None:
    header, release = "usr/local/include/node/node_version.h", "usr/lib/jvm/jdk/release"

    def base(node: str, java: str) -> LayerFiles:
        texts = {
            header: f"#define NODE_MAJOR_VERSION {node}\n",
            release: f'JAVA_VERSION="{java}"\n',
        }
        programs = {"usr/local/bin/node": file(node), "usr/bin/java": file(java)}
        return layer({**programs, header: file(node), release: file(java)}, texts=texts)

    assert findings(base("20", "17.0.1"), base("20", "17.0.2")) == []
    assert len(findings(base("18", "1.8.0_1"), base("20", "11.0.1"))) == 2


def test_a_node_of_a_distribution_is_told_by_its_library() -> None:
    def base(abi: int, text: str) -> LayerFiles:
        library = f"usr/lib/x86_64-linux-gnu/libnode.so.{abi}"
        return layer({"usr/bin/node": file(text), library: file(text)})

    assert findings(base(72, "12.22.5"), base(72, "12.22.12")) == []
    assert RebaseFault.RUNTIME_VERSION in faults(base(72, "12"), base(83, "14"))


def test_a_node_of_unknown_version_is_unknown() -> None:
    old, new = (layer({"usr/bin/node": file(text)}) for text in "12")
    assert faults(old, new) == {RebaseFault.UNKNOWN}
    known = {"Env": ["NODE_VERSION=20.1.0"]}
    assert findings(old, new, settings=(known, {"Env": ["NODE_VERSION=20.2.0"]}, known)) == []


def release(text: str) -> LayerFiles:
    path = "usr/lib/os-release"
    entries = {"etc/os-release": link("../usr/lib/os-release"), path: file(text)}
    return layer(entries, texts={path: text})


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (DEBIAN, DEBIAN + "X=1\n", True),
        (DEBIAN, "ID=debian\nVERSION_ID=12\n", False),
        (DEBIAN, "ID=ubuntu\nVERSION_ID=11\n", False),
        ("ID=alpine\nVERSION_ID=3.18.9\n", "ID=alpine\nVERSION_ID=3.18.10\n", True),
        ("ID=alpine\nVERSION_ID=3.18.9\n", "ID=alpine\nVERSION_ID=3.20.3\n", False),
        ('ID="rhel"\nVERSION_ID="9.3"\n', 'ID="rhel"\nVERSION_ID="9.4"\n', True),
    ],
)
def test_another_distribution_is_a_fault(old: str, new: str, *, same: bool) -> None:
    expected = set() if same else {RebaseFault.DISTRIBUTION}
    assert faults(release(old), release(new)) == expected


def test_a_user_with_another_id_is_a_fault() -> None:
    def base(uid: str) -> LayerFiles:
        text = f"root:x:0:0::/:/bin/sh\napp:x:{uid}:5::/:/bin/sh\n"
        return layer({"etc/passwd": file(uid)}, texts={"etc/passwd": text})

    named: Settings = ({}, {}, {"User": "app"})
    assert faults(base("100"), base("101"), settings=named) == {RebaseFault.USER}
    assert findings(base("100"), base("101"), settings=({}, {}, {"User": "100"})) == []
    assert faults(base("100"), layer(), settings=named) == {RebaseFault.USER}


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (({"OnBuild": ["RUN x"]}, {}, {}), RebaseFault.ON_BUILD),
        (({}, {"OnBuild": ["RUN x"]}, {}), RebaseFault.ON_BUILD),
        (({}, {}, {"Labels": {"io.buildpacks.rebasable": "false"}}), RebaseFault.OPT_OUT),
        (
            (
                {"Labels": {"io.buildpacks.stack.id": "a"}},
                {"Labels": {"io.buildpacks.stack.id": "b"}},
                {},
            ),
            RebaseFault.DISTRIBUTION,
        ),
        (
            ({"Env": ["PATH=/a:/b"]}, {"Env": ["PATH=/c"]}, {"Env": ["PATH=/b:/x:/a"]}),
            RebaseFault.SETTING_CONFLICT,
        ),
    ],
)
def test_configurations_alone_may_speak_against_it(settings: Any, fault: RebaseFault) -> None:
    assert faults(OLD, NEW, settings=settings) == {fault}
    rebasable = {"Labels": {"io.buildpacks.rebasable": "true"}}
    assert findings(OLD, NEW, settings=({}, {}, rebasable)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"User": "root"}, {"User": "app"}),
        ({}, {"WorkingDir": "/srv"}),
        ({"Shell": ["/bin/sh", "-c"]}, {"Shell": ["/bin/bash", "-c"]}),
    ],
)
def test_steps_that_would_have_run_otherwise_are_a_fault(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    own = {"User": "1", "WorkingDir": "/mine", "Shell": ["/mine"]}
    assert faults(OLD, NEW, settings=(old, new, own)) == {RebaseFault.BUILD_SETTING}
    assert findings(OLD, NEW, settings=({"User": ""}, {}, own)) == []


@pytest.mark.parametrize(
    "step",
    [
        "ENV LANG=C",
        "/bin/sh -c #(nop) ENV LANG=C",
        "ENV A=b LANG=C",
        "ENV LANG C",
        'CMD ["sh"]',
        '/bin/sh -c #(nop)  CMD ["sh"]',
    ],
)
def test_what_the_image_sets_to_its_old_bases_value_is_a_conflict(step: str) -> None:
    old = {"Env": ["LANG=C", "V=1"], "Cmd": ["sh"]}
    new = {"Env": ["LANG=C.UTF-8", "V=2"], "Cmd": ["bash"]}
    steps: list[dict[str, Any]] = [
        {"created_by": "base"},
        {"created_by": step, "empty_layer": True},
        {"created_by": "c"},
    ]
    settings: Settings = (old, new, old)
    assert faults(OLD, NEW, settings=settings, history=steps) == {RebaseFault.SETTING_CONFLICT}
    others: list[dict[str, Any]] = [
        *steps[:1],
        {"created_by": "ENV LANGUAGE=C CMD=1", "empty_layer": True},
        *steps[2:],
    ]
    assert findings(OLD, NEW, settings=settings, history=others) == []


def test_a_volume_of_the_new_base_may_not_cover_files_of_the_image() -> None:
    settings: Settings = ({}, {"Volumes": {"/data": {}}}, {})
    assert findings(OLD, NEW, layer({"database": file()}), settings=settings) == []
    found = findings(OLD, NEW, layer({"data": FOLDER, "data/a": file()}), settings=settings)
    assert [one.paths for one in found] == [("data/a",)]


def test_links_that_lead_in_a_circle_lead_nowhere() -> None:
    files = LayeredFiles.of([layer({"a": link("b"), "b": link("/a"), "c": link("../../d")})])
    assert files.resolve("a/x") is None
    assert files.resolve("c") is None
    assert files.resolve("/") == ""


def test_a_finding_names_a_few_of_many_files() -> None:
    paths = tuple(f"a{number}" for number in range(9))
    text = str(RebaseFinding(RebaseFault.FILE_OVERLAP, "why", paths))
    assert text == "FileOverlap: why: /a0, /a1, /a2, /a3, /a4 and 4 more"
