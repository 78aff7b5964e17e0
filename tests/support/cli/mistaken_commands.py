"""Commands with mistakes, by what they are about, and the objects that are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Mistake:
    title: str
    command: str
    """Words after `upwell`; `HOST:PORT`, `FREE`, `OPEN` and `READER` stand for what a run has.

    FREE is an address of loopback at which nobody listens, OPEN one at which a server may.
    """
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    stdin: str | None = None
    serves: bool = False
    """The command is run by a process of its own, as what it begins with needs one."""
    disk_full: bool = False
    """The server's database cannot be written."""


@dataclass(frozen=True)
class Group:
    title: str
    mistakes: Sequence[Mistake]


SERVED = "served"
"""Folder whose server runs."""
_LABELS = {"app": "shop"}
_POD = {"containers": [{"name": "web", "image": "registry.test/shop:1"}]}
OBJECTS: Sequence[Mapping[str, Any]] = (
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": _POD},
        },
    },
    {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {
            "source": {"git": {"uri": "https://git.test/shop.git"}},
            "strategy": {"dockerStrategy": {}},
            "output": {"to": {"kind": "ImageStreamTag", "name": "shop:latest"}},
        },
    },
    {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": "shop", "namespace": "default"},
    },
    {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {
            "name": "vendor",
            "namespace": "default",
            "labels": {"com.docker.compose.project": "blog"},
        },
        "spec": {
            "tags": [
                {"name": tag, "from": {"kind": "DockerImage", "name": f"registry.test/v:{tag}"}}
                for tag in ("1", "2")
            ]
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {"selector": _LABELS, "ports": [{"port": 80, "targetPort": 8080}]},
    },
    {
        "apiVersion": "upwell.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {
            "components": [
                {"name": "shop", "from": {"kind": "ImageStreamTag", "name": "shop:latest"}}
            ],
            "stages": [
                {"name": name, "targets": [{"kind": "Deployment", "name": f"shop-{name}"}]}
                for name in ("dev", "staging", "production")
            ],
        },
    },
)

_WORKLOAD = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: front
spec:
  replicas: 1
  selector:
    matchLabels: {app: front}
  template:
    metadata:
      labels: {app: front}
    spec:
      containers:
        - name: web
          image: registry.test/front:1
"""


_OF_A_CLUSTER = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: web}
spec: {accessModes: [ReadWriteOnce]}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx}
"""


def _changed(before: str, after: str) -> Mapping[str, str]:
    assert before in _WORKLOAD, before
    return {"front.yaml": _WORKLOAD.replace(before, after)}


_APPLY = "apply -f front.yaml"

