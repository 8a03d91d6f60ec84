"""Asks the provider again and again whether a person who has logged in before may still do so."""
