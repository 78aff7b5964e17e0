"""Files that an image has made of its base's: a build would make them of the new ones."""

import pytest
from tests.unit.policy.rebase.test_rebase_safety import (
    FOLDER,
    LIB,
    NEW,
    OLD,
    faults,
    file,
    findings,
    hard,
    layer,
    link,
)

from upwell.inventory.interface import ElfFacts, LayerEntry
from upwell.policy.rebase.findings import RebaseFault

WHEELS = "usr/share/python-wheels"
PACKAGES = "srv/venv/lib/python3.9/site-packages"


def test_what_was_unpacked_of_a_wheel_of_the_base_is_a_fault() -> None:
    wheel = f"{WHEELS}/pip-20.3.4-py2.py3-none-any.whl"
    own = layer({f"{PACKAGES}/pip-20.3.4.dist-info/METADATA": file("pip")})
    found = findings(layer({wheel: file("1")}), layer({wheel: file("2")}), own)
    assert [one.fault for one in found] == [RebaseFault.BASE_COPY]
    newer = layer({f"{WHEELS}/pip-23.0-py3-none-any.whl": file("2")})
    assert faults(layer({wheel: file("1")}), newer, own) == {RebaseFault.BASE_COPY}
    other = layer({f"{PACKAGES}/shop-20.3.4.dist-info/METADATA": file("shop")})
    assert findings(layer({wheel: file("1")}), newer, other) == []


def test_a_venv_stays_with_another_patch_version_of_python() -> None:
    def base(patch: str) -> dict[str, LayerEntry]:
        return {"usr/bin/python3": link("python3.9"), "usr/bin/python3.9": file(patch)}

    own = {
        "srv/venv/pyvenv.cfg": file("home = /usr/bin, version = 3.9.2"),
        "srv/venv/lib64": link("lib"),
        "srv/venv/bin/python3": link("/usr/bin/python3"),
        "srv/venv/bin/python": link("python3"),
        "srv/venv/bin/shop": file("#!/srv/venv/bin/python3"),
        f"{PACKAGES}/shop/__init__.py": file("shop"),
        f"{PACKAGES}/shop/__pycache__/__init__.cpython-39.pyc": file("compiled"),
        f"{PACKAGES}/shop-1.dist-info/RECORD": file("record"),
    }
    scripts = {"srv/venv/bin/shop": "/srv/venv/bin/python3"}
    assert findings(layer(base("3.9.2")), layer(base("3.9.18")), layer(own, scripts=scripts)) == []
    minor = layer({"usr/bin/python3": link("python3.11"), "usr/bin/python3.11": file("3.11")})
    assert RebaseFault.RUNTIME_VERSION in faults(layer(base("3.9.2")), minor, layer(own))


@pytest.mark.parametrize(
    ("made", "source"),
    [
        ("etc/ssl/certs/ca-certificates.crt", "usr/share/ca-certificates/mozilla/A.crt"),
        ("usr/lib/locale/locale-archive", "usr/share/i18n/locales/de_DE"),
        ("var/cache/fontconfig/a.cache-7", "usr/share/fonts/a.ttf"),
        ("usr/share/mime/mime.cache", "usr/share/mime/packages/a.xml"),
        (f"{LIB}/gconv/gconv-modules.cache", f"{LIB}/gconv/UTF-7.so"),
        ("usr/share/glib-2.0/schemas/gschemas.compiled", "usr/share/glib-2.0/schemas/a.xml"),
        ("usr/share/icons/hicolor/icon-theme.cache", "usr/share/icons/hicolor/apps/a.png"),
        ("var/cache/man/index.db", "usr/share/man/man1/a.1.gz"),
        ("etc/pam.d/common-auth", "usr/share/pam-configs/unix"),
        ("app/shop.jsa", "opt/java/lib/modules"),
    ],
)
def test_what_a_tool_made_of_what_changes_is_a_fault(made: str, source: str) -> None:
    old, new = (layer({source: file(text)}) for text in "12")
    found = findings(old, new, layer({made: file("own")}))
    assert [(one.fault, one.paths) for one in found] == [(RebaseFault.BASE_COPY, (made,))]
    assert f"/{source}" in found[0].why
    assert findings(old, old, layer({made: file("own")})) == []
    folders = layer(dict.fromkeys((made.rpartition("/")[0], "etc/ssl/own"), FOLDER))
    assert findings(old, new, folders) == []


@pytest.mark.parametrize(
    "own", ["etc/ssl/private/a.key", "etc/pki/tls/private/a.key", "etc/pki/rpm-gpg/KEY"]
)
def test_keys_are_made_of_no_certificate(own: str) -> None:
    old, new = (layer({"usr/share/ca-certificates/A.crt": file(text)}) for text in "12")
    assert findings(old, new, layer({own: file("own")})) == []


