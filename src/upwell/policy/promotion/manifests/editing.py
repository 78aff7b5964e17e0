"""Edits the files of a stage: every component's image is set in one of them at least."""

from collections.abc import Mapping, Sequence

from upwell.policy.promotion.manifests import flux, helm, kustomize, plain
from upwell.policy.promotion.manifests.wanted import ManifestError, WantedImage
from upwell.policy.promotion.manifests.yaml_text import YamlText

_LAYOUTS = {"Plain": plain, "Kustomize": kustomize, "Helm": helm, "Flux": flux}


def edit(
    layout: str, files: Mapping[str, str], wanted: Sequence[WantedImage], where: str = ""
) -> dict[str, str]:
    """Return the files that change, path -> text: empty when they have every image already.

    `where` names the place that was searched. Raises ManifestError, and then nothing is changed:
    a component without a place in any file is an error, as is a file that is no YAML.
    """
    form = _LAYOUTS[layout]
    missing = {one.component: one for one in wanted}
    changed: dict[str, str] = {}
    for path, source in files.items():
        text = YamlText(path, source)
        for one in wanted:
            if form.edit(text, one):
                missing.pop(one.component, None)
        result = text.result()
        if result != source:
            changed[path] = result
    if missing:
        place = where or ", ".join(files) or "the repository"
        raise ManifestError("; ".join(form.missing(one, place) for one in missing.values()))
    return changed
