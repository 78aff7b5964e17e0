"""Volumes of instances: their folders, those that are kept, and the pins that containers get."""
