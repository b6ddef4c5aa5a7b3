# SPDX-License-Identifier: Apache-2.0
"""The ``distill`` command: makes a teacher from a pretrained backbone and a folder of photographs."""

import datetime as dt
import hashlib
import inspect
import json
import math
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from anomalib_scdae import __version__
from anomalib_scdae.distill.backbone import FeatureTargets
from anomalib_scdae.distill.card import Card, write_curve
from anomalib_scdae.distill.dataset import (
    SMALLEST_CROP,
    STRIDE,
    TEACHER_SIZE,
    RollingCache,
    holds_views,
    split_images,
)
from anomalib_scdae.distill.training import Distillation, DistillationOptions, Validation, write_weights
from anomalib_scdae.errors import UserError
from anomalib_scdae.files import sha256_of
from anomalib_scdae.image_files import check_image, in_threads
from anomalib_scdae.inputs.pdn import ModelSize

Triple = tuple[float, float, float]


def distill(
    images: Path,
    backbone: str,
    output: Path,
    *,
    size: ModelSize = "small",
    steps: int = 20_000,
    resume: bool = False,
    backbone_weights: Path | None = None,
    backbone_mean: Triple | None = None,
    backbone_std: Triple | None = None,
    layers: list[str] | None = None,
    out_channels: int = 384,
    batch: int = 16,
    crop: int = 128,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-5,
    average: float = 0.999,
    validation_images: int = 40,
    validate_every: int = 250,
    cache: Path | None = None,
    cache_views: int = 960,
    fresh_views: int = 1,
    precision: Literal["auto", "bf16", "fp32"] = "auto",
    device: str = "auto",
    compile: bool = False,  # noqa: A002 (the option's usual name)
    seed: int = 0,
    name: str | None = None,
    licences: str = "not stated",
) -> None:
    """Distil a teacher (a patch description network) from a pretrained backbone.

    Args:
        images: Folder of photographs of all kinds, such as ImageNet's; subfolders are searched too.
        backbone: Name of a timm model; the EfficientAD paper's is wide_resnet101_2.
        output: The teacher to write, with suffix .safetensors. Card (.json), learning curve (.csv, .png) and
            checkpoint (.checkpoint) appear beside it and are brought up to date at every validation.
        size: Size of the network.
        steps: Length of the training; may be changed when resuming.
        resume: Continue from the checkpoint beside the output; without one, start.
        backbone_weights: Local file with the backbone's weights, .safetensors or a PyTorch state dict, matched by
            name or else by order and shape. Without it timm downloads its own.
        backbone_mean: Per-channel mean of images in [0, 1] that the weights expect; by default timm's note.
        backbone_std: Likewise the standard deviation.
        layers: Modules of the backbone to learn from; by default those of stride 8 and 16, layer2 and layer3 in a
            ResNet.
        out_channels: Channels of the teacher; models expect 384.
        batch: Crops a step.
        crop: Side of a crop in pixels, a multiple of 4 from 36 to 256; 256 is a whole photograph.
        learning_rate: Highest rate: 2 % of the steps lead up to it, from half of the steps on it falls to zero.
        weight_decay: Of the convolutions.
        average: Decay of the running average of the weights, which is what is written.
        validation_images: Number of photographs held out for validation.
        validate_every: Steps between validations, each of which also writes everything.
        cache: Folder for views with their features, 3.3 MB each; by default beside the output. Removed at the end.
        cache_views: Number of views kept; a multiple of fresh_views, at least one batch.
        fresh_views: Views replaced by new ones in a step. More of them cost time and hold off overfitting.
        precision: Of the training's convolutions; auto is bf16 where the processor has instructions for it.
        device: cpu, cuda, cuda:1, ...; auto takes a GPU if there is one.
        compile: Compile the training's passes with torch.compile, which needs a C++ compiler on a CPU and saves a
            third of a step's time there.
        seed: Of the split, the start, views and batches.
        name: Of the teacher on its card; by default the output's.
        licences: Licences of the backbone's weights and of the images, for the card.
    """
    options = dict(locals())
    console = Console()
    _check(options)
    files = _Files(output)
    files.check(resume, cache or files.cache)
    target = _device(device)
    training, held_out = split_images(images, validation_images, seed)
    in_threads(check_image, held_out)  # one that cannot be read is told now, not after the features of hundreds
    features = FeatureTargets(
        backbone, backbone_weights, layers=layers, mean=backbone_mean, std=backbone_std, out_channels=out_channels
    ).to(target)
    provenance = {
        "name": name or output.stem,
        "size": size,
        "out_channels": out_channels,
        "backbone": backbone,
        "layers": features.description,
        "backbone_weights": features.source,
        "backbone_sha256": sha256_of(backbone_weights) if backbone_weights else "",
        "licences": licences,
        "images": f"{images.resolve().name}: {len(training)} for training, {len(held_out)} held out",
        "command": _command(options),
        "version": __version__,
        "versions": ", ".join(f"{package} {version(package)}" for package in ("anomalib", "torch", "timm")),
    }
    names = [str(path.relative_to(images)) for path in training]
    mean_and_std = [features.mean.flatten().tolist(), features.std.flatten().tolist()]
    data = _digest(names, mean_and_std, *(provenance[key] for key in ("backbone", "layers", "backbone_sha256")))
    folder = cache or files.cache
    _check_space(folder, cache_views, out_channels)
    output.parent.mkdir(parents=True, exist_ok=True)
    rolling = RollingCache(
        folder,
        training,
        features,
        channels=out_channels,
        capacity=cache_views,
        fresh=fresh_views,
        seed=seed,
        identity=data,
    )
    shared = {field.name: options[field.name] for field in fields(DistillationOptions) if field.name in options}
    run_options = DistillationOptions(**shared, data=data, bf16=_use_bf16(precision, target))
    run = Distillation(run_options, rolling, target, compile)
    if resume and files.checkpoint.is_file():
        run.load(files.checkpoint)
        console.print(f"Resuming after {run.done} of {steps} steps.")
    if run.done >= steps:
        msg = f"{output} has had its {run.done} steps: give more --steps to go on."
        raise UserError(msg)
    with _progress(console) as progress:
        _fill(rolling, run.done, progress)
        if run.done == 0:
            run.normalise_targets()
        validation = Validation(held_out, features, run.mean, run.std, target)
        _train(run, validation, validate_every, progress, write=lambda: files.write(run, provenance))
    rolling.remove()
    console.print(
        f"{output}: validation MSE {run.curve[-1][1]:.4f} on {len(held_out)} photographs after {steps} steps."
    )


