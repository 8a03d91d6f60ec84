"""Turns the errors of pydantic into one line for a person, and reads optional members of foreign answers."""

from typing import Annotated, Any, TypeVar

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator


def first_fault(error: ValidationError) -> str:
    """Returns where the first fault is and what is wrong, in one line, without the value."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}" if where else fault["msg"]


def _absent_if_unreadable(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError:
        return None


AValue = TypeVar("AValue")
OptionalMember = Annotated[AValue | None, WrapValidator(_absent_if_unreadable)]
"""An optional member: a value that cannot be read counts as absent. Use it only where absence is the safe reading."""
