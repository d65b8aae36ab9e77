"""What history costs: see README.md in this folder, and `make bench`."""
