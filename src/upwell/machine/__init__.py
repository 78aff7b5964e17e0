"""What this machine can and cannot do: the checks of `upwell doctor`, the containers.conf that fits.

Never starts a build or a workload.
"""
