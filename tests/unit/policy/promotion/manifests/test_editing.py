"""One line changes for each image; everything else stays, byte for byte."""

import difflib
import textwrap
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from upwell.oci import Reference
from upwell.policy.promotion.manifests.editing import edit
from upwell.policy.promotion.manifests.wanted import ManifestError, WantedImage

NEW = f"sha256:{'a' * 64}"
SHOP = WantedImage("shop", Reference.parse(f"registry.example/team/shop@{NEW}"))
GATE = WantedImage("gate", Reference.parse(f"registry.example/team/gate@{NEW}"))
MOVED = replace(SHOP, repositories=frozenset({"build.example:5000/team/shop"}))


def edited(layout: str, text: str, *wanted: WantedImage, path: str = "app.yaml") -> str:
    """Return the edited text; an edit of it changes nothing more."""
    found = edit(layout, {path: text}, wanted)
    result = found.get(path, text)
    assert edit(layout, {path: result}, wanted) == {}
    return result


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[:1] in "+-" and line[:3] not in {"+++", "---"}]


PLAIN = textwrap.dedent("""\
    # The shop, and what stands before it.
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: shop,   labels: {app: "shop"}}
    spec:
      template:
        spec:
          initContainers:
          - name: wait
            image: busybox:1.37   # stays
          containers:
          - image: 'registry.example/team/shop:1.2'   # set by Upwell
            name: web
          - name: sidecar
            image: envoy

    ---
    apiVersion: batch/v1
    kind: CronJob
    metadata:
      name: report
    spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: gate, image: old/gate}]}}}}}
    """)


def test_a_plain_manifest_changes_in_the_line_of_its_image() -> None:
    after = edited("Plain", PLAIN, SHOP)
    assert changed_lines(PLAIN, after) == [
        "-      - image: 'registry.example/team/shop:1.2'   # set by Upwell",
        f"+      - image: 'registry.example/team/shop@{NEW}'   # set by Upwell",
    ]


def test_a_container_is_found_by_the_components_name_when_no_image_is() -> None:
    after = edited("Plain", PLAIN, SHOP, GATE)
    assert f"{{name: gate, image: registry.example/team/gate@{NEW}}}" in after


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("Deployment/shop/sidecar", f"image: registry.example/team/shop@{NEW}"),
        ("Deployment/shop/wait", f"image: registry.example/team/shop@{NEW}   # stays"),
        ("CronJob/report/gate", f"[{{name: gate, image: registry.example/team/shop@{NEW}}}]"),
    ],
)
def test_a_key_names_a_container(key: str, line: str) -> None:
    after = edited("Plain", PLAIN, replace(SHOP, key=key))
    assert len(changed_lines(PLAIN, after)) == 2
    assert line in after


def test_a_key_names_a_repository_that_the_image_takes_the_place_of() -> None:
    after = edited("Plain", PLAIN, replace(GATE, key="busybox"))
    assert after == PLAIN.replace("busybox:1.37", str(GATE.image))


def test_the_repository_keeps_its_spelling() -> None:
    wanted = WantedImage("web", Reference.parse(f"docker.io/library/nginx@{NEW}"))
    text = "kind: Pod\nspec:\n  containers:\n  - {name: x, image: nginx:1.27}\n"
    assert edited("Plain", text, wanted) == text.replace("nginx:1.27", f"nginx@{NEW}")


def test_an_image_is_found_where_it_was_before_it_was_mirrored() -> None:
    text = "spec: {containers: [{name: x, image: build.example:5000/team/shop:9}]}"
    assert f"image: registry.example/team/shop@{NEW}" in edited("Plain", text, MOVED)


def test_an_anchor_is_kept_and_its_aliases_follow() -> None:
    text = (
        "x: &image registry.example/team/shop:1\n"
        "spec: {containers: [{name: a, image: *image}, {name: b, image: *image}]}\n"
    )
    assert edited("Plain", text, SHOP) == text.replace("shop:1", f"shop@{NEW}")


def test_a_list_of_objects_is_looked_into() -> None:
    pod = {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}
    pod["spec"]["containers"][0]["image"] = "x"  # type: ignore[index]
    text = yaml.safe_dump({"kind": "List", "items": [pod]})
    assert f"team/shop@{NEW}" in edited("Plain", text, replace(SHOP, key="Pod/p/c"))


def test_json_is_edited_too() -> None:
    text = (
        '{\n  "spec": {"containers": [{"image": "registry.example/team/shop:1", "name": "x"}]}\n}\n'
    )
    assert edited("Plain", text, SHOP) == text.replace("shop:1", f"shop@{NEW}")


