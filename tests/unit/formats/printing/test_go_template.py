"""`-o go-template=`: what kubectl 1.32 prints for the same template and data."""

import pytest
from tests.unit.formats.printing.test_json_path_template import LIST

from upwell.formats.printing.errors import PrintingError
from upwell.formats.printing.go_template import GoTemplate


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{range .items}}{{.metadata.name}} {{.spec.replicas}}\n{{end}}", "web 3\ndb 10\n"),
        ("{{range $i,$e := .items}}{{$i}}={{$e.metadata.name}};{{end}}", "0=web;1=db;"),
        (
            "{{range $k, $v := (index .items 0).metadata.labels}}{{$k}}:{{$v}} {{end}}",
            "a.b/c:x app:web ",
        ),
        ("{{len .items}}{{.items | len}}", "22"),
        ("{{(index .items 0).metadata.name}}", "web"),
        ('{{index .items 0 "metadata" "labels" "a.b/c"}}', "x"),
        ("{{with .nope}}a{{else}}b{{end}}", "b"),
        ("{{with .kind}}{{.}}{{end}}", "List"),
        ('{{if eq .kind "X"}}X{{else if .items}}I{{else}}N{{end}}', "I"),
        ('{{printf "%s-%v|%5s|%-6s|%q|%d%%" .kind 3 "a" "b" "c" 7}}', 'List-3|    a|b     |"c"|7%'),
        ("{{.nope}}{{.nope.x}}", "<no value><no value>"),
        ("{{(index .items 0).metadata.labels}}", "map[a.b/c:x app:web]"),
        ("{{(index .items 1).spec.containers}}", "[map[image:k:1 name:a]]"),
        ("a {{- /* c */ -}} x {{- `y` }}", "axy"),
        ('{{"aGk=" | base64decode}}', "hi"),
        ('{{ $x := .kind }}{{$x}}{{$x = "z"}}{{if true}}{{$x = "w"}}{{end}}{{$x}}', "Listw"),
        ('{{and true "a"}}{{or "" "b"}}{{not true}}', "abfalse"),
        ('{{exists . "items" 5}}{{exists . "kind"}}', "falsetrue"),
        (
            '{{range .items}}{{if eq .metadata.name "db"}}{{break}}{{end}}{{.kind}}{{end}}',
            "Deployment",
        ),
        ("{{range .items}}{{if .spec.paused}}{{continue}}{{end}}{{.metadata.name}}{{end}}", "db"),
        ("{{range .none}}a{{else}}e{{end}}", "e"),
        ("{{range .items}}{{$.kind}}{{end}}", "ListList"),
        ('{{slice "abc" 1 2}}{{gt 3 2}}{{println "a" 1}}', "btruea 1\n"),
    ],
)
def test_a_template_prints_what_kubectl_prints(template: str, text: str) -> None:
    assert GoTemplate.parse(template).text(LIST) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{if}}", "a value is missing, at character 1"),
        ("x{{.a", "the {{ is not closed, at character 2"),
        ("{{end}}", "unexpected end, at character 3"),
        ("{{range .items}}x", "the range has no end, at character 1"),
        ('{{define "a"}}x{{end}}', "define is not supported here"),
        ("{{.a ~}}", "cannot understand '~', at character 6"),
        ("{{(len .a}}", "the ( is not closed"),
        ("{{}}", "the action is empty"),
    ],
)
def test_a_template_that_is_none_says_where(template: str, message: str) -> None:
    with pytest.raises(PrintingError) as caught:
        GoTemplate.parse(template)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{foo}}", "there is no function 'foo'"),
        ("{{.kind.x}}", "cannot take the field x of 'List', at character 3"),
        ("{{index .items 7}}", "index out of range: 7, of 2"),
        ("{{len 3}}", "3 has no length"),
        ("{{$x}}", "the variable $x is not defined"),
        ("{{range .kind}}{{end}}", "range cannot go over 'List'"),
        ("{{not}}", "wrong arguments"),
    ],
)
def test_a_template_that_does_not_fit_its_data_says_where(template: str, message: str) -> None:
    with pytest.raises(PrintingError) as caught:
        GoTemplate.parse(template).text(LIST)
    assert message in str(caught.value)
