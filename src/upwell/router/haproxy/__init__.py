"""The router port behind HAProxy: its configuration, its process, and its command socket."""
