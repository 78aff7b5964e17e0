"""Templates: parameters, generated values, processing (template.openshift.io/v1)."""
