"""The pages that people see in their browser."""
