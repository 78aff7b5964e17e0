"""ImageStreams: imports, pushes, image records, package inventories, pull secrets."""
