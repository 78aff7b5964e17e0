"""Needs and offers of one ELF file, of the part that its program loader reads (System V ABI)."""

from collections.abc import Iterator
from typing import IO, Any

from elftools.elf.dynamic import Dynamic
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection

type ElfRow = tuple[str, str, list[str], list[tuple[str, list[str]]], list[str]]
"""Interpreter, soname, needed, required versions, defined versions."""

MAGIC = b"\x7fELF"
_LOADED = frozenset({"ET_EXEC", "ET_DYN"})
_MAX_NAMES = 4_000
"""Of one file; libc has 40 versions, and a large program needs 300 libraries."""


class UnreadableElfError(ValueError):
    """The file is no ELF file that a loader could read."""


def elf_row(content: IO[bytes]) -> ElfRow | None:
    """Return what an ELF file says; None: it is an object file, which nothing loads.

    Raises UnreadableElfError.
    """
    try:
        return _row(ELFFile(content))
    except (UnreadableElfError, MemoryError):
        raise
    except Exception as error:  # the library raises anything on what nobody foresaw
        raise UnreadableElfError(f"{type(error).__name__}: {error}") from error


def _row(file: Any) -> ElfRow | None:
    if file["e_type"] not in _LOADED:
        return None
    interpreter = soname = ""
    needed: list[str] = []
    required: list[tuple[str, list[str]]] = []
    defined: list[str] = []
    versions = {"DT_VERNEED": False, "DT_VERDEF": False}
    for segment in file.iter_segments():
        if segment["p_type"] == "PT_INTERP":
            interpreter = segment.get_interp_name()
        elif isinstance(segment, Dynamic):
            tags: Iterator[Any] = segment.iter_tags()
            for tag in _bounded(tags):
                kind = tag.entry.d_tag
                if kind == "DT_NEEDED":
                    needed.append(tag.needed)
                elif kind == "DT_SONAME":
                    soname = tag.soname
                elif kind in versions:
                    versions[kind] = True
    if versions["DT_VERNEED"]:
        required = [
            (need.name, [one.name for one in _bounded(names)])
            for need, names in _bounded(_section(file, GNUVerNeedSection).iter_versions())
        ]
    if versions["DT_VERDEF"]:
        section = _section(file, GNUVerDefSection)
        # The first name of each is its own; those that follow are what it continues.
        defined = [next(iter(names)).name for _, names in _bounded(section.iter_versions())]
    return interpreter, soname, needed, required, defined


def _section(file: Any, kind: type[Any]) -> Any:
    """Return the table of versions, which the library finds by its section alone."""
    for section in file.iter_sections():
        if isinstance(section, kind):
            return section
    raise UnreadableElfError("its table of versions has no section")


def _bounded[T](items: Iterator[T]) -> Iterator[T]:
    for count, item in enumerate(items):
        if count >= _MAX_NAMES:
            raise UnreadableElfError(f"over {_MAX_NAMES} names")
        yield item
