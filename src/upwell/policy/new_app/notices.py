"""Subscriptions of an application, by which people hear of it wherever it runs."""

from collections.abc import Iterator, Sequence

from upwell.api.meta import Resource
from upwell.policy.new_app.application import Application
from upwell.policy.notifications.addresses import address_subscriptions

_KINDS = ("ImageStream", "BuildConfig", "Deployment", "DeploymentConfig", "Route", "Pipeline")
_NUMBERED = ("Build", "Release", "Promotion")


def notice_objects(
    app: Application, namespace: str, addresses: Sequence[str]
) -> Iterator[Resource]:
    """Yield the Subscriptions, and the Secrets of their addresses, that tell of an application.

    `namespace` is where it is built. A Subscription hears of its own namespace alone, so that each
    stage's has one of the workload that runs there.
    """
    labels = app.metadata.labels
    yield from address_subscriptions(app.name, addresses, _subjects(namespace, app.name), labels)
    for stage in app.stages:
        if stage.namespace != namespace:
            subjects = _subjects(stage.namespace, app.name)
            for one in address_subscriptions(app.name, addresses, subjects, labels):
                yield one.with_metadata(namespace=stage.namespace)


def _subjects(namespace: str, name: str) -> tuple[str, ...]:
    return (
        *(f"{namespace}/{kind}/{name}" for kind in _KINDS),
        *(f"{namespace}/{kind}/{name}-[0-9]*" for kind in _NUMBERED),
    )
