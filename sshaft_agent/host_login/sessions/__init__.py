"""Knows which sessions are open that host login has let in, and ends single ones of them."""
