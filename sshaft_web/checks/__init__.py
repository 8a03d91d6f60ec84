"""Examines what `sshaft web` needs: the provider, and each host with its key and its API. Changes nothing."""
