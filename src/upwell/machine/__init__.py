"""Abilities of this machine, and the programs that run on it.

Doctor's checks, the containers.conf that fits, child processes and the secrets in what they print.
Never starts a build or a workload.
"""
