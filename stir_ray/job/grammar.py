"""How values are said in a job file: strict objects, ranges of numbers, and unions told apart."""

from collections.abc import Callable
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

from stir_ray.redaction import secret_in

NAME = r"^[A-Za-z0-9][A-Za-z0-9._=-]*$"
"""A name that can be that of a folder anywhere."""
UNPRINTABLE = "unprintable"
"""The kind of error whose value must not be printed."""

_Said = TypeVar("_Said", bound=object)


class Value(BaseModel):
    """Frozen, and of exactly the declared keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        # What is wrong with a value may be that it must not be printed.
        hide_input_in_errors=True,
    )


def _without_secrets(said: _Said) -> _Said:
    secret = secret_in(said) if isinstance(said, str) else None
    if secret:
        message = f"{secret} stands in it; keep it in the machine's environment or role"
        raise PydanticCustomError(UNPRINTABLE, "{message}", {"message": message})
    return said


def _spelled_out(value: object) -> object:
    """`"1-4"` means 1, 2, 3, 4; a list stays as it is."""
    if isinstance(value, list | tuple):
        return value
    first, dash, last = (part.strip() for part in str(value).partition("-"))
    if dash and first.isdigit() and last.isdigit():
        return tuple(range(int(first), int(last) + 1))
    raise ValueError("expected a list such as [1, 2, 5] or a range such as 1-12")


def _distinct(values: tuple[int, ...]) -> tuple[int, ...]:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{twice[0]} stands there twice")
    return values


def _told_apart(tag: Callable[[Any], str | None], expected: str) -> Discriminator:
    """Choose the member of a union by `tag`, so that its errors are about that member alone."""
    return Discriminator(tag, custom_error_type="choice", custom_error_message=expected)


def by_key(*keys: str) -> Discriminator:
    """Tell members apart by the key that only one of them has."""

    def tag(value: Any) -> str | None:
        present = value if isinstance(value, dict) else getattr(type(value), "model_fields", ())
        return next((f"<{key}>" for key in keys if key in present), None)

    return _told_apart(tag, "expected one of the keys " + ", ".join(f"`{key}`" for key in keys))


def by_source(*sources: str) -> Discriminator:
    """Tell members apart by what their key `source` says."""

    def tag(value: Any) -> str | None:
        source = value.get("source") if isinstance(value, dict) else getattr(value, "source", None)
        return f"<{source}>" if source in sources else None

    return _told_apart(tag, "expected `source: " + "` or `source: ".join(sources) + "`")


def word_or(other: str, *words: str) -> Discriminator:
    """Tell a fixed word from anything else."""

    def tag(value: Any) -> str | None:
        if isinstance(value, str) and not value[:1].isdigit():
            return "<word>" if value in words else None
        return "<other>"

    return _told_apart(tag, f"expected {', '.join(f'`{word}`' for word in words)} or {other}")


Place = Annotated[str, AfterValidator(_without_secrets)]
"""A path, a URL, or a name that whoever looks it up may take for one."""
Argument = Annotated[bool | int | float | str, AfterValidator(_without_secrets)]
Numbers = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**63)], ...],
    BeforeValidator(_spelled_out, json_schema_input_type=list[NonNegativeInt] | str),
    AfterValidator(_distinct),
    Field(min_length=1),
]
LayerNumbers = Annotated[
    tuple[PositiveInt, ...],
    BeforeValidator(_spelled_out, json_schema_input_type=list[PositiveInt] | str),
    AfterValidator(_distinct),
    AfterValidator(lambda values: tuple(sorted(values))),
    Field(min_length=1),
]
