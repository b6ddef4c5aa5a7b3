# SPDX-License-Identifier: Apache-2.0
"""The compiled training losses equal the plain ones, without a graph break."""

import pytest
import torch

from anomalib_scdae.errors import UserError
from anomalib_scdae.model.torch_model import SCDAEModel

pytestmark = pytest.mark.usefixtures("narrow_networks")


def test_compiled_losses_and_gradients_equal_plain_ones() -> None:
    torch.manual_seed(0)
    model = SCDAEModel(teacher_out_channels=4, identity_init=False)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0
    images, augmented, penalty = torch.rand(3, 1, 3, 256, 256)
    parameters = [p for p in model.parameters() if p.requires_grad]
    # The whole pipeline but the code generator, which takes minutes; fullgraph raises at a graph break.
    compiled = torch.compile(model.losses, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", enabled=False):
        plain, fast = model.losses(images, augmented, penalty), compiled(images, augmented, penalty)
    for name, value in plain.items():
        torch.testing.assert_close(fast[name], value)
    gradients = [torch.autograd.grad(sum(terms.values()), parameters) for terms in (fast, plain)]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_without_a_compiler_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(UserError, match="needs a C\\+\\+ compiler"):
        SCDAEModel(teacher_out_channels=4).compile_losses()


def test_compiled_losses_keep_the_papers_quantile() -> None:
    """Each other one would be compiled anew, for minutes."""
    model = SCDAEModel(teacher_out_channels=4).train()
    given = []
    model._compiled = lambda *arguments: given.append(arguments) or {}
    images = torch.rand(2, 1, 3, 256, 256)
    for quantile in (0.0, 0.999):
        model(*images, hard_quantile=quantile, augmented=False)
    assert [len(arguments) for arguments in given] == [4, 4]
