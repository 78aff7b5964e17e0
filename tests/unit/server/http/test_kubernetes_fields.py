import pytest

from upwell.server.http.kubernetes_fields import unknown_kubernetes_fields

TEMPLATE = {
    "metadata": {"labels": {"any": "label"}, "creationTimestamp": None},
    "spec": {
        "containers": [
            {
                "name": "a",
                "resources": {"limits": {"example.com/any": 1}},
                "livenessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 1},
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "b", "key": "c"}}}],
                "terminationMessagePath": "/x",
            }
        ],
        "volumes": [
            {"name": "a", "emptyDir": {}},
            {"name": "b", "configMap": {"name": "c", "items": [{"key": "d", "path": "e"}]}},
        ],
        "dnsPolicy": "ClusterFirst",
        "topologySpreadConstraints": [{"maxSkew": 1, "labelSelector": {"matchLabels": {"a": "b"}}}],
    },
}


def test_fields_that_kubernetes_has_are_known_whatever_we_do_with_them() -> None:
    spec = {"replicas": 1, "strategy": {"rollingUpdate": {"maxSurge": "10%"}}}
    metadata = {"name": "a", "annotations": {"b": "c"}, "managedFields": [{"any": "thing"}]}
    document = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": spec | {"template": TEMPLATE},
        "status": {"any": "thing"},
    }
    assert list(unknown_kubernetes_fields(document)) == []
    assert list(unknown_kubernetes_fields(document | {"kind": "Pipeline"})) == []


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"metadata": {"lables": {}}}, "metadata.lables"),
        ({"spec": {"ports": [{"port": 1}, {"prot": 2}]}}, "spec.ports[1].prot"),
        ({"spec": "not an object", "spce": {}}, "spce"),
    ],
)
def test_others_are_named_by_their_paths(document: dict[str, object], path: str) -> None:
    service = {"apiVersion": "v1", "kind": "Service"} | document
    assert list(unknown_kubernetes_fields(service)) == [path]
