"""`upwell s2i`: Source-to-Image on this machine, without a server."""

from upwell.cli.s2i.program import s2i

__all__ = ["s2i"]
