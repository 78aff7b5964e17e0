"""User ids of instances: ranges that are nobody's outside, and namespaces that map them."""
