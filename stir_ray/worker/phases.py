"""What the time of workers goes to."""

from enum import StrEnum


class Phase(StrEnum):
    """What a worker's time goes to."""

    SEARCH = "search"
    """Inversion: the images that are searched for, and the residuals of what is found."""
    LOOK = "look"
    """Forward passes of models that look or are tested, and Gram matrices of what they see."""
    COMPARE = "compare"
    """CKA of Gram matrices."""
    TRAIN = "train"
    """Training, with the reading of its dataset and the tests of its epochs."""
    LOAD = "load"
    """Reading and building models."""
    READ = "read"
    """Reading image sets and inverted images."""
    PUT = "put"
    """Encoding and storing artifacts, waits for a store in trouble included."""
    CORRUPT = "corrupt"
    """Making corrupted images, or reading published ones."""
    FORESEE = "foresee"
    """Finding out how much memory the work takes."""

    @property
    def measure(self) -> str:
        """The name of the measure that holds its seconds."""
        return f"{self}_s"
