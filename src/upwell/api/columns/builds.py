"""Columns of BuildConfigs and Builds."""

import re

from upwell.api.columns.documents import Document, part
from upwell.api.meta import Column, ColumnType

_COMMIT = re.compile(r"[0-9a-fA-F]{21,}")
_SHORT = 7


def _source(document: Document) -> str:
    """Return what a build is made from, as OpenShift prints it: `Git@main`, `Dockerfile,Git`."""
    spec = part(document, "spec")
    source = part(spec, "source")
    names = [
        name
        for name, field in (("Dockerfile", "dockerfile"), ("Git", "git"))
        if source.get(field) is not None
    ]
    if source.get("binary") is not None:
        names = ["Binary"]
    text = ",".join(names)
    # Builds of earlier versions have the commit in their status alone.
    revision = _revision(spec, source, part(document, "status"))
    return f"{text}@{revision}" if revision and text not in {"", "Dockerfile"} else text


def _revision(spec: Document, source: Document, status: Document) -> str:
    commit = (
        part(spec, "revision", "git").get("commit")
        or part(status, "revision", "git").get("commit")
        or part(source, "git").get("ref")
        or ""
    )
    return commit[:_SHORT] if _COMMIT.fullmatch(str(commit)) else str(commit)


def _strategy(document: Document) -> str:
    strategy = part(document, "spec", "strategy")
    names = ("Source", "Docker", "Custom", "JenkinsPipeline")
    named = [
        name for name in names if strategy.get(f"{name[0].lower()}{name[1:]}Strategy") is not None
    ]
    return named[0] if named else str(strategy.get("type") or "")


def _from(config: Document) -> str:
    custom = part(config, "spec", "strategy", "customStrategy", "from").get("name")
    return str(custom) if custom else _source(config)


def _phase(build: Document) -> str:
    status = part(build, "status")
    reason = status.get("reason")
    return f"{status.get('phase')} ({reason})" if reason else str(status.get("phase") or "")


_TYPE = Column("TYPE", "spec.strategy.type", text=_strategy, empty="")
BUILD_CONFIG = (
    _TYPE,
    Column("FROM", "spec.source.type", text=_from, empty=""),
    Column("LATEST", "status.lastVersion", ColumnType.INTEGER),
    Column("AGE", "metadata.creationTimestamp", ColumnType.DATE, wide=True),
)
BUILD = (
    _TYPE,
    Column("FROM", "spec.source.type", text=_source, empty=""),
    Column("STATUS", "status.phase", text=_phase),
    Column("STARTED", "status.startTimestamp", ColumnType.AGO, empty=""),
    Column(
        "DURATION",
        "status.startTimestamp",
        ColumnType.SPAN,
        until="status.completionTimestamp",
        empty="",
    ),
    Column("IMAGE", "status.output.to.imageDigest", wide=True),
    Column("AGE", "metadata.creationTimestamp", ColumnType.DATE, wide=True),
)
