"""The objects that users write and read: OpenShift's kinds, the Kubernetes kinds they need, ours.

Pure data with defaults, validation and one codec; nothing here decides or does I/O.
"""
