"""Parts that all commands share: connection, output, errors, names, times, waiting."""
