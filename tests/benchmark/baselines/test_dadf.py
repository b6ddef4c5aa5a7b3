# SPDX-License-Identifier: Apache-2.0
"""DADF's attention, its flows, and which of them learns when."""

from pathlib import Path

import pytest
import torch
from anomalib.pre_processing import PreProcessor
from lightning.pytorch import Callback
from torch.nn import functional as F

from anomalib_scdae.benchmark.baselines import Dadf
from anomalib_scdae.benchmark.baselines.dadf.transformer import DualAttention, DualAttentionTransformer
from anomalib_scdae.errors import UserError
from tests.benchmark.baselines.systems import SIDE, engine, loco, make

IMAGES = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def test_the_paper_has_256_tokens_of_three_times_480_in_8_blocks() -> None:
    with torch.device("meta"):
        transformer = DualAttentionTransformer((64, 128, 256), (4, 8, 16), (256, 256))
    assert transformer.memory.shape == transformer.places.shape == (1, 256, 3 * 480)
    assert [embedding.kernel_size for embedding in transformer.embeddings] == [(4, 4), (2, 2), (1, 1)]
    assert len(transformer.blocks) == 8
    assert transformer.blocks[0].attention.heads == 8


def test_both_attentions_are_to_the_same_keys_and_values() -> None:
    torch.manual_seed(0)
    attention, tokens, memory = DualAttention(8, 2), torch.randn(1, 5, 8), torch.randn(1, 4, 8)
    found, remembered = attention(tokens, memory)
    keys, values = attention.keys_and_values(tokens)[0].chunk(2, dim=1)
    for queries, output, result in (
        (attention.queries(tokens)[0], attention.output, found),
        (attention.memory_queries(memory)[0], attention.memory_output, remembered),
    ):
        heads = []
        for part in (slice(0, 4), slice(4, 8)):
            weights = torch.softmax(queries[:, part] @ keys[:, part].T / 4**0.5, dim=1)
            heads.append(weights @ values[:, part])
        torch.testing.assert_close(result[0], output(torch.cat(heads, dim=1)))


def test_a_token_is_a_patch_of_every_stage_at_its_place() -> None:
    torch.manual_seed(0)
    transformer = DualAttentionTransformer((4, 6, 8), (4, 8, 16), (32, 48), width=4, depth=0, heads=1)
    stages = [torch.randn(1, channels, 32 // stride, 48 // stride) for channels, stride in ((4, 4), (6, 8), (8, 16))]
    before, whole = transformer(stages)
    assert [found.shape for found in before] == [found.shape for found in whole] == [stage.shape for stage in stages]
    stages[0][:, :, 4:8, 8:12] += 1  # the patch of the second row and the third column
    after, unmoved = transformer(stages)
    for number, (first, second) in enumerate(zip(before, after, strict=True)):
        patch = 4 // 2**number
        changed = (first - second).abs().sum(dim=(0, 1)) > 0
        expected = torch.zeros_like(changed)
        expected[patch : 2 * patch, 2 * patch : 3 * patch] = True
        assert torch.equal(changed, expected)
    # Without a block, the memory has not seen the image.
    assert all(torch.equal(*pair) for pair in zip(whole, unmoved, strict=True))


def test_the_losses_are_squared_errors_of_both_reconstructions_and_the_flows_likelihood() -> None:
    model = make("Dadf").model
    stages = model.feature_extractor(IMAGES)
    local, whole = model.transformer(stages)
    pairs = [*zip(local, stages, strict=True), *zip(whole, stages, strict=True)]
    expected = sum((found - stage).square().mean() for found, stage in pairs)
    torch.testing.assert_close(model.reconstruction_loss(IMAGES), expected)
    numbers, negative = 0, torch.zeros(2)
    for flow, *parts in zip(model.flows, stages, local, whole, strict=True):
        hidden, jacobian = flow(torch.cat(parts, dim=1))
        negative = negative + 0.5 * hidden.square().sum(dim=(1, 2, 3)) - jacobian
        numbers += hidden[0].numel()
    torch.testing.assert_close(model.likelihood_loss(IMAGES), negative.mean() / numbers)


def test_the_map_is_the_mean_over_the_scales_of_the_negative_likelihood() -> None:
    model = make("Dadf").model.eval()
    with torch.no_grad():
        stages = model.feature_extractor(IMAGES)
        maps = []
        for flow, *parts in zip(model.flows, stages, *model.transformer(stages), strict=True):
            hidden, _ = flow(torch.cat(parts, dim=1))
            likelihood = torch.exp(-0.5 * hidden.square().mean(dim=1, keepdim=True))
            maps.append(F.interpolate(-likelihood, size=(SIDE, SIDE), mode="bilinear"))
        found = model(IMAGES)
    torch.testing.assert_close(found.anomaly_map, torch.stack(maps).mean(dim=0))
    torch.testing.assert_close(found.pred_score, found.anomaly_map.amax(dim=(1, 2, 3)))


def test_the_flows_learn_after_the_transformer_which_then_stays(loco_root: Path, tmp_path: Path) -> None:
    class Watch(Callback):
        """Which part has changed in each step."""

        def __init__(self) -> None:
            self.changed: list[tuple[bool, bool]] = []

        def on_train_batch_start(self, trainer, pl_module, *args) -> None:
            self.before = [self.state(part) for part in (pl_module.model.transformer, pl_module.model.flows)]

        def on_train_batch_end(self, trainer, pl_module, *args) -> None:
            after = [self.state(part) for part in (pl_module.model.transformer, pl_module.model.flows)]
            self.changed.append(tuple(not torch.equal(*pair) for pair in zip(self.before, after, strict=True)))

        def state(self, part: torch.nn.Module) -> torch.Tensor:
            return torch.cat([value.detach().flatten().clone() for value in part.parameters() if value.requires_grad])

    watch, model = Watch(), make("Dadf", visualizer=False, reconstruction_share=0.6)
    runner = engine(tmp_path, max_epochs=-1, max_steps=5, limit_val_batches=0)
    runner._cache.args["callbacks"].append(watch)
    runner.fit(model, datamodule=loco(loco_root))
    assert watch.changed == [(True, False)] * 3 + [(False, True)] * 2


def test_a_training_without_a_length_is_told(loco_root: Path, tmp_path: Path) -> None:
    model = make("Dadf", visualizer=False)
    with pytest.raises(UserError, match="needs to know its length"):
        engine(tmp_path, max_epochs=-1, max_time="00:00:01:00").fit(model, datamodule=loco(loco_root))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"heads": 7}, "cannot be shared among 7 heads"),
        ({"reconstruction_share": 1.0}, "reconstruction_share must be between 0 and 1"),
        ({"depth": 0}, "depth must be 1 or more"),
    ],
)
def test_options_that_make_no_sense_are_told(arguments: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make("Dadf", **arguments)


def test_images_without_one_size_are_told() -> None:
    with pytest.raises(UserError, match="need images of one size"):
        Dadf(backbone="resnet18", pre_trained=False, pre_processor=PreProcessor())
