"""config.openshift.io: image policies, and the question what they say of an image."""