GROUPS: Sequence[Group] = (
    Group(
        "Commands and options",
        (
            Mistake("a command misspelt", "statsu"),
            Mistake("a command of another tool", "ps"),
            Mistake("a command of another tool, with another meaning", "ls"),
            Mistake("a part of a command misspelt", "rollout stauts deployment/shop"),
            Mistake("a part of a command of another tool", "image copy a.test/v:1 b.test/v:1"),
            Mistake("an option misspelt", "get dc --outptu json"),
            Mistake("an output format that does not exist", "get pods -o jsn"),
            Mistake("a template that does not end", "get pods -o jsonpath={.items"),
            Mistake("no kind", "get"),
            Mistake("a topic that does not exist", "help rollouts"),
            Mistake("a shell that is not known", "completion tcsh"),
            Mistake("a language misspelt", "builders create pyton"),
            Mistake("a patch that breaks off", "patch deployment/shop -p '{spec: {'"),
            Mistake("nothing to create an application from", "new-app"),
            Mistake("a wait for nothing", "wait deployment/shop"),
            Mistake("a number of replicas forgotten", "scale deployment/shop"),
            Mistake("fewer than no replicas", "scale deployment/shop --replicas=-1"),
            Mistake("a command to run forgotten", "exec deployment/shop"),
            Mistake("an equals sign forgotten", "set env deployment/shop LEVEL"),
            Mistake("a label without a value", "label deployment/shop tier"),
            Mistake("a port forgotten", "port-forward deployment/shop"),
            Mistake("a port that is none", "port-forward deployment/shop 80000"),
            Mistake("no side of a copy is remote", "cp a.txt b.txt"),
            Mistake("a time that is none", "freeze create x --until tomorrow --reason r"),
        ),
    ),
    Group(
        "Kinds and names",
        (
            Mistake("a kind misspelt", "get deploymnet"),
            Mistake("a kind that there is not", "get helmrelease"),
            Mistake("a name in the place of a kind", "hold shoop deployment"),
            Mistake("a workload in the place of a Pod", "exec shop -- sh"),
            Mistake("a name misspelt", "get deployment/shpo"),
            Mistake("a name misspelt, to describe", "describe bc/shopp"),
            Mistake("a name misspelt, to build", "start-build shpo"),
            Mistake("a name misspelt, to roll back", "rollout undo deployment/shap"),
            Mistake("a name misspelt, of which to see the log", "logs deployment/shpo"),
            Mistake("a name misspelt, to explain", "explain deployment/shpo"),
            Mistake("another namespace", "get deployment/shop -n prod"),
            Mistake("a namespace in capitals", "get pods -n Prod"),
            Mistake("no name after the slash", "get deployment/"),
            Mistake("a kind without a name", "delete deployment"),
            Mistake("a stream that does not exist", "import-image shpo"),
            Mistake("a tag forgotten", "import-image vendor"),
            Mistake("a container that does not exist", "set image deployment/shop wbe=a:1"),
            Mistake("a kind that has no log", "logs service/shop"),
            Mistake("what cannot be scaled", "scale service/shop --replicas 2"),
            Mistake("what exists already", "create namespace default"),
            Mistake("a stage that does not exist", "promote pipeline/shop --stage prod"),
            Mistake("a release that does not exist", "promote shop-9 --stage dev"),
            Mistake("no instance to write a log", "logs deployment/shop"),
            Mistake("no instance to run a command in", "exec deployment/shop -- sh"),
            Mistake("a workload in the place of a Pipeline", "rollback web -n twice"),
            Mistake("the same, by its kind", "rollback deployment/shop --stage dev --reason r"),
            Mistake("a topic for a kind", "explain service"),
            Mistake("a tag that is none", "tag shop: shop:2"),
        ),
    ),
    Group(
        "The server and who asks",
        (
            Mistake("no server is there", "get pods --server http://FREE"),
            Mistake("https to a server that speaks http", "get pods --server https://HOST:PORT"),
            Mistake("a scheme forgotten", "get pods --server HOST:PORT"),
            Mistake("a scheme that is none", "get pods --server ftp://HOST:PORT"),
            Mistake("a name that does not exist", "get pods --server http://upwell.invalid:7080"),
            Mistake("a password in the address", "get pods --server http://me:secret@HOST:PORT"),
            Mistake("no token", "get pods --token ''"),
            Mistake("a token that is not known", "get pods --token upwell_x_wrong"),
            Mistake("the same, of a command that asks for much", "status --token upwell_x_wrong"),
            Mistake("a role that is too small", "delete deployment/shop --token READER"),
            Mistake(
                "a role that is too small, to apply", _APPLY + " --token READER", _changed("1", "1")
            ),
            Mistake("a namespace without rights", "get pods -n prod --token READER"),
            Mistake("a role that there is not", "token create ci --grant owner@shop"),
            Mistake("a file of an authority that is not there", "get pods --ca nothing.pem"),
            Mistake("a full disk of the server", "create namespace bank", disk_full=True),
        ),
    ),
    Group(
        "Manifests",
        (
            Mistake("a file that is not there", "apply -f nothing.yml"),
            Mistake("another ending", "apply -f front.yml", {"front.yaml": _WORKLOAD}),
            Mistake("a folder without manifests", "apply -f empty", {"empty/README": "x\n"}),
            Mistake("an empty file", "apply -f front.yaml", {"front.yaml": "# nothing\n"}),
            Mistake("a wrong indentation", _APPLY, _changed("  replicas: 1", "   replicas: 1")),
            Mistake("a tab", _APPLY, _changed("  replicas: 1", "\treplicas: 1")),
            Mistake(
                "not text at all", "apply -f app.yaml", {"app.yaml": b"\x7fELF\x02\x01\x00\xff"}
            ),
            Mistake("JSON that breaks off", "apply -f a.json", {"a.json": '{"kind": "Pod", \n'}),
            Mistake(
                "a key twice", _APPLY, _changed("  replicas: 1", "  replicas: 1\n  replicas: 2")
            ),
            Mistake("a kind forgotten", _APPLY, _changed("kind: Deployment\n", "")),
            Mistake(
                "a kind in small letters", _APPLY, _changed("kind: Deployment", "kind: deployment")
            ),
            Mistake("an older apiVersion", _APPLY, _changed("apps/v1", "extensions/v1beta1")),
            Mistake("a field misspelt", _APPLY, _changed("replicas: 1", "replica: 1")),
            Mistake(
                "a field of a container misspelt",
                _APPLY,
                _changed("front:1", "front:1\n          port: 80"),
            ),
            Mistake(
                "a selector that selects nothing",
                _APPLY,
                _changed("  labels: {app: front}", "  labels: {app: web}"),
            ),
            Mistake("a name in capitals", _APPLY, _changed("name: front", "name: Front")),
            Mistake("an image with capitals", _APPLY, _changed("test/front:1", "test/Front:1")),
            Mistake(
                "kinds of a cluster",
                "apply -f cluster.yaml --dry-run=server",
                {"cluster.yaml": _OF_A_CLUSTER},
            ),
            Mistake("an image with a blank", _APPLY, _changed("front:1", "front: 1")),
            Mistake("a number as text", _APPLY, _changed("replicas: 1", 'replicas: "one"')),
            Mistake(
                "a value that YAML takes for a truth",
                _APPLY,
                _changed("front:1", "front:1\n          env: [{name: DEBUG, value: yes}]"),
            ),
            Mistake(
                "a port beyond all ports",
                _APPLY,
                _changed("front:1", "front:1\n          ports: [{containerPort: 80800}]"),
            ),
            Mistake(
                "a probe without a question",
                _APPLY,
                _changed("front:1", "front:1\n          readinessProbe: {path: /healthz}"),
            ),
            Mistake(
                "an amount of memory that is none",
                _APPLY,
                _changed("front:1", "front:1\n          resources: {limits: {memory: 512 MB}}"),
            ),
            Mistake(
                "the same object twice",
                _APPLY,
                {"front.yaml": f"{_WORKLOAD}---\n{_WORKLOAD}"},
            ),
            Mistake(
                "a kind that is not supported",
                "apply -f chart.yaml",
                {"chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.0.0\n"},
            ),
            Mistake(
                "another namespace in the manifest",
                _APPLY + " -n shop",
                _changed("name: front", "name: front\n  namespace: prod"),
            ),
            Mistake("an address where there is nothing", "apply -f http://FREE/shop.yaml"),
            Mistake(
                "a host that is none",
                "apply -f route.yaml",
                {
                    "route.yaml": "apiVersion: route.openshift.io/v1\nkind: Route\n"
                    "metadata: {name: r}\nspec:\n"
                    "  host: Shop_1.example\n  to: {kind: Service, name: shop}\n"
                },
            ),
        ),
    ),
    Group(
        "Applications",
        (
            Mistake("a compose file", "new-app compose.yaml", {"compose.yaml": "services: {}\n"}),
            Mistake(
                "a compose file of another project",
                "apply -f compose.yaml",
                {"compose.yaml": "name: shop\nservices: {vendor: {image: a.test/v:1}}\n"},
            ),
            Mistake(
                "a compose file with what no instance gets",
                "apply -f compose.yaml",
                {
                    "compose.yaml": "services:\n  dns:\n    image: a.test/dns:1\n"
                    "    ports: ['53:53/sctp']\n    devices: [gpu0]\n    restart: 'no'\n"
                },
            ),
            Mistake(
                "two containers with one UDP port of the machine",
                "apply -f compose.yaml",
                {
                    "compose.yaml": "services:\n  dns:\n    image: a.test/dns:1\n    scale: 2\n"
                    "    ports: ['53:53/udp']\n  other:\n    image: a.test/dns:1\n"
                    "    ports: ['53:5353/udp']\n"
                },
            ),
            Mistake("an image with a scheme", "add https://docker.io/library/nginx:1.27"),
            Mistake("an image with capitals", "add Vendor/App:1"),
            Mistake("a volume without a place", "add vendor/app:1 --volume data"),
            Mistake("a window without a length", "add vendor/app:1 --window tonight"),
            Mistake("an hour that no day has", "add vendor/app:1 --window 25:00+2h"),
            Mistake("a path without its slash", "add vendor/app:1 -p 80 --health ready"),
            Mistake("a notice to nobody", "add vendor/app:1 --notify slack"),
            Mistake("a repository that is not there", "new-app http://FREE/shop.git"),
            Mistake(
                "a password in the address of a repository", "new-app https://me:pw@git.test/s"
            ),
            Mistake("a folder that is no clone", "new-app ./plain", {"plain/app.py": "\n"}),
            Mistake("nothing before the tilde", "new-app ~https://git.test/shop.git"),
            Mistake("a port beyond all ports", "new-app --image registry.test/a:1 --port 70000"),
            Mistake("a name that is none", "new-app --image registry.test/a:1 --name My_App"),
            Mistake("a stage twice", "new-app --image registry.test/a:1 --stages dev,dev"),
            Mistake("a variable without a value", "new-app --image registry.test/a:1 -e LEVEL"),
            Mistake(
                "a file of variables that is not there", "new-app --image a.test/a:1 --env-file x"
            ),
        ),
    ),
    Group(
        "The server's own start",
        (
            Mistake(
                "a setting misspelt",
                "serve --config u.toml",
                {"u.toml": '[[registries]]\nprefx = "a"\n'},
            ),
            Mistake(
                "a file of settings that is not TOML", "serve --config u.toml", {"u.toml": "a = \n"}
            ),
            Mistake("an address without a port", "serve --listen 0.0.0.0"),
            Mistake("a time that is none", "serve --import-interval often"),
            Mistake("a size that is none", "serve --upload-limit big --data-dir d"),
            Mistake("a second server", "serve --data-dir d --listen HOST:PORT", serves=True),
            Mistake(
                "a second server with the folder of the first",
                f"serve --data-dir {SERVED} --listen OPEN",
                serves=True,
            ),
            Mistake("a data folder that is a file", "serve --data-dir front.yaml"),
        ),
    ),
)
