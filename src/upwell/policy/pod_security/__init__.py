"""Pod Security: the templates of objects, what they ask of the host, what a namespace allows."""
