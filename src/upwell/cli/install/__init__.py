"""Commands that put Upwell on a cluster and take it away; all manifests are made here.

Manifests, the Kustomize base and the Helm chart in `deploy/` come of the same functions
(`python -m tests.support.cli.deploy` writes the files). Clusters are reached by kubectl alone, with
the kubeconfig, contexts and logins that its user has.
"""
