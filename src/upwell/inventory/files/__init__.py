"""Files of layers: what each layer adds and hides, and what its programs ask of others.

Never says what a difference means (`policy/rebase` does).
"""
