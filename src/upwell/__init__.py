"""Upwell keeps every running container on a patched base image."""
