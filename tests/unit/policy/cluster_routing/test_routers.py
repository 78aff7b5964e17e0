"""The router of a cluster that serves Routes."""

from tests.support.cluster.routes import gateway, ingress_class

from upwell.policy.cluster_routing.routers import (
    GatewayRouter,
    IngressRouter,
    NoRouter,
    choose_router,
)


def test_the_default_class_is_taken_or_the_only_one() -> None:
    classes = [ingress_class("a"), ingress_class("b", default=True)]

    assert choose_router(classes, [gateway()]) == IngressRouter("b")
    assert choose_router(classes[:1], []) == IngressRouter("a")
    of_nginx = ingress_class("b", controller="k8s.io/ingress-nginx")
    assert choose_router([of_nginx], []) == IngressRouter("b", "k8s.io/ingress-nginx")


def test_without_a_class_the_only_gateway_is_taken() -> None:
    found = choose_router([], [gateway()])

    assert isinstance(found, GatewayRouter)
    assert found.gateway.name == "public"


def test_a_named_gateway_comes_first() -> None:
    gateways = [gateway("public"), gateway("inner")]
    found = choose_router([ingress_class()], gateways, "infra/inner")

    assert isinstance(found, GatewayRouter)
    assert found.gateway.name == "inner"


def test_what_is_missing_or_not_clear_is_said() -> None:
    for router, said in (
        (choose_router([], []), "no IngressClass and no Gateway"),
        (choose_router([ingress_class("a"), ingress_class("b")], []), "(a, b)"),
        (choose_router([], [gateway("a"), gateway("b")]), "[kubernetes] gateway"),
        (choose_router([], [gateway("a")], "infra/b"), "Gateway infra/b"),
    ):
        assert isinstance(router, NoRouter)
        assert said in router.message
