"""Gathers what a rebase is about, for builds and for the command line. Writes nothing."""
