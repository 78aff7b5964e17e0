"""Folders of OpenShift's own manifests and payloads on this machine, if they are there."""

import pytest
from tests.support.paths import SHARED

CORPUS = SHARED / "corpus" / "openshift"
ORIGIN = CORPUS / "openshift-origin@5c0e8a64"
TESTDATA = ORIGIN / "test/extended/testdata"
APISERVER = CORPUS / "openshift-apiserver@56aa2d96"
CHAINS = CORPUS / "openshift-oc@6b8e30c5/pkg/cli/admin/buildchain/test"
WEBHOOKS = APISERVER / "pkg/build/apiserver/webhook"

needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason=f"no manifests in {CORPUS} (set UPWELL_SHARED)"
)
