"""Disposable processes that parse what strangers wrote: little memory, time and files, no network.

A task is a module with a function `run(source, argument)`, which returns JSON data, or bytes for a
file. Never knows what is parsed, and never believes a result: who asks for one validates it.
"""
