"""Backups of a data folder: a tar file with a header, the files, and the digests of them all."""
