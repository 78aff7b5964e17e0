"""Packet filter of the instances' network: a port, and nftables. It decides nothing by itself."""
