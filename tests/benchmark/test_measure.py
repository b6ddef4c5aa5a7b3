# SPDX-License-Identifier: Apache-2.0
"""Timing in turn, counting arithmetic, memory and environment."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from anomalib_scdae.benchmark.measure.arithmetic import count_macs, count_parameters, inference_macs
from anomalib_scdae.benchmark.measure.environment import environment, git_state
from anomalib_scdae.benchmark.measure.memory import peak_memory_mib
from anomalib_scdae.benchmark.measure.timing import interleave, quartiles, ratio, stopwatch
from anomalib_scdae.model.torch_model import SCDAEModel
from tests.benchmark.peaks import send_peaks


class FakeClock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_rounds_alternate_their_order_and_warm_up_does_not_count() -> None:
    calls: list[str] = []

    def measurement(name: str):
        def measure() -> float:
            calls.append(name)
            return float(len(calls))

        return measure

    timings = interleave({name: measurement(name) for name in "abc"}, repeats=3, warm_up=1)
    assert "".join(calls) == "abccbaabccba"
    assert timings.to_dict("list") == {"a": [6, 7, 12], "b": [5, 8, 11], "c": [4, 9, 10]}


@given(drift=st.lists(st.floats(0.1, 10), min_size=2, max_size=8), factor=st.floats(0.2, 5))
def test_drift_does_not_change_the_ratio(drift: list[float], factor: float) -> None:
    """A machine that is slower in some rounds is slower for both; pair by pair, that cancels."""
    seconds = pd.DataFrame({"a": [factor * speed for speed in drift], "b": list(drift)})
    assert np.allclose(list(ratio(seconds, "a", "b").values()), factor)


def test_quartiles_have_names() -> None:
    assert quartiles([5, 1, 2, 3, 4]) == {"median": 3, "q25": 2, "q75": 4}


def test_stopwatch_waits_for_the_accelerator_at_both_ends() -> None:
    clock = FakeClock()
    pending = [7.0]  # work of somebody else, which must not count

    def synchronised() -> float:
        clock.sleep(sum(pending))
        pending.clear()
        return clock()

    def launch() -> None:
        clock.sleep(1)
        pending.append(20)

    assert stopwatch(launch, synchronised)() == 21


def test_macs_of_a_convolution_and_its_gradients() -> None:
    convolution = nn.Conv2d(3, 8, 5, bias=False)
    images = torch.zeros(2, 3, 12, 10)
    expected = 2 * 8 * (8 * 6) * 3 * 25
    assert inference_macs(convolution, images) == expected
    # The gradient of the weights costs as much again; that of the images is not asked for.
    assert count_macs(lambda: convolution(images).sum().backward()) == 2 * expected


def test_what_is_done_once_is_not_counted() -> None:
    model = SCDAEModel(teacher_out_channels=8)
    images = torch.rand(1, 3, 256, 256)
    first = inference_macs(model, images)  # folds the weights
    assert inference_macs(model, images) == first


def test_parameters_trainable_and_not() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5).requires_grad_(requires_grad=False))
    assert count_parameters(model) == {"parameters": 16 + 25, "trainable_parameters": 16}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child may start with its parent's peak")
def test_a_childs_peak_is_its_own_and_stays() -> None:
    block = np.ones(1000 * 2**20, dtype=np.uint8)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=send_peaks, args=(sender,))
    process.start()
    assert receiver.poll(120)
    before, after, later = receiver.recv()
    process.join()
    assert before < 1000 < peak_memory_mib()["process"] + block[0]
    assert after >= before + 60
    assert later >= after - 1  # the kernel counts in batches


def test_environment_names_what_a_result_depends_on() -> None:
    found = environment()
    assert found["torch"] == torch.__version__
    assert found["cores"] >= 1
    assert found["processor"]
    assert {"anomalib", "openvino", "nncf", "platform", "accelerator", "git_commit", "git_dirty"} <= set(found)


def test_git_state_is_that_of_tracked_files_only(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        subprocess.run(command, check=True, capture_output=True)

    assert git_state(tmp_path) == (None, None)
    git("init")
    (tmp_path / "__init__.py").write_text("")
    assert git_state(tmp_path) == (None, None)  # an installation inside a checkout of something else
    git("add", ".")
    git("commit", "-m", "One")
    commit, dirty = git_state(tmp_path)
    assert commit
    assert len(commit) == 40
    assert dirty is False
    (tmp_path / "other.py").write_text("")
    assert git_state(tmp_path) == (commit, False)
    (tmp_path / "__init__.py").write_text("1")
    assert git_state(tmp_path) == (commit, True)
