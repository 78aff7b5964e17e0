"""Results as a terminal shows them: colours of states, tables that fit, progress."""
