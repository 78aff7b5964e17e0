"""Values that objects hold as text: addresses, schedules, thresholds, quantities, commits."""
