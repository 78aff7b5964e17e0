"""Services that ran or are described elsewhere, as objects that keep them on patched images."""
