"""The packet filter: namespaces, NetworkPolicies, Services and what runs, to the firewall."""
