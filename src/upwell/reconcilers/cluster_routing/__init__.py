"""Routes of a cluster: kept as an Ingress or HTTPRoutes, which the cluster's router serves."""