@pytest.mark.parametrize("made", ["__pycache__/a.cpython-39.pyc", "a.pyc"])
def test_what_was_compiled_of_what_changes_is_a_fault(made: str) -> None:
    old, new = (layer({"usr/lib/shop/a.py": file(text)}) for text in "12")
    own = layer({f"usr/lib/shop/{made}": file("compiled")})
    assert faults(old, new, own) == {RebaseFault.BASE_COPY}


def test_a_copy_of_a_folder_would_have_what_the_base_update_adds() -> None:
    old = {"etc/skel": FOLDER, "etc/skel/a": file("a"), "etc/skel/b": file("b")}
    new = {**old, "etc/skel/c": file("c")}
    copied = layer({"home/me/a": file("a", uid=5), "home/me/b": file("b"), "home/me/x": file()})
    found = findings(layer(old), layer(new), copied)
    assert [(one.fault, one.paths) for one in found] == [(RebaseFault.BASE_COPY, ("home/me",))]
    assert findings(layer(old), layer(new), layer({"home/me/a": file("a")})) == []
    apart = layer({"home/me/a": file("a"), "home/you/b": file("b")})
    assert findings(layer(old), layer(new), apart) == []
    assert findings(layer(old), layer(old), copied) == []


@pytest.mark.parametrize("path", ["usr/include/c++/10/vector", "usr/include/fmt/core.hpp"])
def test_a_program_may_have_code_of_headers(path: str) -> None:
    own = layer({"app/run": file()}, elf={"app/run": ElfFacts()})
    assert faults(layer({path: file("1")}), layer({path: file("2")}), own) == {
        RebaseFault.BASE_COPY
    }


def test_nginx_loads_modules_of_its_very_version_alone() -> None:
    path = "usr/lib/nginx/modules/ngx_http_own_module.so"
    own = layer({path: file()}, elf={path: ElfFacts()})
    old, new = (layer({"usr/sbin/nginx": file(text)}) for text in "12")
    assert faults(old, new, own) == {RebaseFault.RUNTIME_VERSION}
    assert findings(old, old, own) == []
    assert findings(old, new, layer({"etc/nginx/nginx.conf": file("own")})) == []


LINKED = {"lib": link("usr/lib"), "bin": link("usr/bin")}


def test_what_is_behind_a_link_counts_however_a_layer_names_it() -> None:
    old, new = (
        layer({**LINKED, "usr/lib/x": file(text), "usr/bin/x": file(text)}) for text in "12"
    )
    opaque = layer({"lib": FOLDER}, opaque=frozenset({"lib"}))
    assert faults(old, new, opaque) == {RebaseFault.WHITEOUT}
    assert faults(old, new, layer({"srv/x": hard("bin/x")})) == {RebaseFault.FILE_OVERLAP}
    assert faults(old, new, layer(removed=frozenset({"bin/x"}))) == {RebaseFault.WHITEOUT}
    own_link = layer({"srv/bin": link("../usr/bin")})
    assert faults(old, new, own_link, layer({"srv/bin/x": file("mine")})) == {
        RebaseFault.FILE_OVERLAP
    }
    beside = layer({"lib/mine": file(), "srv/bin/mine": file()}, opaque=frozenset({"srv"}))
    assert findings(old, new, own_link, beside) == []


def test_a_layer_without_anything_changes_nothing() -> None:
    assert findings(OLD, NEW, layer(), layer({"usr": FOLDER, LIB: FOLDER}), layer()) == []


@pytest.mark.parametrize(
    "compiled",
    [
        "usr/lib/python3/json/__pycache__/decoder.cpython-39.opt-1.pyc",
        "usr/lib/python3/json/decoder.pyc",
        "var/cache/py/usr/lib/python3/json/decoder.cpython-39.pyc",
    ],
)
def test_bytecode_of_what_changes_is_a_fault_wherever_it_lies(compiled: str) -> None:
    source = "usr/lib/python3/json/decoder.py"
    old, new = (layer({source: file(text)}) for text in "12")
    assert faults(old, new, layer({compiled: file("code")})) == {RebaseFault.BASE_COPY}
    assert findings(old, new, layer({compiled.replace("decoder", "shop"): file("code")})) == []


def test_a_list_of_libraries_is_a_fault_where_other_libraries_are() -> None:
    own = layer({"etc/ld.so.cache": file("list"), "opt/lib/libshop.so.1": file("own")})
    one, two = f"{LIB}/libz.so.1.2.11", f"{LIB}/libz.so.1.2.13"
    old = layer({f"{LIB}/libz.so.1": link("libz.so.1.2.11"), one: file("1")})
    moved = layer({f"{LIB}/libz.so.1": link("libz.so.1.2.13"), two: file("2")})
    assert faults(old, moved, own) == {RebaseFault.BASE_COPY}
    patched = layer({f"{LIB}/libz.so.1": link("libz.so.1.2.11"), one: file("2")})
    assert findings(old, patched, own) == []