@dataclass(frozen=True)
class _Files:
    """What appears beside the output."""

    output: Path

    @property
    def checkpoint(self) -> Path:
        return self.output.with_suffix(".checkpoint")

    @property
    def cache(self) -> Path:
        return self.output.with_suffix(".cache")

    @property
    def card(self) -> Path:
        return self.output.with_suffix(".json")

    def check(self, resume: bool, cache: Path) -> None:
        """Refuse to overwrite what hours were spent on; ``cache`` holds views as long as a run is not finished."""
        if self.output.suffix != ".safetensors":
            msg = f"--output {self.output} must end in .safetensors."
            raise UserError(msg)
        if self.checkpoint.exists():
            if not resume:
                msg = f"{self.checkpoint} exists already: continue it with --resume, or choose another --output."
                raise UserError(msg)
        elif self.output.exists() and not (resume and holds_views(cache)):  # left by a kill in the first writing
            msg = f"{self.output} exists already, without a checkpoint to go on from: choose another --output."
            raise UserError(msg)

    def write(self, run: Distillation, provenance: dict[str, Any]) -> None:
        """Write weights, card, curve and, last, the checkpoint: what a kill leaves undone is done again on resuming."""
        error = run.curve[-1][1]
        notes = {key: provenance[key] for key in ("size", "out_channels", "backbone", "layers", "version")}
        write_weights(run.exported(), self.output, notes | {"validation_mse": round(error, 4), "steps": run.done})
        now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
        Card(**provenance, sha256=sha256_of(self.output), validation_mse=error, created=now, curve=run.curve).write(
            self.card
        )
        write_curve(run.curve, self.output)
        run.save(self.checkpoint)


