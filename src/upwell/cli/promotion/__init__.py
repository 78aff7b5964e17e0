"""Commands on promotion: pipeline, promote, approve, verify, rollback, release, freeze, hold."""
