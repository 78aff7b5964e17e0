"""Rules of OpenShift's kinds, written from the Go types of openshift/api and their descriptions.

Pod templates have rules of their own. Where the server is stricter on purpose, the rule says
`Stricter`, and docs/validation.md gives the reason.
"""
