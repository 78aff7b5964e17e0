"""Wires what follows the commits of repositories."""

from upwell.app.adapters import Adapters
from upwell.controller import Controller
from upwell.machine.clock import elapsed, now
from upwell.reconcilers.builds.commits import Commits, commit_controller
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.builds.logins import BuildLogins


def following_commits(adapters: Adapters, index: BuildIndex, logins: BuildLogins) -> Controller:
    """Return the controller that looks at the repositories of BuildConfigs."""
    commits = Commits(
        index,
        logins,
        adapters.commits,
        authority=adapters.authority,
        interval=adapters.settings.build_isolation.commit_interval,
        clock=now,
        elapsed=elapsed,
    )
    return commit_controller(commits, index)
