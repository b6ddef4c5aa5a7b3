# SPDX-License-Identifier: Apache-2.0
"""Two processes that see half of the images each have the figures of all."""

import numpy as np
import pytest
import torch

from tests.loco_data import make_category

WORLD = 2


def fill(metrics, paths):
    from anomalib.data import ImageBatch

    for path in paths:
        random = np.random.default_rng(sum(map(ord, path)))
        anomaly_map = torch.from_numpy(random.random((1, 26, 34), dtype=np.float32))
        batch = ImageBatch(
            image=torch.zeros(1, 3, 26, 34),
            image_path=[path],
            gt_label=torch.tensor([int("/good/" not in path)]),
            anomaly_map=anomaly_map,
            pred_score=anomaly_map.flatten(1).amax(1),
        )
        for metric in metrics:
            metric.update(batch)
    return {name: float(value) for metric in metrics for name, value in metric.compute().items()}


def work(rank, paths, rendezvous, output):
    from anomalib_scdae.metrics import AUROCPerType, AUsPRO

    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=WORLD)
    metrics = [AUROCPerType(), AUsPRO()]
    own = paths[rank::WORLD]
    figures = fill(metrics, own)
    torch.save([figures, fill(metrics, [])], f"{output}{rank}.pt")  # a second time: nothing was counted twice
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path):
    from anomalib_scdae.metrics import AUROCPerType, AUsPRO

    category = make_category(tmp_path / "pushpins", shape=(26, 34))
    paths = [str(path) for path in sorted(category.glob("test/*/*"))]
    torch.multiprocessing.spawn(work, (paths, tmp_path / "rendezvous", str(tmp_path / "figures")), nprocs=WORLD)
    expected = fill([AUROCPerType(), AUsPRO()], paths)
    assert len(expected) == 3 + 15
    for rank in range(WORLD):
        first, second = torch.load(tmp_path / f"figures{rank}.pt", weights_only=True)
        assert first == pytest.approx(expected, abs=1e-6)
        assert second == first
