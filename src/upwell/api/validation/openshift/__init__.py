"""Rules of OpenShift's kinds beyond their types: build, image, apps, route and template.

Source: openshift-apiserver `pkg/*/apis/*/validation`, library-go `pkg/route/validation`. Where a
rule is stricter than OpenShift's, docs/validation.md has the reason.
"""
