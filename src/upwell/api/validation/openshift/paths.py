"""Paths within sources of builds, as texts."""

import posixpath

from upwell.api.validation.formats import has_backsteps


def relative_problem(path: str) -> str:
    """Check a path that has to be relative, and to stay inside."""
    if path.startswith("/") or has_backsteps(path):
        return "must be a relative path within your source location"
    return ""


def file_name_problem(path: str) -> str:
    """Check the name of one file; a slash before it has no meaning."""
    name = posixpath.normpath(path).lstrip("/")
    if name in {"", "."} or name.startswith("..") or "/" in name or "\\" in name:
        return "file name may not contain slashes or relative path segments"
    return ""


def folder_problem(path: str) -> str:
    """Check the absolute path of a folder of a container that something is mounted at."""
    if not path.startswith("/"):
        return "must be an absolute path"
    if ":" in path:
        return "must not contain ':'"
    if has_backsteps(path) or not path.strip("/"):
        return "must be the path of a folder, without '..'"
    return ""
