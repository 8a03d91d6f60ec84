passwd last sshaft
