"""`python -m upwell`, and the program that is installed, are the `upwell` command."""

import os
import signal

_INTERRUPTED = 130


def run() -> None:
    """Run the command of this process; Ctrl-C ends it with 130, also while modules load."""
    handler = signal.getsignal(signal.SIGINT)
    is_ours = handler is signal.default_int_handler  # else it is ignored, as in the background
    if is_ours:
        signal.signal(signal.SIGINT, _end)
    from upwell.cli import main  # noqa: PLC0415 - takes a tenth of a second

    if is_ours:
        signal.signal(signal.SIGINT, handler)
    main(prog_name="upwell")


def _end(*_: object) -> None:
    os.write(2, b"error: interrupted\n")
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    run()
