"""Write the files of `deploy/` anew: `python -m tests.support.cli.deploy`."""

import shutil
from pathlib import Path

from upwell.cli.install.files import helm_files, kustomize_files, monitoring_files

DEPLOY = Path(__file__).parents[3] / "deploy"


def deploy_files() -> dict[str, str]:
    """Return all of them, by their path in the folder."""
    parts = {
        "kubernetes": kustomize_files(),
        "helm": helm_files(),
        "monitoring": monitoring_files(),
    }
    return {
        f"{folder}/{path}": text for folder, files in parts.items() for path, text in files.items()
    }


LINKS = {"helm/crds/definitions.yaml": "../../kubernetes/definitions.yaml"}
"""Files that are the same: Helm follows links when it packs a chart."""


if __name__ == "__main__":
    shutil.rmtree(DEPLOY, ignore_errors=True)
    for path, text in deploy_files().items():
        (DEPLOY / path).parent.mkdir(parents=True, exist_ok=True)
        (DEPLOY / path).write_text(text, encoding="utf-8")
    for path, target in LINKS.items():
        (DEPLOY / path).parent.mkdir(parents=True, exist_ok=True)
        (DEPLOY / path).symlink_to(target)
