"""Notes and next steps of `new-app`."""

from collections.abc import Iterator

from upwell.policy.new_app.application import Application, ApplicationBuild
from upwell.policy.new_app.objects import webhook_secret_name


def about_port(app: Application) -> str:
    """Return what is said of a port that nothing named."""
    if app.is_probed:
        return (
            f"assuming port {app.port}: {app.name} is ready once it accepts connections there;"
            " name another with --port"
        )
    return (
        f"assuming port {app.port}, so that {app.name} gets no readiness probe and counts as ready"
        " once it has started: name its port with --port"
    )


def about_stages(app: Application) -> Iterator[str]:
    """Yield what comes next for an application with stages."""
    names = [stage.name for stage in app.stages]
    yield (
        f"each new image of {app.name} goes through {', then '.join(names)}:"
        f" `upwell pipeline status {app.name}` shows its stages"
    )
    if not app.test:
        yield (
            f"a stage counts as tested once {app.name} accepts connections there: add tests with"
            f" --test, or in pipeline/{app.name}"
        )
    for stage in app.stages:
        if stage.approval:
            yield (
                f"stage {stage.name} waits for an approval of each image:"
                f" `upwell approve pipeline/{app.name} --stage {stage.name}`"
            )
    if app.expose:
        places = ", ".join(stage.namespace for stage in app.stages)
        yield f"`upwell get route {app.name} -n NAMESPACE` shows its addresses: {places}"


def about_commits(app: Application, build: ApplicationBuild) -> Iterator[str]:
    """Yield how commits of the application's repository start builds."""
    if build.follows_commits:
        webhook = "; its webhook is quicker" if build.webhook_secret else ""
        yield (
            f"commits are found by looks at the repository, at intervals{webhook}:"
            f" `upwell describe bc/{app.name}` shows the last one"
        )
    elif not build.webhook_secret:
        yield f"nothing looks for commits: `upwell start-build {app.name}` builds the newest one"
    if build.webhook_secret:
        yield (
            f"`upwell start-build {app.name} --list-webhooks all` shows the URLs of its"
            f" webhooks again; their secret is in secret/{webhook_secret_name(app.name)}"
        )
