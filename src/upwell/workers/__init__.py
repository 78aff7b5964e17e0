"""Disposable processes that parse what strangers wrote: little memory, time and files, no network.

A task is a module with a function `run(source, argument)`. Never knows what is parsed, and never
believes a result: who asks for one validates it.
"""
