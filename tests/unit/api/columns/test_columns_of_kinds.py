"""Columns of each kind, as Kubernetes' and OpenShift's printers have them, and their cells."""

from datetime import UTC, datetime
from typing import Any

import pytest

from upwell.api.codec import RESOURCES, decode
from upwell.server.http.tables import table

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
META = {"namespace": "shop", "name": "web", "creationTimestamp": "2026-11-26T09:00:00Z"}
POD = {"containers": [{"name": "web", "image": "web:1"}]}
COLUMNS = """
Build: NAME TYPE FROM STATUS STARTED DURATION
BuildConfig: NAME TYPE FROM LATEST
ClusterRole: NAME CREATED-AT
ClusterRoleBinding: NAME ROLE AGE
ConfigMap: NAME DATA AGE
CronJob: NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST-SCHEDULE AGE
DaemonSet: NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE-SELECTOR AGE
Deployment: NAME READY UP-TO-DATE AVAILABLE AGE
DeploymentConfig: NAME REVISION DESIRED CURRENT TRIGGERED-BY
EndpointSlice: NAME ADDRESSTYPE PORTS ENDPOINTS AGE
Endpoints: NAME ENDPOINTS AGE
Event: LAST-SEEN TYPE REASON OBJECT MESSAGE
Group: NAME USERS
HorizontalPodAutoscaler: NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE
Image: NAME IMAGE-REFERENCE
ImageStream: NAME IMAGE-REPOSITORY TAGS UPDATED
ImageStreamImage: NAME UPDATED
ImageStreamTag: NAME IMAGE-REFERENCE UPDATED
Ingress: NAME CLASS HOSTS ADDRESS PORTS AGE
Job: NAME STATUS COMPLETIONS DURATION AGE
LimitRange: NAME CREATED-AT
Namespace: NAME STATUS AGE
NetworkPolicy: NAME POD-SELECTOR AGE
Pod: NAME READY STATUS RESTARTS AGE
PodDisruptionBudget: NAME MIN-AVAILABLE MAX-UNAVAILABLE ALLOWED-DISRUPTIONS AGE
PodMonitor: NAME AGE
PriorityClass: NAME VALUE GLOBAL-DEFAULT AGE
Project: NAME DISPLAY-NAME STATUS
ReplicaSet: NAME DESIRED CURRENT READY AGE
ReplicationController: NAME DESIRED CURRENT READY AGE
ResourceQuota: NAME REQUEST LIMIT AGE
Role: NAME CREATED-AT
RoleBinding: NAME ROLE AGE
Route: NAME HOST/PORT PATH SERVICES PORT TERMINATION WILDCARD
Secret: NAME TYPE DATA AGE
Service: NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE
ServiceAccount: NAME SECRETS AGE
StatefulSet: NAME READY AGE
StorageClass: NAME PROVISIONER RECLAIMPOLICY VOLUMEBINDINGMODE ALLOWVOLUMEEXPANSION AGE
Template: NAME DESCRIPTION PARAMETERS OBJECTS
"""


def cells(api_version: str, kind: str, **fields: Any) -> list[Any]:
    """Return the cells of the columns that stand without `-o wide`."""
    resource = decode({"apiVersion": api_version, "kind": kind, "metadata": META, **fields})
    found = table(resource.KIND, [resource], NOW)
    (row,) = found["rows"]
    pairs = zip(found["columnDefinitions"], row["cells"], strict=True)
    return [cell for definition, cell in pairs if not definition["priority"]]


CLAIM_COLUMNS = (
    "PersistentVolumeClaim: NAME STATUS VOLUME CAPACITY ACCESS-MODES STORAGECLASS"
    " VOLUMEATTRIBUTESCLASS AGE"
)


VOLUME_COLUMNS = (
    "PersistentVolume: NAME CAPACITY ACCESS-MODES RECLAIM-POLICY STATUS CLAIM STORAGECLASS"
    " VOLUMEATTRIBUTESCLASS REASON AGE"
)
CONSTRAINTS_COLUMNS = (
    "SecurityContextConstraints: NAME PRIV CAPS SELINUX RUNASUSER FSGROUP SUPGROUP PRIORITY"
    " READONLYROOTFS VOLUMES"
)


