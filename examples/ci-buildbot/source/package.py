"""Packs the application into dist/greeter.pyz. Equal sources make equal bytes.

So the build of a run that is done again has the same inputs, and Upwell makes no second image.
"""

import zipfile
from pathlib import Path

MAIN = "import runpy; runpy.run_module('greeter', run_name='__main__')\n"


def pack(root, target):
    """Write the package `greeter` below `root` as an archive that Python runs."""
    target.parent.mkdir(exist_ok=True)
    with target.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(_entry("__main__.py"), MAIN)
            for path in sorted((root / "greeter").glob("*.py")):
                archive.writestr(_entry(path.relative_to(root).as_posix()), path.read_bytes())


def _entry(name):
    return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))


if __name__ == "__main__":
    pack(Path(), Path("dist/greeter.pyz"))
