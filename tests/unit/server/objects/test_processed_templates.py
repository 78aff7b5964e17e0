from typing import Any

from tests.support.server.api_server import Api

PATH = "/apis/template.openshift.io/v1/namespaces/shop/processedtemplates"


def template(*parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "template.openshift.io/v1",
        "kind": "Template",
        "metadata": {"name": "web"},
        "labels": {"from": "${NAME}"},
        "message": "made ${NAME}",
        "objects": [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "${NAME}"}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "a": "${PASSWORD}"},
        ],
        "parameters": list(parameters),
    }


async def test_a_template_comes_back_with_its_objects_filled_in(api: Api) -> None:
    password = {"name": "PASSWORD", "generate": "expression", "from": "[a-z]{8}"}
    answer = await api.send("POST", PATH, template({"name": "NAME", "value": "shop"}, password))
    assert answer.status == 201
    found = answer.json
    assert (found["apiVersion"], found["kind"]) == ("template.openshift.io/v1", "Template")
    service, secret = found["objects"]
    assert service["metadata"] == {"name": "shop", "labels": {"from": "shop"}}
    assert found["message"] == "made shop"
    values = {one["name"]: one["value"] for one in found["parameters"]}
    assert values["NAME"] == "shop"
    assert secret["a"] == values["PASSWORD"]
    assert len(values["PASSWORD"]) == 8
    assert (await api.get(PATH.replace("processed", ""))).json["items"] == []


async def test_every_fault_of_a_template_is_told(api: Api) -> None:
    required = {"name": "NAME", "required": True}
    answer = await api.send("POST", PATH, template(required, {"name": "PASSWORD", "generate": "x"}))
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    fields = [cause["field"] for cause in answer.json["details"]["causes"]]
    assert fields == ["parameters[0]", "parameters[1].generate"]