def test_line_ends_and_marks_at_the_beginning_stay() -> None:
    text = "\ufeff# é😀\r\nspec:\r\n  containers:\r\n  - name: shop\r\n    image: x # y\r\n"
    assert edited("Plain", text, SHOP) == text.replace(
        ": x #", f": registry.example/team/shop@{NEW} #"
    )


KUSTOMIZATION = textwrap.dedent("""\
    kind: Kustomization
    images:
    - name: registry.example/team/shop   # the shop
      newTag: "1.2"
    - name: gate
      newName: registry.example/team/gate
      newTag: v3
      digest: sha256:0000
    - {name: other, newTag: "7"}
    resources: [../base]
    """)


def test_a_kustomization_has_a_digest_in_place_of_its_tag() -> None:
    after = edited("Kustomize", KUSTOMIZATION, SHOP)
    assert changed_lines(KUSTOMIZATION, after) == ['-  newTag: "1.2"', f'+  digest: "{NEW}"']


def test_a_tag_beside_a_digest_goes() -> None:
    after = edited("Kustomize", KUSTOMIZATION, GATE)
    assert changed_lines(KUSTOMIZATION, after) == [
        "-  newTag: v3",
        "-  digest: sha256:0000",
        f"+  digest: {NEW}",
    ]


def test_an_image_that_moves_gets_a_new_name() -> None:
    after = edited("Kustomize", KUSTOMIZATION, MOVED, replace(GATE, key="other"))
    entries = {one["name"]: one for one in yaml.safe_load(after)["images"]}
    assert entries["other"] == {
        "name": "other",
        "newName": "registry.example/team/gate",
        "digest": NEW,
    }


@pytest.mark.parametrize(
    ("entry", "result"),
    [
        ("- name: shop", {"name": "shop", "newName": SHOP.image.name, "digest": NEW}),
        ("- {name: shop}", {"name": "shop", "newName": SHOP.image.name, "digest": NEW}),
        ("- newTag: v1\n  name: shop", {"name": "shop", "newName": SHOP.image.name, "digest": NEW}),
        (
            "- newTag: v1\n  digest: sha256:0\n  name: shop\n  newName: x",
            {"name": "shop", "newName": SHOP.image.name, "digest": NEW},
        ),
        (
            "- {digest: sha256:0, name: shop, newTag: v1}",
            {"name": "shop", "newName": SHOP.image.name, "digest": NEW},
        ),
        (
            "- {newTag: v1, name: shop, digest: sha256:0}",
            {"name": "shop", "newName": SHOP.image.name, "digest": NEW},
        ),
        (
            "- name: registry.example/team/shop\n  digest:   # to come",
            {"name": "registry.example/team/shop", "digest": NEW},
        ),
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\nresources: [x]\n"])
def test_every_form_of_an_entry_ends_the_same(entry: str, result: dict[str, str], end: str) -> None:
    after = edited("Kustomize", f"images:\n{entry}{end}", SHOP)
    assert yaml.safe_load(after)["images"] == [result]


VALUES = textwrap.dedent("""\
    # Values of the chart.
    image:
      registry: registry.example
      repository: team/shop
      tag: "1.2"  # the release
      pullPolicy: IfNotPresent
    gate:
      image: {repository: registry.example/team/gate, digest: ""}
    job:
      image: registry.example/team/shop:1.2
      tags: [a, b]
    a.b:
      tag: 3
    """)


def test_helm_values_are_found_by_their_repository() -> None:
    after = edited("Helm", VALUES, SHOP, GATE)
    assert changed_lines(VALUES, after) == [
        '-  tag: "1.2"  # the release',
        f'+  tag: "1.2@{NEW}"  # the release',
        '-  image: {repository: registry.example/team/gate, digest: ""}',
        f'+  image: {{repository: registry.example/team/gate, digest: "{NEW}"}}',
    ]


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("image", f'+  tag: "1.2@{NEW}"  # the release'),
        ("image.tag", f'+  tag: "1.2@{NEW}"  # the release'),
        ("job.image", f"+  image: registry.example/team/shop@{NEW}"),
        (
            "gate.image.digest",
            f'+  image: {{repository: registry.example/team/gate, digest: "{NEW}"}}',
        ),
        ("job.tags.1", f"+  tags: [a, registry.example/team/shop@{NEW}]"),
        (r"a\.b.tag", f"+  tag: 3@{NEW}"),
    ],
)
def test_a_helm_key_is_a_path_of_values(key: str, line: str) -> None:
    after = edited("Helm", VALUES, replace(SHOP, key=key))
    assert changed_lines(VALUES, after)[1:] == [line]


