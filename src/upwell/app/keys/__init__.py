"""Keys that the server makes once: in its data folder, and on a cluster for all replicas."""
