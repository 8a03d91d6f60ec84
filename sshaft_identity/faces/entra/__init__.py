"""Microsoft Entra ID external authentication: our OpenID Provider as Microsoft asks for it."""
