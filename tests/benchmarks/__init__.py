"""``make bench``: the service against the limit of its hardware, other servers of the same network, and PyTorch."""
