"""Files of `deploy/`: the Kustomize base and the Helm chart of an installation, and monitoring."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from upwell import __version__
from upwell.cli.install.alerts import pod_monitor, prometheus_rule, rule_groups
from upwell.cli.install.dashboard import dashboard
from upwell.cli.install.installation import (
    ALL_FEATURES,
    NAME,
    ClusterInstallation,
    Feature,
    service_name,
)
from upwell.cli.install.manifests import Manifest, bindings, manifests
from upwell.cli.install.rights import rules_of, system_rules
from upwell.cli.install.values_schema import values_schema

_MADE = "# Made by `python -m tests.support.cli.deploy` of upwell/cli/install: change it there.\n"
_WHOLE_EXPRESSION = re.compile(r"'(\{\{[^{}]*\}\})'$", re.MULTILINE)
"""An expression that stands for more than text: a number, or an object."""
_ITEM = "{{ . }}"
_SERVICE_NAME = f'(printf "{service_name("%s")}" $.Release.Namespace)'
_REGISTRY_TABLES = (
    "{{- if $.Values.externalRegistry }}\n"
    "\n[external-registry]\n"
    'prefix = "{{ $.Values.externalRegistry }}"\n'
    "{{- else }}\n"
    "\n[embedded-registry]\n"
    f'address = "{{{{ or $.Values.registryAddress {_SERVICE_NAME} }}}}"\n'
    "{{- end }}\n"
)
# Values that the settings are made of; a new image is a change of its own.
_SETTINGS_VALUES = ("toJson $.Values.namespaces", "toJson $.Values.features")
_SETTINGS_DIGEST = (
    f"sha256:{{{{ sha256sum (print {' '.join(f'({one})' for one in _SETTINGS_VALUES)}"
    " $.Values.registryAddress $.Values.externalRegistry $.Values.settings) }}"
)
_CHART = {
    "apiVersion": "v2",
    "name": NAME,
    "description": "Keeps every running container on a patched base image",
    "type": "application",
    "version": __version__,
    "appVersion": __version__,
    "kubeVersion": ">=1.21.0-0",
}
_VALUES = f"""\
# The server's image (`make image`); a digest is better than a tag.
image: {NAME}:{__version__}
# One of them is the leader; all serve the API, webhooks, registry and console.
replicas: 1
# Namespaces that Upwell works in, and has rights in; empty: all of the cluster.
namespaces: []
# What it may do besides images and Pipelines; each has its own rights.
features:
{"".join(f"  {feature.value}: true{chr(10)}" for feature in sorted(Feature))}\
# HOST[:PORT] by which nodes, builds and clients reach the server's registry; empty: the Service's
# name, which Pods alone can look up.
registryAddress: ""
# HOST[:PORT][/PATH] of a registry elsewhere that takes its place; several replicas need one, or a
# bucket ([embedded-registry.bucket] of the settings, its credentials in Secret
# `upwell-registry-bucket`). The
# Secret `upwell-registry-logins` (kubernetes.io/dockerconfigjson) has the server's login there.
externalRegistry: ""
# Further tables of the configuration file (docs/configuration.md), besides [kubernetes],
# [kubernetes.builds] and that of the registry, which the chart makes:
# settings: |
#   [outbound]
#   allow = ["registry.internal:5000"]
# Files that they name (`client-secret-file`, `ca-file`, ...) are entries of the Secret
# `upwell-files`, in the folder /etc/upwell-files.
settings: ""
# Volume with the data folder. To keep a registry in it:
# {{name: data, persistentVolumeClaim: {{claimName: upwell}}}}
data:
  name: data
  emptyDir: {{}}
