"""ResourceQuotas: what is used of each."""
