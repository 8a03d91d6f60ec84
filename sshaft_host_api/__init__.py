"""The HTTP API of token login: what mccli, web clients and the PAM module of motley_cue ask.

It holds no secret. It asks the agent each question, and writes the answer in the form of the contract.
"""
