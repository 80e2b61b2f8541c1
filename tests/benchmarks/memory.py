"""Bytes of an inversion: predicted before it begins, and measured while it goes on.

`python -m tests.benchmarks.memory [--counts 8 32] [--layers 1 6 12] [--slices 500]`

Predicted as a task does, from the same work on two and three images. Measured: on a GPU, what torch
had allocated at most; on a CPU, the tensors alive at most, and by how much a fresh process grew.
Then many images within a limit by slices, against all of them at once.
"""

import argparse
import gc
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from stir_ray.models.memory import PROCESS_PER_TENSOR, Footprint, LiveBytes, footprint
from stir_ray.models.microbatches import Microbatches
from stir_ray.numerics.inversion import relative_residual
from stir_ray.numerics.settings import DEFAULT, InversionSettings
from tests.benchmarks import models, options
from tests.benchmarks.clock import table
from tests.benchmarks.precisions import PRECISIONS, invert_in

Made = TypeVar("Made")
GIB = 2**30
_USABLE = 0.9
"""Of the limit: as a task leaves some of what is free to allocators and libraries."""


class Work:
    """The inversion of one layer as a task does it, of images in slices."""

    def __init__(
        self, module: nn.Module, layer: int, precision: str, images: Tensor, start: Tensor
    ) -> None:
        """The weights are on the device from here on, the images are there already."""
        model = models.frozen(module, images.device)
        self._represent = models.representation(model, layer=layer, kind="tokens")
        self._precision = precision
        self._images, self._start = images, start

    def footprint(self) -> Footprint:
        """Found on two and three of the images, in as many steps as a task takes for it."""
        brief = replace(DEFAULT, iterations=2)
        return footprint(
            lambda count: self._some(slice(count), brief), after=self._images[0].nbytes
        )

    def invert(self, settings: InversionSettings, at_once: int) -> tuple[Tensor, Tensor]:
        """Images as they are stored, and their residuals."""
        made = Microbatches(at_once).each(
            len(self._images), lambda part: self._some(part, settings)
        )
        images, residuals = zip(*made, strict=True)
        return torch.cat(images), torch.cat(residuals)

    def _some(self, part: slice, settings: InversionSettings) -> tuple[Tensor, Tensor]:
        real = self._images[part]
        found = invert_in(
            self._precision,
            self._represent,
            images=real,
            start=self._start[part],
            settings=settings,
        )
        stored = found.images.half().float()
        residual = relative_residual(self._represent, images=real, inverted=stored)
        return stored, residual


@dataclass(frozen=True)
class Peak:
    """Bytes above what was there before the inversion.

    Attributes:
        layer: from 1.
        images: that went through at once.
        predicted: before.
        tensors: alive at the peak, as torch counts them.
        process: by which it grew, at the peak; 0 where that is not measured.
    """

    layer: int
    images: int
    predicted: int
    tensors: int
    process: int


def measure(chosen: argparse.Namespace, layer: int, images: int) -> Peak:
    """Predict and measure, in this process.

    Args:
        chosen: the options of `options.parser`, and `precision` and `iterations`.
        layer: from 1.
        images: all at once.
    """
    torch.set_num_threads(chosen.threads)
    module = options.module_of(chosen)
    real, start = options.images_of(argparse.Namespace(**vars(chosen) | {"images": images}), module)
    work = Work(module, layer, chosen.precision, real, start)
    settings = replace(DEFAULT, iterations=chosen.iterations)
    predicted = work.footprint().of(images, images)
    gc.collect()

    def invert() -> object:
        return work.invert(settings, images)

    if real.device.type == "cuda":
        return Peak(layer, images, predicted, _peak(real.device, invert)[1], 0)
    # The process first: it has not yet taken memory for so many images, and keeps what it took.
    process = _grown(invert)
    return Peak(layer, images, predicted, _peak(real.device, invert)[1], process)


