"""Logs of builds: files of the process that writes them, and of ended ones what replicas share."""
