"""`python -m upwell` is the `upwell` command."""

from upwell.cli import main

if __name__ == "__main__":
    main(prog_name="upwell")
