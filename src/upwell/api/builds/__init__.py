"""build.openshift.io/v1: how images are made, and each making of one."""
