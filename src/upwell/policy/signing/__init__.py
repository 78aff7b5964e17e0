"""Statements about images: what a build is attested to have made, and of what; pure."""
