"""The gallery shows images as they are."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stir_ray.report.gallery import Gallery, GalleryPanel, InvertedLayer, gallery_figure
from stir_ray.report.save import save

COUNT, LAYERS = 3, (1, 5)


def images(channels: int, seed: int) -> NDArray[np.float32]:
    shape = (COUNT, channels, 5, 7)
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def gallery(channels: int) -> Gallery:
    panels = [
        GalleryPanel(
            title,
            tuple(
                InvertedLayer(
                    layer,
                    images(channels, 10 * number + layer).astype(np.float16),
                    np.array([0.123, 0.4, 0.0042]),
                )
                for layer in LAYERS
            ),
        )
        for number, title in enumerate(["pretrained", "finetuned, epoch 3"])
    ]
    return Gallery(images(channels, 99), tuple(panels))


def shown(figure: Figure, panel: int) -> list[tuple[float, float, NDArray[np.floating]]]:
    """Left and top edge and pixels (row, column, …) of every image of a panel."""
    found = []
    for image in figure.axes[panel].images:
        left, _, _, top = image.get_extent()
        found.append((left, top, np.asarray(image.get_array())))
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_shown_unchanged_originals_first_then_by_layer(channels: int) -> None:
    made = gallery(channels)
    figure = gallery_figure(made)
    for number, panel in enumerate(made.panels):
        ordered = sorted(shown(figure, number), key=lambda one: (one[1], one[0]))
        rows = [made.originals, *(of.images for of in panel.layers)]
        expected = [image for row in rows for image in row]
        for (_, _, pixels), image in zip(ordered, expected, strict=True):
            by_pixel = image[0] if channels == 1 else np.moveaxis(image, 0, -1)
            np.testing.assert_array_equal(pixels, by_pixel)


def test_grey_goes_from_black_at_0_to_white_at_1_whatever_an_image_holds() -> None:
    for image in gallery_figure(gallery(1)).axes[0].images:
        assert image.get_clim() == (0.0, 1.0)


def test_each_inverted_image_has_its_residual() -> None:
    axes = gallery_figure(gallery(3)).axes[1]
    assert [text.get_text() for text in axes.texts] == ["0.12", "0.40", "0.004"] * len(LAYERS)


def test_each_original_has_the_name_of_its_class_as_it_is_written() -> None:
    names = ("cat", "a $mall dog_", "staffordshire_bull_terrier")
    figure = gallery_figure(replace(gallery(3), classes=names))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:COUNT] == ["cat", "a $mall dog_", "staffordshi…"]
    assert texts[COUNT:] == ["0.12", "0.40", "0.004"] * len(LAYERS)
    assert set(save(figure, "gallery", inputs="7")) == {"gallery.png", "gallery.svg"}


def test_a_missing_image_is_hatched() -> None:
    made = gallery(1)
    made.panels[0].layers[1].images[2] = np.nan
    axes = gallery_figure(made).axes[0]
    assert len(axes.images) == COUNT * 3 - 1
    assert [bool(patch.get_hatch()) for patch in axes.patches] == [True]


def test_inversions_of_other_images_are_refused() -> None:
    made = gallery(1)
    with pytest.raises(ValueError, match="pretrained, layer 1"):
        Gallery(made.originals[:2], made.panels)


def test_a_gallery_saves_without_a_warning() -> None:
    files = save(gallery_figure(gallery(3)), "gallery", inputs="7")
    assert set(files) == {"gallery.png", "gallery.svg"}
