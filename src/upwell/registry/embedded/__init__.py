"""The embedded registry: an OCI registry in a folder, for one process.

    blobs/ALGORITHM/XX/HEX                    every content once
    repositories/NAME/_blobs/ALGORITHM/HEX    hard link: the blob is visible in this repository
    repositories/NAME/_manifests/ALGORITHM/HEX  hard link: the same for a manifest
    repositories/NAME/_tags/TAG               the text of a digest
    uploads/NAME with + for //UPLOAD          bytes that no digest has confirmed yet
    temporary/                                files that are about to be renamed; emptied at start

Invariants, which hold when the process is killed at any instant:

- a name under `blobs` or `repositories` appears only once its bytes are verified and on disk;
- a manifest's content is there before the manifest, and the manifest before its tag;
- content lives as long as a repository links to it: the kernel's link count is the reference count.

There is no database and no lock file: one process owns the folder, and what it holds in memory
(tags, manifests, referrers) is an index that it reads back from the files.
"""

from upwell.registry.embedded.registry import EmbeddedRegistry

__all__ = ["EmbeddedRegistry"]
