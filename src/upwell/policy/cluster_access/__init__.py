"""Rights on a cluster, where its RBAC decides: what is asked there, and for whom."""
