"""Image policies: which images they are about, and whether an image's signatures satisfy them."""
