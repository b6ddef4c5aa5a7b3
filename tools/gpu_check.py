# SPDX-License-Identifier: Apache-2.0
"""All that only a GPU can tell, in at most nine minutes on one: tests, speed, and a training by the paper's recipe.

    python tools/gpu_check.py --output results/gpu
    python tools/gpu_check.py --output results/gpu --data ./datasets/MVTec_LOCO --category breakfast_box

From a checkout, with `pip install -e ".[dev]"`. The parts, each with processes, time and log of its own:

    tests      those that need a GPU (mixed precision, compile, channels last, export)
    data       renders a category of SyntheticLOCO, unless --data names MVTec LOCO AD
    speed      `anomalib-scdae benchmark --what speed`
    steps      steps per second of SCDAE, plain and compiled, and of EfficientAD
    training   configs/study_gpu.yaml: both models with as many steps as the rest of the time has room for, 70,000 at
               most, and their tests

A part that fails or takes too long is told and costs the others nothing; summary.json is written after each. --reduced
does the same with next to no data, also on a CPU, to see that it works.
"""

import json
import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "study_gpu.yaml"
#: Which share of the time each part may take before it is ended; the training has what is left.
SHARES = {"tests": 0.2, "data": 0.1, "speed": 0.2, "steps": 0.2}
#: The paper's training length.
STEPS = 70_000
#: Seconds that a cell takes beside its training: imports, set-up, test, pictures.
OTHER_SECONDS = 45.0
#: Share of the training's time that the estimate of its steps uses; speed varies, and validations count too.
CAREFUL = 0.75
#: Rows of the parts `steps` and `training` that are trained.
SCDAE, COMPILED, EFFICIENTAD = "SCDAE", "SCDAE, compiled", "EfficientAd (mended)"
#: Numbers of images where only the working is seen to.
FEW = {
    "train_images": 6, "validation_images": 2, "good_images": 1, "logical_images": 1, "structural_images": 1,
    "long_side": 256,
}  # fmt: skip


