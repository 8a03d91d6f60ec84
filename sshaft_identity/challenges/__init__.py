"""One web login that waits for one SSH login: its states, codes, attempts and limits."""
