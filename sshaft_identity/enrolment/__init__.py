"""Registers a key by an enrolment, and checks the proofs that its holder has it."""
