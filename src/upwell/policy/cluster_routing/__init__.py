"""Routes of a cluster as an Ingress or HTTPRoutes, and what these cannot express; pure."""
