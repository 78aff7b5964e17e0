"""Applications that new-app made in OpenShift, and those that ours makes of its streams."""

import pytest
from tests.support.openshift import needs_corpus
from tests.support.openshift_objects import documents, stored

from upwell.api.codec import UnknownKindError, encode
from upwell.api.image import ImageStream
from upwell.api.legacy import to_group_form
from upwell.policy.explain.graph import EdgeRole, build_graph
from upwell.policy.new_app.application import Application, ApplicationBuild
from upwell.policy.new_app.components import NewAppStrategy, SourceRepository
from upwell.policy.new_app.images import ImportOptions, follow
from upwell.policy.new_app.objects import application_objects

pytestmark = needs_corpus


@pytest.mark.parametrize(
    ("file", "workloads"),
    [("no-build", 1), ("one-build", 1), ("deployed-app", 1), ("two-deployment-configs", 2)],
)
def test_what_new_app_made_in_openshift_is_one_graph(file: str, workloads: int) -> None:
    objects = []
    for document in documents(f"test/testdata/app-scenarios/new-project-{file}.yaml"):
        try:
            objects.append(stored(to_group_form(document)))
        except UnknownKindError as error:
            assert error.kind in {"ReplicationController", "Pod"}  # noqa: PT017 - both are left out

    edges = list(build_graph(objects).edges)

    roles = [edge.role for edge in edges]
    assert sorted(roles) == sorted([EdgeRole.BASE, EdgeRole.OUTPUT, *[EdgeRole.DEPLOY] * workloads])
    # These builds name a plain image, which nothing follows.
    assert [edge.role for edge in edges if not edge.automatic] == [EdgeRole.BASE]


def test_new_app_builds_from_a_stream_of_openshift() -> None:
    (document,) = documents("test/testdata/newapp/imagestream-ref.yaml")
    stream = stored(to_group_form(document))
    assert isinstance(stream, ImageStream)

    followed = follow("myruby", {"myruby": stream}, ImportOptions())
    build = ApplicationBuild(SourceRepository("https://git.test/hello.git"), NewAppStrategy.SOURCE)
    made = application_objects(Application("hello", followed, build))

    assert [item.KIND.kind for item in made] == [
        "ImageStream",
        "BuildConfig",
        "Service",
        "Deployment",
    ]
    graph = build_graph([stream, *(stored(encode(item)) for item in made)])
    assert [str(node) for node in graph.order()] == [
        "shop/ruby:2.3",
        "shop/myruby:2.3",
        "shop/myruby:latest",
        "BuildConfig shop/hello",
        "shop/hello:latest",
        "Deployment shop/hello",
    ]
