"""Rules of BuildConfigs and Builds (build/v1 types.go)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.support.mutations.mutants import Document
from tests.support.mutations.openshift.shared import (
    SECONDS,
    Table,
    below,
    environment,
    image_faults,
    inside,
    part_of,
    reference_types,
    relative,
    resources,
    secret_reference,
)
from tests.support.mutations.rules import (
    BOOL,
    DNS_LABEL,
    DNS_SUBDOMAIN,
    ENV_NAME,
    INT32,
    LABEL_VALUE,
    LIST,
    OBJECT,
    QUALIFIED,
    TEXT,
    FieldRule,
    KindRules,
    at_least,
    empty_or,
    keys_match,
    matches,
    needed,
    not_empty,
    one_of,
    shorter_than,
)


def _git_url(text: str) -> bool:
    if not re.match(r"(?i)[a-z][-a-z0-9+.]*:", text):
        return True
    try:
        urlsplit(text)
    except ValueError:
        return False
    return " " not in text.partition("://")[2].partition("/")[0]


def _proxy(text: str) -> bool:
    return text.strip() == text or "://" not in text


def _common(prefix: str = "spec") -> Table:
    """Rules of what BuildConfigs and Builds share."""
    volumes: Table = {
        "": LIST,
        "[]": OBJECT,
        "[].name": needed(TEXT & matches(DNS_LABEL)),
        "[].source": OBJECT,
        "[].source.type": needed(TEXT),
        "[].source.secret": OBJECT,
        "[].source.secret.secretName": needed(TEXT & matches(DNS_SUBDOMAIN)),
        "[].source.secret.defaultMode": INT32,
        "[].source.configMap": OBJECT,
        "[].source.configMap.name": needed(TEXT & matches(DNS_SUBDOMAIN)),
        "[].mounts": needed(LIST),
        "[].mounts[]": OBJECT,
        "[].mounts[].destinationPath": needed(
            TEXT & (lambda path: path.startswith("/") and ":" not in path)
        ),
    }
    source: Table = {
        "": OBJECT,
        "type": TEXT,
        "git": OBJECT,
        "git.uri": needed(TEXT & _git_url),
        "git.ref": TEXT,
        **{f"git.{name}": TEXT & empty_or(_proxy) for name in ("httpProxy", "httpsProxy")},
        "git.noProxy": TEXT,
        "dockerfile": TEXT & shorter_than(60_000),
        "contextDir": TEXT & inside,
        **secret_reference("sourceSecret"),
        "secrets": LIST,
        "secrets[]": OBJECT,
        "secrets[].secret": FieldRule((dict,), required=True),
        "secrets[].secret.name": needed(TEXT & matches(DNS_SUBDOMAIN)),
        "secrets[].destinationDir": TEXT & inside,
        "configMaps": LIST,
        "configMaps[]": OBJECT,
        "configMaps[].configMap": FieldRule((dict,), required=True),
        "configMaps[].configMap.name": needed(TEXT & matches(DNS_SUBDOMAIN)),
        "configMaps[].destinationDir": TEXT & inside,
        "images": LIST,
        "images[]": OBJECT,
        **reference_types("images[].from"),
        **secret_reference("images[].pullSecret"),
        "images[].as": LIST,
        "images[].as[]": TEXT & not_empty,
        "images[].paths": LIST,
        "images[].paths[]": OBJECT,
        "images[].paths[].sourcePath": needed(TEXT & (lambda path: path.startswith("/"))),
        "images[].paths[].destinationDir": needed(TEXT & relative),
    }
    strategies: Table = {"": FieldRule((dict,), required=True), "type": TEXT}
    for name in ("sourceStrategy", "dockerStrategy", "customStrategy"):
        strategies |= {
            name: OBJECT,
            **reference_types(f"{name}.from"),
            **secret_reference(f"{name}.pullSecret"),
            f"{name}.forcePull": BOOL,
            **environment(f"{name}.env", ENV_NAME),
            **{f"{name}.volumes{path}": rule for path, rule in volumes.items()},
        }
    strategies |= {
        "sourceStrategy.incremental": BOOL,
        "sourceStrategy.scripts": TEXT,
        "dockerStrategy.noCache": BOOL,
        "dockerStrategy.dockerfilePath": TEXT & empty_or(relative),
        "dockerStrategy.imageOptimizationPolicy": TEXT
        & one_of("None", "SkipLayers", "SkipLayersAndWarn"),
        # Stricter: an argument without a name is none.
        "dockerStrategy.buildArgs": LIST,
        "dockerStrategy.buildArgs[]": OBJECT,
        "dockerStrategy.buildArgs[].name": needed(TEXT & (lambda name: "=" not in name)),
        "dockerStrategy.buildArgs[].value": TEXT,
        "customStrategy.exposeDockerSocket": BOOL,
        "customStrategy.secrets": LIST,
        "customStrategy.secrets[]": OBJECT,
        "customStrategy.secrets[].secretSource": FieldRule((dict,), required=True),
        "customStrategy.secrets[].secretSource.name": TEXT,
        # Stricter: files need a folder of their own.
        "customStrategy.secrets[].mountPath": needed(TEXT & (lambda path: path.startswith("/"))),
        "jenkinsPipelineStrategy": OBJECT,
        "jenkinsPipelineStrategy.jenkinsfilePath": TEXT & empty_or(relative),
        "jenkinsPipelineStrategy.jenkinsfile": TEXT & shorter_than(100_000),
        **environment("jenkinsPipelineStrategy.env", ENV_NAME),
    }
    table: Table = {
        "": FieldRule((dict,), required=True),
        "serviceAccount": TEXT,
        "completionDeadlineSeconds": SECONDS & at_least(1),
        "nodeSelector": OBJECT & keys_match(QUALIFIED),
        "nodeSelector{}": TEXT & matches(rf" *{LABEL_VALUE} *"),
        "revision": OBJECT,
        "revision.type": TEXT,
        "revision.git": OBJECT,
        "revision.git.commit": TEXT,
        "revision.git.message": TEXT,
        **{
            f"revision.git.{who}{part}": OBJECT if not part else TEXT
            for who in ("author", "committer")
            for part in ("", ".name", ".email")
        },
        **reference_types("output.to"),
        "output": OBJECT,
        **secret_reference("output.pushSecret"),
        "output.imageLabels": LIST,
        "output.imageLabels[]": OBJECT,
        "output.imageLabels[].name": needed(TEXT & matches(QUALIFIED)),
        "output.imageLabels[].value": TEXT,
        "postCommit": OBJECT,
        "postCommit.script": TEXT,
        **{
            f"postCommit.{name}{part}": TEXT if part else LIST
            for name in ("command", "args")
            for part in ("", "[]")
        },
        **resources("resources"),
        **below("source", source),
        **below("strategy", strategies),
    }
    return {path.rstrip("."): rule for path, rule in below(prefix, table).items()}


def _strategy_of(document: Document) -> tuple[str, dict[str, Any]] | None:
    strategy = part_of(document, "spec", "strategy")
    names = ("sourceStrategy", "dockerStrategy", "customStrategy", "jenkinsPipelineStrategy")
    found = [(name, strategy[name]) for name in names if strategy.get(name) is not None]
    if not found and strategy.get("type") == "Docker":
        found = [("dockerStrategy", {})]
    return found[0] if len(found) == 1 else None


def _build(document: Document) -> Iterator[str]:
    spec = part_of(document, "spec")
    chosen = _strategy_of(document)
    if chosen is None:
        yield "spec.strategy"
        return
    name, strategy = chosen
    path = f"spec.strategy.{name}"
    yield from _inputs(part_of(spec, "source"), name, strategy)
    if strategy.get("jenkinsfile") and strategy.get("jenkinsfilePath"):
        yield path
    if name in {"sourceStrategy", "customStrategy"} or strategy.get("from") is not None:
        yield from image_faults(part_of(strategy, "from"), f"{path}.from", "ImageStreamTag")
    yield from _build_volumes(strategy, path)
    yield from _output(part_of(spec, "output"))
    hook = part_of(spec, "postCommit")
    if hook.get("script") and hook.get("command"):
        yield "spec.postCommit"


def _inputs(source: Document, name: str, strategy: Document) -> Iterator[str]:
    git, binary = source.get("git"), source.get("binary")
    if source.get("type") == "Binary":
        binary = binary or {}
    if name == "dockerStrategy":
        inputs = (git, binary, source.get("dockerfile"), source.get("images"))
        if all(one is None for one in inputs):
            yield "spec.source"
        for kind in ("secrets", "configMaps"):
            for at, entry in enumerate(source.get(kind) or ()):
                if (entry.get("destinationDir") or "").startswith("/"):
                    yield f"spec.source.{kind}[{at}].destinationDir"
    if name != "customStrategy" and git is not None and binary is not None:
        yield "spec.source.git"
    if name == "jenkinsPipelineStrategy" and not strategy.get("jenkinsfile") and git is None:
        yield "spec.source.git"
    names: list[str] = []
    for at, image in enumerate(source.get("images") or ()):
        # More lenient: without a kind it is a tag, as everywhere else.
        yield from image_faults(
            part_of(image, "from"), f"spec.source.images[{at}].from", "ImageStreamTag"
        )
        if not image.get("paths") and not image.get("as"):
            yield f"spec.source.images[{at}].paths"
        names += image.get("as") or ()
    if len(set(names)) != len(names):
        yield "spec.source.images[0].as[1]"


def _output(output: Document) -> Iterator[str]:
    target = output.get("to")
    if target is not None:
        yield from image_faults(target, "spec.output.to", "ImageStreamTag")
        if target.get("kind") == "ImageStreamImage":
            yield "spec.output.to.kind"
    labels = [one.get("name") for one in output.get("imageLabels") or ()]
    if len(set(labels)) != len(labels):
        yield f"spec.output.imageLabels[{len(labels) - 1}].name"


def _build_volumes(strategy: Mapping[str, Any], path: str) -> Iterator[str]:
    # Stricter: volumes share neither a name nor a path.
    names: set[str] = set()
    places = [one.get("mountPath") for one in strategy.get("secrets") or ()]
    for at, volume in enumerate(strategy.get("volumes") or ()):
        source = part_of(volume, "source")
        found = [one for one in ("secret", "configMap") if source.get(one) is not None]
        meant = {"Secret": "secret", "ConfigMap": "configMap"}.get(source.get("type", ""))
        if found != [meant]:
            yield f"{path}.volumes[{at}].source"
        if volume["name"] in names:
            yield f"{path}.volumes[{at}].name"
        names.add(volume["name"])
        places += [mount["destinationPath"] for mount in volume["mounts"]]
    if len(set(places)) != len(places):
        yield f"{path}.secrets" if strategy.get("secrets") else f"{path}.volumes"


_WEBHOOKS = {"GitHub": "github", "GitLab": "gitlab", "Bitbucket": "bitbucket", "Generic": "generic"}


def _build_triggers(document: Document) -> Iterator[str]:
    chosen = _strategy_of(document)
    base = part_of(chosen[1], "from") if chosen else {}
    follows = base.get("kind", "ImageStreamTag") == "ImageStreamTag" and bool(base)
    followed = []
    for at, trigger in enumerate(part_of(document, "spec").get("triggers") or ()):
        path = f"spec.triggers[{at}]"
        kind = trigger.get("type") or ""
        kind = {"imageChange": "ImageChange", "github": "GitHub", "generic": "Generic"}.get(
            kind, kind
        )
        if kind in _WEBHOOKS:
            field = f"{path}.{_WEBHOOKS[kind]}"
            hook = trigger.get(_WEBHOOKS[kind])
            secret = part_of(hook, "secretReference")
            named = bool(secret.get("name"))
            if hook is None or not (hook.get("secret") or hook.get("secretReference") is not None):
                yield field
            elif hook.get("secretReference") is not None and not named:
                yield f"{field}.secretReference.name"
            if hook and hook.get("allowEnv") and kind != "Generic":
                yield f"{field}.allowEnv"
        if kind == "ImageChange":
            given = part_of(trigger, "imageChange").get("from")
            if given is None and not follows:
                continue  # it is taken out
            reference = base if given is None else given
            if given is not None and given.get("kind") != "ImageStreamTag":
                yield f"{path}.imageChange.from.kind"
            elif given is not None:
                yield from image_faults(given, f"{path}.imageChange.from")
            followed.append((reference.get("namespace") or "shop", reference.get("name")))
    if len(set(followed)) != len(followed):
        yield "spec.triggers"


_TRIGGERS: Table = {
    "spec.triggers": LIST,
    "spec.triggers[]": OBJECT,
    "spec.triggers[].type": TEXT,
    "spec.triggers[].imageChange": OBJECT,
    "spec.triggers[].imageChange.paused": BOOL,
    **reference_types("spec.triggers[].imageChange.from"),
    **{
        f"spec.triggers[].{name}{field}": rule
        for name in _WEBHOOKS.values()
        for field, rule in (
            ("", OBJECT),
            (".secret", TEXT),
            (".allowEnv", BOOL),
            (".secretReference", OBJECT),
            (".secretReference.name", TEXT),
        )
    },
}

BUILD_CONFIG = KindRules(
    {
        **_common(),
        **_TRIGGERS,
        "spec.runPolicy": TEXT & empty_or(one_of("Parallel", "Serial", "SerialLatestOnly")),
        "spec.successfulBuildsHistoryLimit": INT32 & at_least(0),
        "spec.failedBuildsHistoryLimit": INT32 & at_least(0),
    },
    (_build, _build_triggers),
)

BUILD = KindRules(
    {
        **_common(),
        "spec.triggeredBy": LIST,
        "spec.triggeredBy[]": OBJECT,
        "spec.triggeredBy[].message": TEXT,
    },
    (_build,),
)
