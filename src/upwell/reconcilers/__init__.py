"""One module for each kind: brings objects from what is to what should be.

Reads all state, lets `policy` decide, acts through ports, writes status. Names no adapter.

A function that is named `…_controller` says what wakes a reconciler; `app.wiring` calls them all,
and runs what they return.
"""