def test_helm_values_follow_an_image_that_moves() -> None:
    after = edited("Helm", VALUES, replace(GATE, key="image"))
    assert yaml.safe_load(after)["image"] == {
        "registry": "registry.example",
        "repository": "team/gate",
        "tag": f"1.2@{NEW}",
        "pullPolicy": "IfNotPresent",
    }


FLUX = textwrap.dedent("""\
    spec:
      containers:
      - name: a
        image: registry.example/team/shop:1 # {"$imagepolicy": "flux-system:shop"}
      values: {tag: 1.2} #{"$imagepolicy": "flux-system:shop:tag"}
      name: elsewhere/shop # {"$imagepolicy": "flux-system:shop:name"}
      digest: # {"$imagepolicy": "flux-system:shop:digest"}
      other: x:1 # {"$imagepolicy": "flux-system:gate"}
      script: |
        echo # {"$imagepolicy": "flux-system:shop"}
    """)


def test_flux_setters_set_what_their_policy_marks() -> None:
    after = edited("Flux", FLUX, SHOP)
    assert [line for line in changed_lines(FLUX, after) if line.startswith("+")] == [
        f'+    image: registry.example/team/shop@{NEW} # {{"$imagepolicy": "flux-system:shop"}}',
        f'+  values: {{tag: 1.2@{NEW}}} #{{"$imagepolicy": "flux-system:shop:tag"}}',
        '+  name: registry.example/team/shop # {"$imagepolicy": "flux-system:shop:name"}',
        f'+  digest: {NEW} # {{"$imagepolicy": "flux-system:shop:digest"}}',
    ]
    assert edited("Flux", FLUX, replace(GATE, key="flux-system:gate")) == FLUX.replace(
        "x:1", str(GATE.image)
    )


@pytest.mark.parametrize(
    ("layout", "text", "wanted", "message"),
    [
        ("Plain", "kind: Service", SHOP, "no container in app.yaml has an image of registry.exam"),
        ("Plain", "kind: Service", replace(SHOP, key="Pod/x/y"), "has the container Pod/x/y"),
        ("Plain", "kind: Service", replace(SHOP, key="x/y"), "has an image of x/y"),
        ("Kustomize", "images: []", SHOP, "add `- name: registry.example/team/shop`"),
        ("Kustomize", "images: {}", SHOP, "app.yaml has no image"),
        ("Helm", "image: {tag: 1}", SHOP, "no `repository` registry.example/team/shop"),
        ("Helm", "image: {}", replace(SHOP, key="image.tag"), "app.yaml has no value image.tag"),
        ("Helm", "\nimage: {}", replace(SHOP, key="image"), "app.yaml:2: image has neither"),
        ("Helm", "image: {tag: [1]}", replace(SHOP, key="image"), "app.yaml:1: expected a value"),
        ("Helm", "image: |\n  x\n", replace(SHOP, key="image"), "app.yaml:1: expected a value"),
        ("Helm", "image: x\n  y\n", replace(SHOP, key="image"), "over several lines"),
        ("Flux", "a: b", SHOP, '`# {"$imagepolicy": "NAMESPACE:shop"}`: add the comment'),
        ("Flux", 'a: b # {"$imagepolicy": "shop"}', SHOP, 'app.yaml:1: expected "NAMESPACE:NAME"'),
        ("Flux", 'a: b # {"$imagepolicy": "x:y:z"}', SHOP, "with :name, :tag or :digest"),
        ("Flux", 'a: b # {"$imagepolicy": 1}', SHOP, "app.yaml:1: expected"),
        ("Flux", 'a: b # {"$imagepolicy" 1}', SHOP, "app.yaml:1: expected `#"),
        ("Flux", '# {"$imagepolicy": "x:shop"}\na: b', SHOP, "app.yaml:1: the setter stands after"),
        ("Flux", 'a: # {"$imagepolicy": "x:shop"}\n  b: c', SHOP, "the setter stands after no"),
        ("Flux", 'a: b\n# {"$imagepolicy": "x:shop"}\n', SHOP, "app.yaml:2: the setter stands"),
        ("Plain", "a: [\n", SHOP, "app.yaml:2: not YAML"),
        ("Plain", "{{ .Values.image }}: {", SHOP, "app.yaml:2: not YAML"),
        ("Plain", "a: \x00", SHOP, "app.yaml"),
        ("Plain", "[" * 200_000, SHOP, "nested more than"),
    ],
)
def test_what_has_no_place_for_an_image_is_refused(
    layout: str, text: str, wanted: WantedImage, message: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        edit(layout, {"app.yaml": text}, [wanted])
    assert message in str(caught.value)
    assert "app.yaml" in str(caught.value)


def test_nothing_is_changed_when_one_component_has_no_place() -> None:
    with pytest.raises(ManifestError, match="named other"):
        edit("Plain", {"app.yaml": PLAIN}, [SHOP, replace(GATE, component="other")])


def test_a_component_may_stand_in_one_of_several_files() -> None:
    files = {"a.yaml": "kind: Service", "b.yaml": PLAIN, "c.yaml": PLAIN.replace("shop:", "s:")}
    assert list(edit("Plain", files, [SHOP])) == ["b.yaml"]


def test_a_text_that_grows_with_its_aliases_is_walked_once() -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 40))
    text = f"l0: &l0 {{containers: [{{name: shop, image: x}}]}}\n{levels}"
    assert edited("Plain", text, SHOP) == text.replace("image: x", f"image: {SHOP.image}")


