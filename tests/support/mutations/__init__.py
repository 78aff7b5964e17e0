"""Broken variants of valid objects, and rules that say which of them are really broken.

`mutants` makes every variant of an object; `rules` judges one by a table of its kind, which is
written from the API's definitions and knows nothing of the product; `admission` asks the product.
A test of a kind takes all three: what the rules refuse, the product must refuse, and nothing else.
"""
