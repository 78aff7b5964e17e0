"""Sign-in of people at an OpenID Connect provider, their sessions, and the pages for both."""