_WORDS = st.text("abc xyz-é😀#'\"", max_size=12)
_PRINTED = st.fixed_dictionaries(
    {
        "indent": st.integers(2, 6),
        "width": st.sampled_from([20, 80, 1000]),
        "default_style": st.sampled_from([None, "'", '"']),
        "default_flow_style": st.sampled_from([True, False, None]),
        "allow_unicode": st.booleans(),
        "line_break": st.sampled_from(["\n", "\r\n"]),
        "explicit_start": st.booleans(),
        "sort_keys": st.booleans(),
    }
)
_LAYOUTS = st.sampled_from(["Plain", "Kustomize", "Helm"])
_DIGEST = st.sampled_from(["", NEW, f"sha256:{'b' * 64}"])


@st.composite
def _document(draw: st.DrawFn, layout: str) -> object:
    """Return a document with places for images, amid values of all sorts."""
    extra = draw(
        st.dictionaries(_WORDS, st.one_of(_WORDS, st.lists(_WORDS), st.none()), max_size=3)
    )
    image = draw(st.sampled_from(["registry.example/team/shop:1", "nginx", str(SHOP.image)]))
    if layout == "Plain":
        containers = [{"name": "shop", "image": image, **extra}, {"name": "b", "image": "b:2"}]
        return {**extra, "spec": {"containers": draw(st.permutations(containers))}}
    if layout == "Kustomize":
        entry = {"name": "shop", **draw(st.dictionaries(st.just("newName"), st.just("old/shop")))}
        entry |= draw(st.dictionaries(st.sampled_from(["newTag", "digest"]), st.just("v1")))
        pairs = draw(st.permutations(list(entry.items())))
        return {**extra, "images": [dict(pairs), {"name": "other", "newTag": "3"}]}
    parts = {"repository": SHOP.image.name, "tag": "v1"}
    parts |= draw(st.dictionaries(st.just("digest"), _DIGEST))
    return {**extra, "image": {**parts, **extra}, "other": {"repository": "x", "tag": "2"}}


@given(st.data(), _LAYOUTS, _PRINTED)
def test_an_edit_changes_the_image_and_no_other_value(
    data: st.DataObject, layout: str, printed: dict[str, object]
) -> None:
    document = data.draw(_document(layout))
    text = yaml.safe_dump(document, **printed)  # type: ignore[call-overload]
    after = edited(layout, text, SHOP)
    assert yaml.safe_load(after) == _expected(layout, yaml.safe_load(text))
    assert len(changed_lines(text, after)) <= 7  # of four fields, of which one goes


def _expected(layout: str, document: dict[str, object]) -> dict[str, object]:
    """Return the document with its image set, as one would write it without the text."""
    spec: dict[str, list[dict[str, str]]] = document.get("spec", {})  # type: ignore[assignment]
    if layout == "Plain":
        known = [c for c in spec["containers"] if c["image"].startswith("registry.example/team/sh")]
        for container in known or [c for c in spec["containers"] if c["name"] == "shop"]:
            container["image"] = str(SHOP.image)
    elif layout == "Kustomize":
        entry: dict[str, str] = document["images"][0]  # type: ignore[index]
        entry.pop("newTag", None)
        entry |= {"newName": SHOP.image.name, "digest": NEW}
    else:
        parts: dict[str, str] = document["image"]  # type: ignore[assignment]
        parts |= {"digest": NEW} if "digest" in parts else {"tag": f"v1@{NEW}"}
    return document
