"""Check of an installation: the credentials of the bucket that its settings name.

The bucket itself is tried by the servers, from where they run, when they start.
"""

from upwell.cli.install.installation import REGISTRY_BUCKET, ClusterInstallation
from upwell.cli.install.installed_settings import filled_keys, installed_table
from upwell.cli.install.kubectl import KubectlRunner
from upwell.cli.install.manifests import BUCKET_FOLDER
from upwell.machine.checks import HostCheck, HostCheckStatus

_NAME = "registry bucket"
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def check_bucket_secret(
    kubectl: KubectlRunner, installation: ClusterInstallation
) -> HostCheck | None:
    """Return whether the Secret has the keys; None: no installation, or one without a bucket.

    Asks for the names of its keys alone, of those that are not empty. Raises CommandError.
    """
    namespace = installation.namespace
    bucket = installed_table(kubectl, namespace, "embedded-registry", "bucket")
    if not bucket.get("bucket"):
        return None
    where = f"bucket {bucket['bucket']} at {bucket.get('endpoint')}"
    folder = str(bucket.get("credentials-file"))
    if folder.rstrip("/") != BUCKET_FOLDER:
        detail = f"{where}: the servers have no file {folder}"
        remedy = f'credentials-file = "{BUCKET_FOLDER}", in the settings of the installation'
        return HostCheck(_NAME, HostCheckStatus.FAIL, detail, remedy)
    names = [one.upper() for one in filled_keys(kubectl, namespace, REGISTRY_BUCKET)]
    if missing := [key for key in _KEYS if key not in names]:
        detail = f"{where}: Secret {REGISTRY_BUCKET} has no {' and no '.join(missing)}"
        literals = " ".join(f"--from-literal={key}=…" for key in _KEYS)
        step = f"kubectl -n {namespace} create secret generic {REGISTRY_BUCKET} {literals}"
        return HostCheck(_NAME, HostCheckStatus.FAIL, detail, step)
    detail = f"{where}: Secret {REGISTRY_BUCKET} has its credentials; servers try them at the start"
    return HostCheck(_NAME, HostCheckStatus.OK, detail)
