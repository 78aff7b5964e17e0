"""Columns of `get` for Kubernetes' and OpenShift's kinds: those that scripts and hands know.

Titles and order are those of k8s.io/kubernetes/pkg/printers/internalversion and of
openshift-apiserver's printers; what Upwell adds stands after them.
"""
