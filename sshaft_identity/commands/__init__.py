"""The commands of `sshaft identity`, as an operator types them."""
