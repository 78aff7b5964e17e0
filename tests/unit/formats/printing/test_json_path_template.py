"""`-o jsonpath=`: what kubectl 1.32 prints for the same template and data."""

import pytest

from upwell.formats.printing.errors import PrintingError
from upwell.formats.printing.json_path_template import JsonPathTemplate

WEB = {
    "kind": "Deployment",
    "metadata": {
        "name": "web",
        "labels": {"app": "web", "a.b/c": "x"},
        "annotations": {"kubernetes.io/x": "y"},
    },
    "spec": {
        "replicas": 3,
        "paused": True,
        "containers": [
            {"name": "a", "image": "i:1", "ports": [{"port": 80}, {"port": 81}]},
            {"name": "b", "image": "j:2"},
        ],
    },
}
DB = {
    "kind": "Deployment",
    "metadata": {"name": "db"},
    "spec": {"replicas": 10, "containers": [{"name": "a", "image": "k:1"}]},
}
LIST = {"kind": "List", "items": [WEB, DB]}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.items[*].metadata.name}", "web db"),
        (
            '{range .items[*]}{.metadata.name}{"\\t"}{.spec.replicas}{"\\n"}{end}',
            "web\t3\ndb\t10\n",
        ),
        ("{.items[0].metadata.labels}", '{"a.b/c":"x","app":"web"}'),
        ("{.items[0].metadata.labels.a\\.b/c}", "x"),
        ("{.items[0].metadata.annotations['kubernetes\\.io/x']}", "y"),
        ('{.items[?(@.metadata.name=="db")].spec.replicas}', "10"),
        ("{.items[?(@.spec.replicas>5)].metadata.name}", "db"),
        ("{.items[?(@.spec.paused)].metadata.name}", "web"),
        ("{.items[?(@.spec.paused==true)].metadata.name}", "web"),
        ("{.items[?(@.metadata.name!='db')].kind}", "Deployment"),
        ("{..image}", "i:1 j:2 k:1"),
        ("{.items[0].spec.containers[-1].name}", "b"),
        ("{.items[0].spec.containers[0:1].name}", "a"),
        ("{.items[0,1].metadata.name}", "web db"),
        ("{.items[*].spec.paused}", "true"),
        ("x{ .kind }y", "xListy"),
        ("{$.kind}{@.kind}", "ListList"),
        ("{.items[*]['metadata.name','kind']}", "web db Deployment Deployment"),
        ("{.items[0].nope.x}", ""),
        ("{.items[0].spec.containers[0].ports}", '[{"port":80},{"port":81}]'),
        (
            "{range .items[*]}[{range .spec.containers[*]}{.name} {end}]{end}",
            "[a b ][a ]",
        ),
        ('{"a\\"b"}', 'a"b'),
        ("'{.kind}'", "List"),
        ("no path", "no path"),
    ],
)
def test_a_template_prints_what_kubectl_prints(template: str, text: str) -> None:
    assert JsonPathTemplate.parse(template).text(LIST) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{.items[0]", "the { is not closed, at character 1"),
        ("ab{.items[0}", "the [ is not closed, at character 10"),
        ("{end}", "{end} without {range}, at character 1"),
        ("{range .items[*]}{.x}", "the {range} has no {end}"),
        ("{items}", "expected a path: it begins with a dot"),
        ("{.a b}", "cannot understand 'b', at character 5"),
        ("{.a[x]}", "expected an index, a slice or a quoted name, not [x]"),
        ("{.a[?(@.x==y)]}", "quote texts, begin paths with @"),
        ('{"a}', "the quote is not closed"),
        ("{range .a}" * 40, "more than 32 ranges deep"),
    ],
)
def test_a_template_that_is_none_says_where(template: str, message: str) -> None:
    with pytest.raises(PrintingError) as caught:
        JsonPathTemplate.parse(template)
    assert message in str(caught.value)


def test_an_item_that_is_not_there_is_an_error_with_its_place() -> None:
    template = JsonPathTemplate.parse("first: {.items[5].metadata.name}")

    with pytest.raises(PrintingError, match="index 5, length 2, at character 9"):
        template.text(LIST)
