"""Abilities and state of this machine, and the programs that run on it.

Doctor's checks, the containers.conf that fits, child processes and the secrets in what they print;
time, disks, files that are written as a whole, and the record of what is at fault. Never starts a
build or a workload.
"""
