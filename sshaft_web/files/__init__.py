"""Transfers files between the browser and the host, by SFTP over the SSH connection of a terminal.

The person's own account does all of it on the host: there is no folder that files are confined to. What the host says
(names, sizes, lists) is foreign text, and what the browser sends is never kept as a whole.
"""
