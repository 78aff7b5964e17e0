"""Clusters that stages name: their clients, by the outbound policy and behind the leader's term."""