@dataclass
class Check:
    """The run: its time, its folder and what has been found.

    Attributes:
        output: The folder.
        data: Root of MVTec LOCO AD; none for SyntheticLOCO.
        category: The category to train on.
        reduced: Whether only the working is seen to.
        end: When all must be over, in seconds of the clock :func:`time.monotonic`.
        minutes: Length of the whole run.
        parts: What is known of each part.
    """

    output: Path
    data: Path | None
    category: str
    reduced: bool
    minutes: float
    end: float
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.end - time.monotonic()

    def run(self, name: str, part: Callable[[], dict[str, Any]]) -> None:
        """Run a part, and tell and write what came of it, whatever that is."""
        begin = time.monotonic()
        print(f"== {name} ({self.left:.0f} s left)", flush=True)
        try:
            found = part()
        except Exception as error:  # noqa: BLE001 - the other parts must run
            found = {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        self.parts[name] = {**found, "seconds": round(time.monotonic() - begin, 1)}
        print(yaml.safe_dump(self.parts[name], sort_keys=False, allow_unicode=True), flush=True)
        temporary = self.output / "summary.json.part"
        temporary.write_text(json.dumps(self.parts, indent=1), encoding="utf-8")
        temporary.replace(self.output / "summary.json")

    def call(self, name: str, *command: str, **environment: str) -> dict[str, Any]:
        """Run a command with the part's share of the time, and give its status and its last lines."""
        share = SHARES.get(name)
        limit = self.left if share is None else min(self.left, share * 60 * self.minutes)
        log = self.output / f"{name}.log"
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with log.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, *command],
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": path, **environment},
                start_new_session=True,
            )
            try:
                code = process.wait(max(1.0, limit))
            except subprocess.TimeoutExpired:
                code = None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        lines = log.read_text(errors="replace").strip().splitlines()
        status = "too slow" if code is None else "failed" if code else "done"
        return {"status": status, "last": lines[-1] if lines else "", "log": log.name}

    def benchmark(self, name: str, *options: str) -> dict[str, Any]:
        """Run ``anomalib-scdae benchmark`` into a folder of the part's name."""
        main = "import sys; from anomalib_scdae.cli import main; sys.exit(main())"
        return self.call(name, "-c", main, "benchmark", "--output", str(self.output / name), *options)

    # -- the parts --------------------------------------------------------------------------------------------------

    def tests(self) -> dict[str, Any]:
        """Run the tests that need a GPU."""
        few = ["-k", "layout"] if self.reduced else []
        device = {"SCDAE_TEST_DEVICE": "cpu"} if self.reduced else {}
        return self.call("tests", "-m", "pytest", "-n", "0", "-q", "-m", "cuda", *few, "tests/test_cuda.py", **device)

    def render(self) -> dict[str, Any]:
        """Render the category to train on."""
        arguments = {**self.datasets(self.reduced)[0]["init_args"], "category": self.category}
        imports = "import sys, json; from anomalib_scdae.data import SyntheticLOCO"
        render = "SyntheticLOCO(**json.loads(sys.argv[1])).prepare_data()"
        return self.call("data", "-c", f"{imports}; {render}", json.dumps(arguments))

    def speed(self) -> dict[str, Any]:
        """Measure speed as ratios to EfficientAD; what is measured when the time is up stays."""
        found = self.benchmark("speed", "--what", "speed")
        file = self.output / "speed" / "speed.json"
        ratios = json.loads(file.read_text()) if file.exists() else {}
        return {**found, "ratios": {name: round(value, 3) for name, value in ratios.items() if value is not None}}

    def steps(self) -> dict[str, Any]:
        """Measure steps per second with few images; the compiled ones come last, since compiling takes a while."""
        rows = [
            {"name": SCDAE, "class_path": "SCDAE"},
            {"name": EFFICIENTAD, "class_path": "EfficientAdMended", "init_args": {"channels_last": True}},
            {"name": "SCDAE, float32", "class_path": "SCDAE", "trainer": {"precision": "32-true"}},
            {"name": COMPILED, "class_path": "SCDAE", "init_args": {"compile": True}},
        ]
        if self.reduced:
            rows = rows[:2]
        data = {"class_path": "SyntheticLOCO", "init_args": {**FEW, "root": str(self.output / "few")}}
        given = {
            "models": [{**row, "latency": False} for row in rows],
            "datasets": [{**data, "categories": ["pushpins"]}],
            "trainer.max_steps": 2 if self.reduced else 400,
        }
        found = self.benchmark("steps", *self.options(given), "--headline", SCDAE, "--baseline", EFFICIENTAD)
        return {**found, "steps_per_second": self.figures("steps", lambda cell: cell["training"]["steps_per_second"])}

    def training(self) -> dict[str, Any]:
        """Train and test both models, with the steps that there is time for."""
        rates = self.parts.get("steps", {}).get("steps_per_second", {})
        time_for_steps = max(1.0, self.left - 3 * OTHER_SECONDS)
        given: dict[str, Any] = {"datasets": self.datasets(self.reduced)}
        if {SCDAE, EFFICIENTAD} <= rates.keys():
            pair = 1 / rates[SCDAE] + 1 / rates[EFFICIENTAD]
            given["trainer.max_steps"] = max(1, min(STEPS, int(CAREFUL * time_for_steps / pair)))
        else:
            minutes, seconds = divmod(int(time_for_steps / 2), 60)
            given["trainer.max_time"] = f"00:00:{minutes:02}:{seconds:02}"
        if self.reduced:
            given["trainer.max_steps"] = 1
        found = self.benchmark("training", *self.options(given))
        return {
            **found,
            "steps": self.figures("training", lambda cell: cell["training"]["steps"]),
            "image_auroc": self.figures("training", lambda cell: cell["accuracy"]["image_auroc"]),
        }

    # -- what they need ---------------------------------------------------------------------------------------------

    def datasets(self, few: bool) -> list[dict[str, Any]]:
        """Return the data to train on."""
        common = {"train_batch_size": 1, "eval_batch_size": 8, "num_workers": 0 if self.reduced else 4}
        if self.data is not None:
            init_args = {"root": str(self.data), **common}
            return [{"class_path": "MVTecLOCO", "init_args": init_args, "categories": [self.category]}]
        init_args = {"root": str(self.output / "datasets"), **common, **(FEW if few else {})}
        return [{"class_path": "SyntheticLOCO", "init_args": init_args, "categories": [self.category]}]

    def options(self, given: dict[str, Any]) -> list[str]:
        """Return the command line for study_gpu.yaml with what is ``given`` in place of its own."""
        values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
        return ["--config", str(CONFIG), *(part for name, value in values.items() for part in (f"--{name}", value))]

    def figures(self, part: str, figure: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Return a figure of each finished cell of a part, by row."""
        file = self.output / part / "results.json"
        cells = json.loads(file.read_text())["cells"] if file.exists() else []
        return {cell["row"]: figure(cell) for cell in cells if cell["status"] == "finished"}


def main() -> int:
    """Run all parts; 1 if one of them was not done."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="a new folder for results and logs")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which all is over (default: 9)")
    parser.add_argument("--data", type=Path, help="root of MVTec LOCO AD; default: SyntheticLOCO is rendered")
    parser.add_argument("--category", default="breakfast_box")
    parser.add_argument("--reduced", action="store_true", help="only see that it works, also without a GPU")
    options = parser.parse_args()
    output = options.output.absolute()
    if output.exists() and any(output.iterdir()):
        parser.error(f"{output} is not empty: name a new folder.")
    output.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    data = options.data and options.data.absolute()
    check = Check(output, data, options.category, options.reduced, options.minutes, end)
    check.run("tests", check.tests)
    if data is None:
        check.run("data", check.render)
    if not check.reduced:  # its own tests do that with few images
        check.run("speed", check.speed)
    check.run("steps", check.steps)
    check.run("training", check.training)
    undone = [name for name, part in check.parts.items() if part["status"] != "done"]
    print(f"{len(check.parts) - len(undone)} of {len(check.parts)} parts are done{', not ' * bool(undone)}", end="")
    print(f"{', '.join(undone)}; {check.left:.0f} s were left. Results are in {output}.")
    return 1 if undone else 0


if __name__ == "__main__":
    sys.exit(main())
