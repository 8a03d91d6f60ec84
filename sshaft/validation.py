"""Turns the errors of pydantic into one line for a person."""

from pydantic import ValidationError


def first_fault(error: ValidationError) -> str:
    """Returns where the first fault is and what is wrong, in one line, without the value."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}" if where else fault["msg"]
