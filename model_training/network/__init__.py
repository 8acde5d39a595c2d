"""The Clinical-Inspired Network: one file for each module of the paper."""
