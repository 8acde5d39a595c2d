"""``make bench``: the service beside the limit of its hardware, other servers of the same network, and PyTorch."""