def _check(options: dict[str, Any]) -> None:
    """Refuse numbers that would fail later."""
    for key in ("steps", "batch", "out_channels", "validation_images", "validate_every", "fresh_views"):
        if options[key] < 1:
            msg = f"--{key} must be at least 1, not {options[key]}."
            raise UserError(msg)
    if not 0 <= options["average"] < 1:
        msg = f"--average must be at least 0 and less than 1, not {options['average']}."
        raise UserError(msg)
    if options["learning_rate"] <= 0 or options["weight_decay"] < 0:
        msg = (
            "--learning_rate must be more than 0 and --weight_decay at least 0; they are "
            f"{options['learning_rate']} and {options['weight_decay']}."
        )
        raise UserError(msg)
    crop, views, fresh = options["crop"], options["cache_views"], options["fresh_views"]
    if not SMALLEST_CROP <= crop <= TEACHER_SIZE or crop % STRIDE:
        msg = f"--crop must be a multiple of {STRIDE} from {SMALLEST_CROP} to {TEACHER_SIZE}, not {crop}."
        raise UserError(msg)
    if views < fresh or views % fresh:
        msg = f"--cache_views must be a multiple of --fresh_views, which {views} is not of {fresh}."
        raise UserError(msg)


def _device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:
        msg = f"The device {device} cannot be used: choose cpu, or install a PyTorch that knows it."
        raise UserError(msg) from error


def _use_bf16(precision: str, device: torch.device) -> bool:
    """Choose bf16 where it is fast; a processor without instructions for it emulates it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return device.type == "cpu" and any(capabilities.get(key, False) for key in ("amx_bf16", "avx512_bf16", "bf16"))


def _check_space(folder: Path, views: int, channels: int) -> None:
    """Refuse a cache that does not fit on the disk; a full one would stop the run with a bus error."""
    needed = views * ((TEACHER_SIZE // STRIDE) ** 2 * channels * 2 + TEACHER_SIZE**2 * 3)
    present = sum(path.stat().st_size for path in folder.iterdir()) if folder.is_dir() else 0
    free = shutil.disk_usage(next(place for place in (folder, *folder.absolute().parents) if place.exists())).free
    if needed - present > free:
        msg = (
            f"{folder} needs {needed / 1e9:.1f} GB for {views} views but {free / 1e9:.1f} GB are free: "
            "lower --cache_views, or choose another --cache."
        )
        raise UserError(msg)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _command(options: dict[str, Any]) -> str:
    """Write the call as a command line, for the card: what differs from the defaults, paths without their folders."""
    words = ["anomalib-scdae", "distill"]
    for key, parameter in inspect.signature(distill).parameters.items():
        value = options[key]
        if value != parameter.default and key not in {"resume", "cache", "device", "compile", "licences", "name"}:
            text = value.name if isinstance(value, Path) else str(list(value) if isinstance(value, tuple) else value)
            words += [f"--{key}", shlex.quote(text)]
    return " ".join(words)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=120,
    )


def _fill(cache: RollingCache, step: int, progress: Progress) -> None:
    task = progress.add_task("views", total=cache.capacity, note="features of the backbone")
    for done in cache.prepare(step):
        progress.update(task, completed=done)


def _train(
    run: Distillation, validation: Validation, validate_every: int, progress: Progress, write: Callable[[], None]
) -> None:
    """Train to the end; validate, and write everything, every so many steps."""
    steps = run.options.steps
    task = progress.add_task("steps", total=steps, completed=run.done, note="")
    average = math.nan
    while run.done < steps:
        loss = run.step().item()
        average = loss if math.isnan(average) else 0.98 * average + 0.02 * loss
        if not math.isfinite(loss):
            msg = f"The loss is not finite after {run.done} steps: choose a lower --learning_rate."
            raise UserError(msg)
        _show(progress, task, run, average)
        if run.done % validate_every == 0 or run.done == steps:
            error = run.validate(validation)
            write()
            progress.console.print(f"step {run.done}: loss {average:.4f}, validation MSE {error:.4f}")


def _show(progress: Progress, task: TaskID, run: Distillation, loss: float) -> None:
    speed = progress.tasks[task].speed
    throughput = f", {speed * run.options.batch:.1f} crops/s" if speed else ""
    progress.update(task, completed=run.done, note=f"loss {loss:.4f}{throughput}")
