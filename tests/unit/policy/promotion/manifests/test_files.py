import pytest

from upwell.gitops.interface import MAX_FILE_BYTES, TreeFile
from upwell.oci import Reference
from upwell.policy.promotion.manifests.files import MAX_FILES, choose, narrowed, place, words
from upwell.policy.promotion.manifests.wanted import ManifestError, WantedImage

LINK, SUBMODULE = "120000", "160000"


def tree(*paths: str, **modes: str) -> list[TreeFile]:
    return [TreeFile(path, "b" * 40, modes.get(path.partition(".")[0], "100644")) for path in paths]


def names(entries: list[TreeFile]) -> list[str]:
    return [one.path for one in entries]


def test_a_folder_of_manifests_gives_its_yaml_and_no_links() -> None:
    entries = tree("deploy/a.yaml", "deploy/sub/b.yml", "deploy/c.json", "deploy/README.md")
    entries.append(TreeFile("deploy/link.yaml", "b" * 40, LINK))
    for layout in ("Plain", "Flux"):
        assert names(choose(entries, layout, "./deploy/")) == [
            "deploy/a.yaml",
            "deploy/sub/b.yml",
            "deploy/c.json",
        ]


@pytest.mark.parametrize("layout", ["Plain", "Kustomize", "Helm", "Flux"])
def test_a_file_is_taken_as_it_is_named(layout: str) -> None:
    assert names(choose(tree("x/other.txt"), layout, "x/./other.txt")) == ["x/other.txt"]


def test_a_kustomization_and_values_are_found_in_their_folder_alone() -> None:
    entries = tree("a/kustomization.yml", "a/values.yaml", "a/sub/kustomization.yaml")
    assert names(choose(entries, "Kustomize", "a")) == ["a/kustomization.yml"]
    assert names(choose(entries, "Helm", "a")) == ["a/values.yaml"]
    assert names(choose(tree("values.yml"), "Helm", ".")) == ["values.yml"]


@pytest.mark.parametrize(
    ("entries", "layout", "path", "message"),
    [
        ([], "Plain", "x/y", "there is no x/y"),
        (tree("a/x.yaml"), "Kustomize", "a", "a has no kustomization.yaml"),
        (tree("link", link=LINK), "Plain", "link", "link is a symbolic link"),
        (tree("part", part=SUBMODULE), "Plain", "part", "part is a submodule"),
        (tree("values.yaml", values=LINK), "Helm", ".", "values.yaml is a symbolic link"),
        (tree("a"), "Plain", "../a", "'../a' is not a path in a repository"),
        (tree("a"), "Plain", "a/../../b", "is not a path in a repository"),
        (tree("a"), "Plain", "/etc/passwd", "is not a path in a repository"),
        (tree("a"), "Plain", ".git/config", "is not a path in a repository"),
    ],
)
def test_what_leads_out_or_nowhere_is_refused(
    entries: list[TreeFile], layout: str, path: str, message: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        choose(entries, layout, path)
    assert message in str(caught.value)


def test_only_files_with_a_word_are_read_and_none_that_is_too_large() -> None:
    large = TreeFile("large.yaml", "b" * 40, "100644", MAX_FILE_BYTES + 1)
    entries = [*tree("a.yaml", "b.yaml"), large]
    assert names(narrowed(entries, ["b.yaml", "gone.yaml"])) == ["b.yaml"]
    with pytest.raises(ManifestError, match=r"large\.yaml is larger than 524288 bytes"):
        narrowed(entries, None)
    many = tree(*(f"{n}.yaml" for n in range(MAX_FILES + 1)))
    with pytest.raises(ManifestError, match="over 200 files"):
        narrowed(many, None)


def test_the_words_are_what_a_file_must_have_to_name_an_image() -> None:
    image = Reference.parse(f"registry.example/team/shop@sha256:{'a' * 64}")
    shop = WantedImage("web", image, repositories=frozenset({"localhost:5000/old"}))
    assert words("Plain", [shop]) == ("old", "shop", "web")
    assert words("Plain", [WantedImage("web", image, "Deployment/x/main")]) == ("main", "shop")
    assert words("Flux", [shop]) == ("$imagepolicy",)
    assert words("Helm", [shop]) == ()


def test_a_path_is_written_one_way() -> None:
    assert (place(""), place("."), place("a/b/"), place("a//b")) == (".", ".", "a/b", "a/b")
