"""Templates by which kubectl prints: JSONPath, Go's text/template, columns and an order."""
