"""`upwell completion`: the script by which a shell completes commands and names."""

import click
from click.shell_completion import get_completion_class

from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog=examples(
        'eval "$(upwell completion bash)"',
        "upwell completion bash > /etc/bash_completion.d/upwell",
        "upwell completion fish > ~/.config/fish/completions/upwell.fish",
    )
)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script by which SHELL completes commands, options and names of objects.

    Names come from the server, within a second; without a server there are none.
    """
    complete = get_completion_class(shell)
    if complete is None:
        raise click.UsageError(f"{shell} has no completion here")
    echo(complete(ctx.find_root().command, {}, "upwell", "_UPWELL_COMPLETE").source())
