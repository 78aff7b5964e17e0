"""Port to a Kubernetes cluster that runs workloads: images of templates, Events, and Pods.

Objects are read and watched through the store; here stands what the store's port has no word for.
"""
