"""PersistentVolumeClaims: each is bound as soon as it is there."""
