"""Health: the one judgement of what is wrong with an object, for every surface that tells of it.

Status, explain, Events, notices and metrics take their words and their yes or no from here, and
conditions are the form in which it is stored.
"""
