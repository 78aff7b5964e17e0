"""Rules of Pod templates, one module for each part of a Pod; source: core/v1 and its validation."""
