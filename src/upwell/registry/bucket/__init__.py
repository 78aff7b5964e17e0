"""The embedded registry in a bucket of S3-compatible storage, shared by every replica of a server.

    contents/ID                        bytes of a blob or manifest, or a partition of an index;
                                       written once, under a new name
    repositories/NAME/_index           manifests, tags and blobs of a repository, each with its ID;
                                       where they are many, the IDs of their partitions
    uploads/NAME with + for //UPLOAD   an upload: how far it is, and where its bytes are
    condemned/ID                       content that is about to be removed, and may not be linked

Invariants, which hold when any replica is killed, or stopped and woken up, at any instant:

- an index is changed by conditional writes alone: no replica undoes what another one has done;
- an ID is linked in an index once its bytes are verified, and never gets other bytes;
- content is removed after it was condemned, and after no index that was read since then links it;
  who links content of another repository looks afterwards whether it was condemned, and undoes it.

There is no state in a replica but caches, and hashes of uploads whose bytes all went through it.
"""
