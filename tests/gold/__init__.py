"""The gold test: what every command writes, kept as digests."""
