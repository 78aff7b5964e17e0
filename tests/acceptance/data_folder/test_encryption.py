"""Encryption of an installed server's database: begun, rotated, refused without its key."""

import json
from pathlib import Path

from tests.support.installation.data_folder_files import leaking, unlisted
from tests.support.installation.data_folders import refused
from tests.support.installation.installation import Installation, installation

KEY_FILES = ("signing.key", "audit.key", "image-signing.key")
MARK = "plainTextMark123"  # base64, as data has to be
SECRET = f"""
apiVersion: v1
kind: Secret
metadata: {{name: one, namespace: default}}
data: {{password: {MARK}}}
---
apiVersion: build.openshift.io/v1
kind: BuildConfig
metadata: {{name: app, namespace: default}}
spec:
  source: {{type: Dockerfile, dockerfile: FROM scratch}}
  strategy: {{type: Docker, dockerStrategy: {{}}}}
  triggers: [{{type: Generic, generic: {{secret: {MARK}}}}}]
---
apiVersion: route.openshift.io/v1
kind: Route
metadata: {{name: web, namespace: default}}
spec:
  host: web.example.com
  to: {{name: web}}
  tls: {{termination: edge, key: {MARK}}}
"""


def said(made: Installation, *arguments: str) -> str:
    done = made.upwell(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def plain_keys(folder: Path) -> list[str]:
    return [name for name in KEY_FILES if not (folder / name).read_bytes().startswith(b"{")]


def key_of_images(made: Installation) -> bytes:
    return (made.data_dir / "image-signing.pub").read_bytes()


def kept(made: Installation) -> str:
    document = json.loads(said(made, "get", "secret", "one", "-o", "json"))
    return str(document["data"]["password"])


async def test_a_database_is_encrypted_rotated_and_refused_without_its_key() -> None:
    async with installation() as made:
        manifest = made.folder / "secret.yaml"
        manifest.write_text(SECRET)
        said(made, "apply", "-f", str(manifest))
        assert "not encrypted" in said(made, "encryption", "status")
        assert made.upwell("encryption", "rotate").returncode == 1
        assert leaking(made.data_dir, MARK.encode())
        assert plain_keys(made.data_dir) == list(KEY_FILES)
        signs_images = key_of_images(made)
        made.stop()

        key, config = made.folder / "encryption.key", made.folder / "upwell.toml"
        source = said(made, "encryption", "new-key", str(key)).strip()
        config.write_text(f"[encryption]\nkeys = [{source!r}]\n")
        made.options = (*made.options, "--config", str(config))
        await made.start()
        assert kept(made) == MARK
        assert leaking(made.data_dir, MARK.encode()) == []
        assert unlisted(made.data_dir) == []
        assert plain_keys(made.data_dir) == []
        sealed = [(made.data_dir / name).read_bytes() for name in KEY_FILES]

        before = json.loads(said(made, "encryption", "status", "-o", "json"))
        assert before["source"] == source
        assert "encrypted" in said(made, "encryption", "rotate")
        after = json.loads(said(made, "encryption", "status", "-o", "json"))
        assert after["dataKey"] != before["dataKey"]
        assert (after["rotating"], after["rowsLeft"]) == (False, 0)
        assert kept(made) == MARK
        again = [(made.data_dir / name).read_bytes() for name in KEY_FILES]
        assert not set(sealed) & set(again)
        made.stop()
        assert leaking(made.data_dir, MARK.encode()) == []

        hidden = key.rename(made.folder / "hidden.key")
        why = refused(made)
        assert str(key) in why
        assert "restore it from a copy" in why
        hidden.rename(key)
        await made.start()
        assert kept(made) == MARK
        assert key_of_images(made) == signs_images
