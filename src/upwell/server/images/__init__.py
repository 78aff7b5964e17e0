"""ImageStreams over the API: tags, imports, mappings, and registry webhooks."""
