"""Client of a bucket of S3-compatible storage: objects, conditional writes, multipart uploads."""
