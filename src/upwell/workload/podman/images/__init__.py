"""Images of Podman's storage: to whom registries have given them, and how they are pulled."""
