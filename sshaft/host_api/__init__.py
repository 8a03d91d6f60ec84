"""The client side of the API beside an sshd that takes access tokens, for programs that log people in."""
