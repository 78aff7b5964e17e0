"""Parts of registries that this process serves, wherever their content lies."""
