"""Predictions and metamers of a job: tables beside the results, checked by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from stir_ray.catalog.inspection import resolve
from stir_ray.identity import Artifact
from stir_ray.job import Job
from stir_ray.lake.parquet import images_of, open_lake
from stir_ray.lake.schemas import IMAGES, INVERSIONS
from stir_ray.measures.metamers import METAMERS
from stir_ray.measures.predictions import PREDICTIONS
from stir_ray.numerics.similarity import are_metamers, null_maximum, representation_similarity
from stir_ray.plan.measurement import Comparison, Inversion, Invert, MeasurementSpec
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import Checkpoint
from stir_ray.results.study_reader import read_study
from stir_ray.worker.context import WorkerContext
from stir_ray.worker.dispatch import WorkerSettings
from tests.measures.conftest import read
from tests.plan.examples import FINETUNED, STUDY
from tests.plan.test_cost import COMPARE, INVERT, SCALE
from tests.small_job import COUNT, EPOCHS, LAYERS, SEEDS


def with_measures(spec: MeasurementSpec, *names: str) -> MeasurementSpec:
    """The same with further measures."""
    return replace(spec, measures=(*spec.measures, *((name, None) for name in names)))


@pytest.fixture
def ctx(done: Job) -> WorkerContext:
    """A worker at its lake."""
    return WorkerContext(WorkerSettings(done.lake, done.name, None, 0.0), threads=1)


def predictions(study: Study, layer: int, seed: int, target: Checkpoint) -> Artifact:
    """The artifact of a target that is shown inversions of the pretrained model."""
    comparison = Comparison(study.spec, study.pretrained, layer, seed, target)
    return next(each.artifact for each in comparison.measurements if each.name == "predictions")


def metamers(study: Study, layer: int, seed: int) -> Artifact:
    """The artifact of an inversion of the pretrained model."""
    inversion = Invert(study.spec, study.pretrained, layer, seed, (), None)
    return next(each.artifact for each in inversion.measurements if each.name == "metamers")


def test_every_inversion_seen_by_a_classifier_has_a_share(done: Job) -> None:
    rows = read(done, "unchanged_predictions")
    assert len(rows) == (EPOCHS + 2) * 4 * SEEDS * LAYERS
    assert set(rows["images"]) == {COUNT}
    for name in ("unchanged", "chance_unchanged", "noise_unchanged"):
        assert rows[name].between(0, 1).all()
    means = rows[rows["direction"].isin(["pt|pt", "ft|ft"])].mean(numeric_only=True)
    assert means["unchanged"] > means["noise_unchanged"]


def test_of_models_with_equal_blocks_each_looks_with_its_own_classifier(
    done: Job, ctx: WorkerContext
) -> None:
    study = read_study(resolve(done), ctx.lake)
    epoch_0 = study.compared["finetuned"][0]
    assert epoch_0.weights == study.pretrained.weights
    place = 2, study.seeds[0]
    of_pretrained, of_epoch_0 = (
        ctx.lake.read(PREDICTIONS.table, predictions(study, *place, target).id)
        for target in (study.pretrained, epoch_0)
    )
    assert of_pretrained["image_id"] == of_epoch_0["image_id"]
    model = ctx.models.whole(epoch_0, "classification")
    with torch.no_grad():
        real = ctx.image_set(study.spec).images
        classes = model.module(model.normalized(real)).argmax(1)
    assert of_epoch_0["class_of_image"].to_pylist() == classes.tolist()


def test_the_noise_that_is_classified_is_an_image(done: Job, ctx: WorkerContext) -> None:
    study = read_study(resolve(done), ctx.lake)
    target, seed = study.compared["finetuned"][-1], study.seeds[0]
    model = ctx.models.whole(target, "classification")
    starts = ctx.initial_images(study.spec, seed)
    with torch.no_grad():
        clipped, as_drawn = (
            model.module(model.normalized(some)).argmax(1) for some in (starts.clamp(0, 1), starts)
        )
    assert clipped.tolist() != as_drawn.tolist()
    stored = ctx.lake.read(PREDICTIONS.table, predictions(study, 2, seed, target).id)
    assert stored["class_of_noise"].to_pylist() == clipped.tolist()


def test_the_share_is_that_of_the_models_own_classifier(done: Job, ctx: WorkerContext) -> None:
    study = read_study(resolve(done), ctx.lake)
    target = study.compared["finetuned"][-1]
    layer, seed = 2, study.seeds[-1]
    part = Inversion(study.spec, study.pretrained, layer, seed).images()
    inverted = torch.from_numpy(images_of(ctx.lake.read(IMAGES, part.id)).astype(np.float32))
    real = ctx.image_set(study.spec).images
    model = ctx.models.whole(target, "classification")
    with torch.no_grad():
        classes = [model.module(model.normalized(some)).argmax(1) for some in (real, inverted)]
    assert classes[0].unique().numel() > 1
    rows = read(done, "unchanged_predictions").query(
        "model == 'finetuned' and epoch == @target.epoch and direction == 'ft|pt' "
        "and seed == @seed and reference_layer == @layer"
    )
    assert rows["unchanged"].item() == pytest.approx(
        float((classes[0] == classes[1]).double().mean())
    )
    chance = sum(
        float((classes[0] == one).double().mean() * (classes[1] == one).double().mean())
        for one in range(3)
    )
    assert rows["chance_unchanged"].item() == pytest.approx(chance)


def test_metamers_are_those_of_the_inverted_layer(done: Job, ctx: WorkerContext) -> None:
    study = read_study(resolve(done), ctx.lake)
    layer, seed = 3, study.seeds[0]
    part = Inversion(study.spec, study.pretrained, layer, seed).images()
    inverted = torch.from_numpy(images_of(ctx.lake.read(IMAGES, part.id)).astype(np.float32))
    module = ctx.models.frozen(study.pretrained)
    real = ctx.image_set(study.spec).images
    with torch.no_grad():
        one, other = (
            _tokens(module.module, module.normalized(some), layer) for some in (real, inverted)
        )
    found, null = representation_similarity(one, other), null_maximum(one)
    stored = ctx.lake.read(METAMERS.table, metamers(study, layer, seed).id)
    for name in ("pearson", "spearman", "snr_db"):
        np.testing.assert_allclose(stored[name].to_numpy(), getattr(found, name), rtol=1e-5)
        np.testing.assert_allclose(
            stored[f"null_{name}"].to_numpy(), getattr(null, name), rtol=1e-5
        )
    assert stored["is_metamer"].to_pylist() == are_metamers(found, null).tolist()
    rows = read(done, "metamer_counts")
    counts = rows.query("model == 'pretrained' and seed == @seed and reference_layer == @layer")
    assert counts["metamers"].item() == int(are_metamers(found, null).sum())


def _tokens(module: torch.nn.Module, images: torch.Tensor, layer: int) -> torch.Tensor:
    ((patches, prefix),) = module.forward_intermediates(  # pyright: ignore[reportCallIssue]
        images,
        indices=[layer - 1],
        return_prefix_tokens=True,
        output_fmt="NLC",
        intermediates_only=True,
    )
    return torch.cat([prefix, patches], dim=1).flatten(1)


def test_the_stored_ratio_is_the_stored_residual_in_decibels(done: Job) -> None:
    lake = open_lake(done.lake)
    key = ["reference", "reference_layer", "seed", "image_id"]
    metamers, inversions = (
        pd.concat(one.to_pandas() for one in lake.read_artifacts(schema, lake.stored(schema)))
        for schema in (METAMERS.table, INVERSIONS)
    )
    both = metamers.merge(inversions, on=key, validate="one_to_one")
    assert len(both) == COUNT * SEEDS * LAYERS * (1 + EPOCHS + 1)
    np.testing.assert_allclose(both["snr_db"], -20 * np.log10(both["residual"]), atol=1e-3)


def test_models_without_a_classifier_predict_nothing() -> None:
    asking = replace(STUDY, spec=with_measures(STUDY.spec, "predictions"))
    tables = {part.table for task in asking.inversions() for part in task.outputs}
    assert "predictions" not in tables
    classifiers = tuple(replace(one, has_classifier=True) for one in FINETUNED)
    some = replace(asking, compared={"finetuned": classifiers})
    for task in (*some.inversions(), *some.comparisons()):
        predicting = [one for one in task.comparisons if one.measurements]
        assert all(one.target.role == "finetuned" for one in predicting)
        assert sum(part.table == "predictions" for part in task.outputs) == len(predicting)


def test_they_cost_a_look_each() -> None:
    spec = with_measures(STUDY.spec, "predictions", "metamers")
    target = replace(FINETUNED[0], has_classifier=True)
    invert = replace(INVERT, spec=spec, targets=(target, *INVERT.targets[1:]))
    # 7 images: one forward pass to the end, two to layer 2.
    assert invert.cost(SCALE).flops - INVERT.cost(SCALE).flops == 7 * (60 + 2 * 10)
    compare = replace(COMPARE, spec=spec, target=target)
    assert compare.cost(SCALE).flops - COMPARE.cost(SCALE).flops == 5 * 7 * 60