def test_each_kind_has_the_columns_that_its_clients_know() -> None:
    kinds = {resource.KIND.kind: resource.KIND for resource in RESOURCES}
    for line in [*COLUMNS.strip().splitlines(), CLAIM_COLUMNS, VOLUME_COLUMNS, CONSTRAINTS_COLUMNS]:
        name, _, titles = line.partition(": ")
        narrow = [
            definition["name"].upper().replace(" ", "-")
            for definition in table(kinds[name], (), NOW)["columnDefinitions"]
            if not definition["priority"]
        ]
        assert narrow == titles.split(), name


@pytest.mark.parametrize(
    ("api_version", "kind", "fields", "shown"),
    [
        (
            "apps/v1",
            "Deployment",
            {
                "spec": {"replicas": 2, "template": {"spec": POD}},
                "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1},
            },
            ["web", "1/2", 2, 1, "3h"],
        ),
        (
            "apps.openshift.io/v1",
            "DeploymentConfig",
            {
                "spec": {
                    "replicas": 1,
                    "test": True,
                    "triggers": [
                        {"type": "ConfigChange"},
                        {
                            "type": "ImageChange",
                            "imageChangeParams": {
                                "automatic": True,
                                "containerNames": ["web"],
                                "from": {"kind": "ImageStreamTag", "name": "web:latest"},
                            },
                        },
                    ],
                    "template": {"spec": POD},
                },
                "status": {"latestVersion": 4, "updatedReplicas": 1},
            },
            ["web", 4, "1 (during test)", 1, "config,image(web:latest)"],
        ),
        (
            "batch/v1",
            "Job",
            {
                "spec": {"completions": 3, "template": {"spec": POD}},
                "status": {
                    "succeeded": 1,
                    "startTime": "2026-11-26T11:59:00Z",
                    "conditions": [{"type": "Failed", "status": "True"}],
                },
            },
            ["web", "Failed", "1/3", "60s", "3h"],
        ),
        (
            "batch/v1",
            "CronJob",
            {
                "spec": {"schedule": "0 * * * *", "timeZone": "Etc/UTC"},
                "status": {"active": [{"name": "web-1"}]},
            },
            ["web", "0 * * * *", "Etc/UTC", False, "1", "<none>", "3h"],
        ),
        (
            "v1",
            "Service",
            {
                "spec": {
                    "clusterIP": "10.0.0.1",
                    "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}],
                }
            },
            ["web", "ClusterIP", "10.0.0.1", "<none>", "80/TCP,53/UDP", "3h"],
        ),
        (
            "v1",
            "Service",
            {
                "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30080}]},
                "status": {"places": ["192.0.2.1:80"]},
            },
            ["web", "LoadBalancer", "<none>", "192.0.2.1", "80:30080/TCP", "3h"],
        ),
        (
            "v1",
            "Event",
            {
                "involvedObject": {"kind": "Pod", "name": "web-0"},
                "type": "Warning",
                "reason": "BackOff",
                "message": "restarted",
                "lastTimestamp": "2026-11-26T11:55:00Z",
            },
            ["5m", "Warning", "BackOff", "pod/web-0", "restarted"],
        ),
        ("v1", "Secret", {"data": {"a": "YQ==", "b": "Yg=="}}, ["web", "Opaque", "2", "3h"]),
        ("v1", "ConfigMap", {"data": {"a": "1"}, "binaryData": {"b": "Yg=="}}, ["web", "2", "3h"]),
        (
            "v1",
            "PersistentVolumeClaim",
            {
                "spec": {"accessModes": ["ReadWriteOnce"]},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}},
            },
            ["web", "Bound", "", "1Gi", "RWO", "", "<unset>", "3h"],
        ),
        (
            "build.openshift.io/v1",
            "Build",
            {
                "spec": {
                    "source": {"git": {"uri": "https://git.test/a.git", "ref": "main"}},
                    "strategy": {"dockerStrategy": {}},
                    "revision": {"git": {"commit": "0123456789abcdef0123456789abcdef01234567"}},
                },
                "status": {
                    "phase": "Failed",
                    "reason": "PushImageToRegistryFailed",
                    "startTimestamp": "2026-11-26T11:00:00Z",
                    "completionTimestamp": "2026-11-26T11:01:05Z",
                },
            },
            [
                *("web", "Docker", "Git@0123456", "Failed (PushImageToRegistryFailed)"),
                *("About an hour ago", "65s"),
            ],
        ),
        (
            "build.openshift.io/v1",
            "Build",  # of a version that wrote no commit into its spec
            {
                "spec": {
                    "source": {"git": {"uri": "https://git.test/a.git", "ref": "main"}},
                    "strategy": {"dockerStrategy": {}},
                },
                "status": {
                    "phase": "New",
                    "revision": {"git": {"commit": "0123456789abcdef0123456789abcdef01234567"}},
                },
            },
            ["web", "Docker", "Git@0123456", "New", "", ""],
        ),
        (
            "image.openshift.io/v1",
            "ImageStream",
            {
                "status": {
                    "dockerImageRepository": "r.test/shop/web",
                    "tags": [
                        {
                            "tag": tag,
                            "items": [
                                {
                                    "created": f"2026-11-26T11:{minute}:00Z",
                                    "image": "",
                                    "dockerImageReference": "",
                                }
                            ],
                        }
                        for tag, minute in (("old", "10"), ("new", "40"))
                    ],
                }
            },
            ["web", "r.test/shop/web", "new,old", "20 minutes ago"],
        ),
        (
            "route.openshift.io/v1",
            "Route",
            {
                "spec": {
                    "host": "web.test",
                    "to": {"kind": "Service", "name": "web"},
                    "port": {"targetPort": "http"},
                    "tls": {"termination": "edge", "insecureEdgeTerminationPolicy": "Redirect"},
                },
                "status": {
                    "ingress": [
                        {
                            "host": "web.test",
                            "conditions": [
                                {
                                    "type": "Admitted",
                                    "status": "False",
                                    "reason": "HostAlreadyClaimed",
                                }
                            ],
                        }
                    ]
                },
            },
            ["web", "HostAlreadyClaimed", "", "web", "http", "edge/Redirect", "None"],
        ),
        (
            "template.openshift.io/v1",
            "Template",
            {
                "metadata": META | {"annotations": {"description": "A shop.\nAnd more."}},
                "objects": [{"kind": "Service"}],
                "parameters": [{"name": "A"}, {"name": "B", "value": "b"}],
            },
            ["web", "A shop....", "2 (1 blank)", "1"],
        ),
    ],
)
def test_cells_say_what_clients_expect(
    api_version: str, kind: str, fields: dict[str, Any], shown: list[Any]
) -> None:
    assert cells(api_version, kind, **fields) == shown


def test_grants_are_shown_where_there_are_some() -> None:
    grants = {"upwell.dev/grants": "viewer@shop"}
    account = decode(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**META, "annotations": grants}}
    )
    found = table(account.KIND, [account], NOW)
    assert found["rows"][0]["cells"] == ["web", "0", "3h", "viewer@shop"]
    assert found["columnDefinitions"][-1]["priority"] == 0


def test_a_hold_is_shown_without_wide_where_there_is_one() -> None:
    plain, held = (
        decode(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": META,
                "spec": {"template": {"spec": POD}},
                "status": status,
            }
        )
        for status in ({}, {"hold": "paused"})
    )

    def priority(*listed: Any) -> Any:
        definitions = table(plain.KIND, listed, NOW)["columnDefinitions"]
        return next(one["priority"] for one in definitions if one["name"] == "Hold")

    assert [priority(plain), priority(plain, held)] == [1, 0]
