"""How values are written in a job file: strict mappings, ranges of numbers, unions by key."""

from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
)
from pydantic_core import PydanticCustomError

from stir_ray.formatting import find_secret

NAME = r"^[A-Za-z0-9][A-Za-z0-9._=-]*$"
"""Pattern of names that are folders anywhere."""
UNPRINTABLE = "unprintable"
"""Type of a validation error whose input must not be printed."""
_Scalar = TypeVar("_Scalar", bound=object)


class Value(BaseModel):
    """Base of all values of a job file: frozen, without other keys than the declared ones."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        # The input may contain a secret.
        hide_input_in_errors=True,
    )


def _refuse_secrets(value: _Scalar) -> _Scalar:
    secret = find_secret(value) if isinstance(value, str) else None
    if secret:
        message = f"{secret} stands in it; keep it in the machine's environment or role"
        raise PydanticCustomError(UNPRINTABLE, "{message}", {"message": message})
    return value


def _expand_range(value: object) -> object:
    # "1-4" means 1, 2, 3, 4.
    if isinstance(value, list | tuple):
        return value
    first, dash, last = (part.strip() for part in str(value).partition("-"))
    if dash and first.isdigit() and last.isdigit():
        return tuple(range(int(first), int(last) + 1))
    raise ValueError("expected a list such as [1, 2, 5] or a range such as 1-12")


def refuse_repeated(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return values of which none is repeated."""
    repeated = next((value for value in values if values.count(value) > 1), None)
    if repeated is not None:
        raise ValueError(f"{repeated} is given twice")
    return values


# Each of the following chooses the member of a union by its tag, so that errors are those of the
# member that was meant.


def by_key(*keys: str) -> Discriminator:
    """Choose by the key that only one member has."""

    def tag(value: Any) -> str | None:
        present = value if isinstance(value, dict) else getattr(type(value), "model_fields", ())
        return next((f"<{key}>" for key in keys if key in present), None)

    expected = "expected one of the keys " + ", ".join(f"`{key}`" for key in keys)
    return Discriminator(tag, custom_error_type="choice", custom_error_message=expected)


def by_source(*sources: str) -> Discriminator:
    """Choose by the value of the key `source`."""

    def tag(value: Any) -> str | None:
        source = value.get("source") if isinstance(value, dict) else getattr(value, "source", None)
        return f"<{source}>" if source in sources else None

    expected = "expected `source: " + "` or `source: ".join(sources) + "`"
    return Discriminator(tag, custom_error_type="choice", custom_error_message=expected)


def word_or(other: str, *words: str) -> Discriminator:
    """Choose between a fixed word and another value."""

    def tag(value: Any) -> str | None:
        if isinstance(value, str) and not value[:1].isdigit():
            return "<word>" if value in words else None
        return "<other>"

    expected = f"expected {', '.join(f'`{word}`' for word in words)} or {other}"
    return Discriminator(tag, custom_error_type="choice", custom_error_message=expected)


Location = Annotated[str, AfterValidator(_refuse_secrets)]
"""A path, a URL, or a name that may be mistaken for one."""
Argument = Annotated[bool | int | float | str, AfterValidator(_refuse_secrets)]
Numbers = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**63)], ...],
    BeforeValidator(_expand_range, json_schema_input_type=list[NonNegativeInt] | str),
    AfterValidator(refuse_repeated),
    Field(min_length=1),
]
LayerNumbers = Annotated[
    tuple[PositiveInt, ...],
    BeforeValidator(_expand_range, json_schema_input_type=list[PositiveInt] | str),
    AfterValidator(refuse_repeated),
    AfterValidator(lambda values: tuple(sorted(values))),
    Field(min_length=1),
]
