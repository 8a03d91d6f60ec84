"""`sshaft ssh`, `scp`, `sftp` and `info`: log a person in to a host with an access token as the password."""
