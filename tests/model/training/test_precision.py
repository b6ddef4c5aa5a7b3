# SPDX-License-Identifier: Apache-2.0
"""bf16 where it is faster, float32 elsewhere."""

from pathlib import Path

import pytest
import torch
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine

from anomalib_scdae import SCDAE, FasterPrecision
from anomalib_scdae.model.training import precision

CPU = torch.device("cpu")


def _trained(loco_root: Path, folder: Path, arguments: dict, **trainer: object) -> dict[str, torch.Tensor]:
    """The state after two steps from the same seed."""
    torch.manual_seed(0)
    model = SCDAE(**arguments)
    engine = Engine(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        max_steps=2,
        limit_val_batches=1,
        **trainer,
    )
    engine.fit(model, datamodule=MVTecLOCO(root=loco_root, category="part", train_batch_size=1, num_workers=0))
    return model.state_dict()


@pytest.mark.usefixtures("narrow_networks")
@pytest.mark.parametrize(("speed", "chosen"), [(1.3, "bf16-mixed"), (0.7, "32-true")])
def test_a_training_equals_one_in_the_faster_precision(
    loco_root: Path,
    model_arguments: dict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    speed: float,
    chosen: str,
) -> None:
    monkeypatch.setattr(precision, "bf16_speed", lambda _device: speed)
    ours = _trained(loco_root, tmp_path, model_arguments, plugins=[FasterPrecision()])
    torch.testing.assert_close(ours, _trained(loco_root, tmp_path, model_arguments, precision=chosen), rtol=0, atol=0)
    other = {"bf16-mixed": "32-true", "32-true": "bf16-mixed"}[chosen]
    theirs = _trained(loco_root, tmp_path, model_arguments, precision=other)
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


class TestMeasuring:
    """The measurement behind the choice."""

    @pytest.mark.parametrize(("seconds", "speed"), [((2.0, 1.0), 2.0), ((1.0, 4.0), 0.25)])
    def test_it_is_float32s_time_by_that_of_bf16(
        self, monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], speed: float
    ) -> None:
        monkeypatch.setattr(precision, "_seconds", lambda *_inputs, bf16: seconds[bf16])
        assert precision.bf16_speed(CPU) == speed

    def test_a_device_that_cannot_is_not_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_inputs: object, bf16: bool) -> float:
            if bf16:
                raise RuntimeError("no bf16")
            return 1.0

        monkeypatch.setattr(precision, "_seconds", refuse)
        assert precision.bf16_speed(CPU) == 0

    def test_a_slow_device_is_not_asked_for_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []
        clock = iter(range(100))
        monkeypatch.setattr(precision, "perf_counter", lambda: next(clock))
        monkeypatch.setattr(precision, "_seconds", lambda *_inputs, bf16: asked.append(bf16) or 1.0 + bf16)
        assert precision.bf16_speed(CPU) == 0.5
        assert len(asked) == 2 + 2  # to warm up, and one pair

    def test_a_gpu_is_asked_what_it_can_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for can in (True, False):
            monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, can=can: can)
            assert precision.bf16_is_faster(torch.device("cuda")) is can

    def test_it_draws_no_random_numbers(self) -> None:
        state = torch.get_rng_state()
        assert precision.bf16_speed(CPU) > 0
        assert torch.equal(torch.get_rng_state(), state)

    def test_it_measures_within_inference(self) -> None:
        with torch.no_grad():
            assert precision.bf16_speed(CPU) > 0
