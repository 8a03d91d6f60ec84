"""Signs people in at an OpenID Provider, as its client. Imports `sshaft` and libraries only.

`settings.ProviderSettings` describes the provider, `code_flow.RelyingParty` runs a sign-in, and
`remote_keys.RemoteKeys` verifies tokens by the keys that a provider publishes.
"""
