"""What history costs an application that uses the ORM, beside its peers.

`workload.py` is one program for all; it runs in an environment of each tool's own.
"""
