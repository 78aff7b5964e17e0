"""A web service that greets, and says what it runs on."""
