"""Access to clusters: kubeconfig files and service accounts, and their API as this store."""
