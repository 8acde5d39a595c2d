"""HTTP, one file for each area."""
