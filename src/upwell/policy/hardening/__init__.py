"""The hardening list: what of a running installation could be safer, and the next step.

Pure: `app/hardening` looks, this judges. docs/hardening.md names every check.
"""