def alone(chosen: argparse.Namespace, layer: int, images: int) -> Peak:
    """As `measure`, in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, chosen, layer, images).result()


@dataclass(frozen=True)
class Sliced:
    """Many images within a limit, against all of them at once.

    Attributes:
        images: all of them.
        at_once: in one slice, the largest power of two for which the limit suffices.
        limit: in bytes.
        peak: of the bytes that were taken within the limit.
        whole: the same of all at once.
        residual: the largest difference of the residual of an image.
    """

    images: int
    at_once: int
    limit: int
    peak: int
    whole: int
    residual: float


def slices(
    work: Work, device: torch.device, count: int, settings: InversionSettings, limit: int
) -> Sliced:
    """Invert in slices that fit the limit, and at once without it.

    Raises:
        MemoryError: if the limit does not suffice for one image at once.
    """
    held = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    found, room = work.footprint(), _USABLE * (limit - held)
    most = found.most(count, room)
    if not most:
        raise MemoryError(f"{limit} bytes: one image at once needs {held + found.of(1, count)}")
    at_once = most if most == count else 2 ** (most.bit_length() - 1)
    with at_most(device, limit):
        (_, sliced), within = _peak(device, lambda: work.invert(settings, at_once))
    (_, together), whole = _peak(device, lambda: work.invert(settings, count))
    difference = float((sliced - together).abs().max())
    return Sliced(count, at_once, limit, within + held, whole + held, difference)


@contextmanager
def at_most(device: torch.device, limit: int) -> Iterator[None]:
    """Torch takes no more of a GPU than so many bytes; on a CPU nothing holds it back."""
    if device.type != "cuda":
        yield
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def _peak(device: torch.device, make: Callable[[], Made]) -> tuple[Made, int]:
    """What is made, and the bytes of tensors that were there at most meanwhile."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        made = make()
        return made, torch.cuda.max_memory_allocated(device) - before
    with LiveBytes() as live:
        made = make()
    return made, live.peak


def _grown(make: Callable[[], object]) -> int:
    """Bytes by which this process was larger at its peak; 0 where Linux does not say."""
    status, peak = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        # Forget the peak of whatever was before.
        peak.write_text("5")
        before = _kilobytes(status, "VmRSS")
        make()
        return 1024 * (_kilobytes(status, "VmHWM") - before)
    except OSError:
        make()
        return 0


def _kilobytes(status: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", status.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def main(words: Sequence[str] | None = None) -> None:
    """Measure and say so."""
    report(options.read(parser(), words))


def report(chosen: argparse.Namespace) -> None:
    """Measure what the options ask for and print it."""
    on_gpu = chosen.device.type == "cuda"
    ask = measure if on_gpu else alone
    peaks = [ask(chosen, layer, count) for layer in chosen.layers for count in chosen.counts]
    print(told(peaks))
    if not chosen.slices:
        return
    chosen.images = chosen.slices
    module = options.module_of(chosen)
    images, start = options.images_of(chosen, module)
    work = Work(module, models.depth(module), chosen.precision, images, start)
    settings = replace(DEFAULT, iterations=chosen.iterations)
    for gib in chosen.limits_gib:
        limit = int(gib * GIB)
        print(told_slices(slices(work, images.device, len(images), settings, limit)))


def told(peaks: Sequence[Peak]) -> str:
    """As a table."""
    rows = [
        (
            peak.layer,
            peak.images,
            f"{peak.predicted / 1e6:.0f}",
            f"{peak.tensors / 1e6:.0f}",
            f"{peak.predicted / peak.tensors - 1:+.1%}",
            *_of_the_process(peak),
        )
        for peak in peaks
    ]
    names = ("layer", "images", "predicted MB of tensors", "there were", "off by")
    return table((*names, "predicted MB of the process", "it grew by", "off by"), *rows)


def _of_the_process(peak: Peak) -> tuple[str, str, str]:
    if not peak.process:
        return "-", "-", "-"
    predicted = PROCESS_PER_TENSOR * peak.predicted
    return (
        f"{predicted / 1e6:.0f}",
        f"{peak.process / 1e6:.0f}",
        f"{predicted / peak.process - 1:+.1%}",
    )


def told_slices(sliced: Sliced) -> str:
    """As a sentence."""
    return (
        f"{sliced.images} images within {sliced.limit / GIB:.3g} GiB, {sliced.at_once} at once: "
        f"{sliced.peak / GIB:.2f} GiB at the peak; all at once {sliced.whole / GIB:.2f} GiB; "
        f"residuals differ by {sliced.residual:.1e} at most"
    )


def parser() -> argparse.ArgumentParser:
    """Of its options."""
    on_gpu = torch.cuda.is_available()
    asked = options.parser(__doc__, model="vit_base_patch32_224", images=0)
    asked.add_argument("--layers", nargs="+", type=int, default=[1, 6, 12])
    counts = [64, 500] if on_gpu else [8, 32]
    asked.add_argument("--counts", nargs="+", type=int, default=counts, help="images at once")
    asked.add_argument("--precision", choices=PRECISIONS, default="float32")
    asked.add_argument("--iterations", type=int, default=3)
    asked.add_argument("--slices", type=int, default=500 if on_gpu else 0, help="images, sliced")
    asked.add_argument("--limits-gib", nargs="+", type=float, default=[24.0, 8.0])
    return asked


if __name__ == "__main__":
    main(sys.argv[1:])
