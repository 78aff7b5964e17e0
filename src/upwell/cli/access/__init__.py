"""Commands on access: login, logout, whoami, kubeconfig, token."""