"""


def yaml_of(objects: Iterable[Manifest]) -> str:
    """Return objects as YAML documents."""
    return "".join(f"---\n{_dumped(one)}" for one in objects)


def kustomize_files() -> dict[str, str]:
    """Return the files of `deploy/kubernetes`, by name."""
    parts = manifests(ClusterInstallation())
    files = {f"{name}.yaml": _MADE + yaml_of(objects) for name, objects in parts.items()}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{name}.yaml" for name in parts],
    }
    return {"kustomization.yaml": _MADE + _dumped(kustomization), **files}


def helm_files() -> dict[str, str]:
    """Return the files of `deploy/helm`, by path.

    A release's namespace is Helm's to make. The definitions of `deploy/kubernetes` are linked as
    `crds`, which Helm installs, and never changes or deletes.
    """
    parts = manifests(_templated())
    rights = {f"rights-{subject}": subject for subject in rules_of(ALL_FEATURES)}
    templates = {
        name: _template(yaml_of(objects))
        for name, objects in parts.items()
        if name not in {"definitions", "namespace", *rights}
    }
    for name, subject in rights.items():
        templates[name] = _template(_rights(subject, parts[name][0]))
    for subject in set(system_rules(ALL_FEATURES)) & set(Feature):
        templates[f"rights-{subject}"] = _of_feature(subject, templates[f"rights-{subject}"])
    return {
        "Chart.yaml": _MADE + _dumped(_CHART),
        "values.yaml": _MADE + _VALUES,
        "values.schema.json": json.dumps(values_schema(), indent=2) + "\n",
        **{f"templates/{name}.yaml": _MADE + text for name, text in templates.items()},
    }


def monitoring_files() -> dict[str, str]:
    """Return the files of `deploy/monitoring`, by name: for Prometheus, its operator, Grafana."""
    return {
        "alerts.yaml": _MADE + _dumped(rule_groups()),
        "prometheus-rule.yaml": _MADE + _dumped(prometheus_rule()),
        "pod-monitor.yaml": _MADE + _dumped(pod_monitor()),
        "dashboard.json": json.dumps(dashboard(), indent=2) + "\n",
    }


def _templated(namespaces: tuple[str, ...] = ()) -> ClusterInstallation:
    return ClusterInstallation(
        namespace="{{ $.Release.Namespace }}",
        image="{{ $.Values.image }}",
        replicas="{{ $.Values.replicas }}",
        namespaces=namespaces,
        config_namespaces="{{ toJson $.Values.namespaces }}",
        registry_tables=_REGISTRY_TABLES,
        when_builds=(f"{{{{- if $.Values.features.{Feature.BUILDS} }}}}\n", "{{- end }}\n"),
        settings_text="{{- with $.Values.settings }}\n{{ nindent 4 . }}\n{{- end }}\n",
        settings_digest=_SETTINGS_DIGEST,
        data_volume="{{ toJson $.Values.data }}",
    )


def _rights(subject: str, role: Mapping[str, Any]) -> str:
    """Return a role and its bindings: in the cluster, or in each of the values' namespaces."""
    each = yaml_of(bindings(_templated((_ITEM,)), subject))
    everywhere = yaml_of(bindings(_templated(), subject))
    text = (
        f"{yaml_of([dict(role)])}"
        f"{{{{- range $.Values.namespaces }}}}\n{each}{{{{- else }}}}\n{everywhere}{{{{- end }}}}\n"
    )
    return _of_feature(subject, text) if subject in set(Feature) else text


def _of_feature(subject: str, text: str) -> str:
    """Return text that is there as the values ask for a feature."""
    return f"{{{{- if $.Values.features.{subject} }}}}\n{text}{{{{- end }}}}\n"


def _template(text: str) -> str:
    """Return text in which numbers and objects are not quoted."""

    def unquoted(found: re.Match[str]) -> str:
        expression = found[1]
        is_text = not ("toJson" in expression or expression.endswith("replicas }}"))
        return found[0] if is_text else expression

    return _WHOLE_EXPRESSION.sub(unquoted, text)


class _Dumper(yaml.CSafeDumper):
    """YAML as people write it: long texts as blocks, no anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - as the library calls it
        """Return True: what stands in two places is written twice."""
        return True


def _text(dumper: yaml.CSafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _dumped(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
