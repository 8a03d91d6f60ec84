"""One SSH login at a host that waits until its person approves it on our page: states, digits and limits."""
