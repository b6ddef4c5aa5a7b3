# SPDX-License-Identifier: Apache-2.0
"""Train SCDAE on a folder of your own images, export it to OpenVINO and inspect images with the export.

    python examples/train_and_export.py FOLDER --steps 2000

FOLDER/good holds normal images. If there are some with anomalies, name their folder too: --abnormal bad
"""

from pathlib import Path

from anomalib.data import Folder
from anomalib.deploy import ExportType, OpenVINOInferencer
from anomalib.engine import Engine
from jsonargparse import auto_cli

from anomalib_scdae import SCDAE


def main(
    folder: Path,
    *,
    normal: str = "good",
    abnormal: str | None = None,
    steps: int = 2000,
    image_size: int | list[int] = 256,
    teacher: str = "auto",
    output: Path = Path("results"),
) -> None:
    """Train, test, export and inspect.

    Args:
        folder: Folder of the images.
        normal: Its sub-folder with normal images.
        abnormal: Its sub-folder with abnormal ones, if there is one.
        steps: Training steps of one image. (The paper's schedule, which makes less of few, takes 70 000.)
        image_size: Size that the images are resized to: one number, or height and width.
        teacher: auto, efficientad, bundled or a path.
        output: Where results go.
    """
    data = Folder(
        name=folder.name,
        root=folder,
        normal_dir=normal,
        abnormal_dir=abnormal,
        train_batch_size=1,
        num_workers=0,
        seed=1,  # a later test draws the same images
    )
    model = SCDAE(schedule="fast", image_size=image_size, teacher=teacher)
    engine = Engine(max_steps=steps, default_root_dir=output)
    engine.train(model, datamodule=data)

    path = engine.export(model, ExportType.OPENVINO, export_root=output)
    print("Exported to", path)

    # Images of any size go in; the exported model resizes them itself. OpenVINO would compute in bf16 where the
    # processor has it, and then scores differ from PyTorch's in the third digit.
    inferencer = OpenVINOInferencer(path, device="CPU", config={"INFERENCE_PRECISION_HINT": "f32"})
    for image in sorted((folder / (abnormal or normal)).iterdir())[:5]:
        prediction = inferencer.predict(image)
        print(f"{image.name}: score {prediction.pred_score.item():.3f} (anomalous from 0.5 on)")


if __name__ == "__main__":
    auto_cli(main)
