"""What runs and routes on this machine: containers in Podman, HAProxy, the packet filter."""
