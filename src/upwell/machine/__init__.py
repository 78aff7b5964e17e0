"""What this machine can and cannot do: doctor's checks, and the containers.conf that fits.

Never starts a build or a workload.
"""
