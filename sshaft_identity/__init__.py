"""The identity service: the other end of the agent's calls, and the place where a web login starts.

It opens challenges, shows their codes on a page, tells the sshd side whose key may log in, and lets exactly one SSH
login accept each challenge. It runs on its own, usually elsewhere, and of ours it imports only leaves of `sshaft`.
"""
