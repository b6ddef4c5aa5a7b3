# SPDX-License-Identifier: Apache-2.0
"""Anomalib knows SCDAE once the package is installed, whatever is imported first, and nobody else feels it."""

import logging
import os
import shutil
import site
import subprocess
import sys
import venv
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import anomalib_scdae
from anomalib_scdae import plugin

ROOT = Path(__file__).resolve().parents[1]
HOOK = ROOT / "anomalib_scdae_hook.pth"

#: What a program may import first: what most do, and Anomalib's modules and ours, the last two by both of their ways.
USUAL_FIRST = ("import torch", "import lightning", "import anomalib")
FIRST_IMPORTS = (
    "import anomalib.models",
    "import anomalib.data",
    "import anomalib.cli",
    "import anomalib_scdae",
    "import anomalib_scdae.model.torch_model\nfrom anomalib_scdae import SCDAE",
    "import anomalib_scdae.data",
    "from anomalib_scdae import SCDAE",
)

#: Runs programs in forks of a process that has imported what takes Anomalib the longest, and prints how each has ended.
IN_FORKS = """
import os, sys, traceback
import lightning.pytorch, pandas, sklearn, timm, torchmetrics, torchvision.transforms.v2
assert not any(name.partition(".")[0] == "anomalib" for name in sys.modules)
for program in {}:
    child = os.fork()
    if not child:
        try:
            exec(program, {{"__name__": "__main__"}})
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""

#: Everything that finds a model by name; every line of it holds in one fresh process.
MODEL_IS_KNOWN = """
import sys
from anomalib.models import get_model, list_models
from anomalib.pipelines.benchmark.generator import BenchmarkJobGenerator
specifications = ["SCDAE", "scdae", {"class_path": "SCDAE"}, {"class_path": "anomalib_scdae.SCDAE"}]
models = [get_model(specification) for specification in specifications]
assert "SCDAE" in list_models("pascal"), list_models("pascal")

import anomalib.models
from anomalib_scdae import SCDAE
assert [type(model) for model in models] == [SCDAE] * 4, models
assert anomalib.models.SCDAE is SCDAE
# A second copy of the module would make a second class of the same name.
assert sum(cls.__name__ == "SCDAE" for cls in anomalib.models.AnomalibModule.__subclasses__()) == 1

benchmark = {
    "seed": 0,
    "model": {"class_path": {"grid": ["SCDAE", "anomalib_scdae.SCDAE"]}},
    "data": {"class_path": "MVTecLOCO", "init_args": {"category": "pushpins"}},
}
jobs = list(BenchmarkJobGenerator(accelerator="cpu").generate_jobs(benchmark, None))
assert [type(job.model) for job in jobs] == [SCDAE] * 2, jobs
assert anomalib.data.SyntheticLOCO.__name__ == "SyntheticLOCO"
for registry, classes in sys.modules["anomalib_scdae.plugin"].REGISTRIES.items():
    assert all(hasattr(sys.modules[registry], name) for name in classes), registry
"""

ANOMALIB_COMMAND = "from anomalib.cli.cli import main; main()"

#: The command line's parser, once for every sub-command that takes a model; each ends by SystemExit.
EVERY_SUBCOMMAND = """
import sys
from anomalib.cli.cli import main
model, data = ["--model", "SCDAE", "--model.cosine_weight", "0.25"], ["--data", "MVTecLOCO"]
commands = [[name, *model, *data, "--print_config"] for name in ("fit", "train", "validate", "test", "predict")]
commands += [["export", *model, "--export_type", "onnx", "--print_config"], ["train", "--model.help", "SCDAE"]]
for arguments in commands:
    sys.argv = ["anomalib", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, arguments
    else:
        raise AssertionError(arguments)
"""


def _environment(**variables: str) -> dict[str, str]:
    """The environment without what would hide the installed package behind the checkout."""
    hidden = ("PYTHONPATH", "PYTHONWARNINGS", "ANOMALIB_SCDAE_NO_HOOK")
    return {name: value for name, value in os.environ.items() if name not in hidden} | variables


def _run(python: Path | str, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``python`` with ``arguments`` in a fresh process."""
    command = [str(python), *arguments]
    return subprocess.run(
        command, cwd=cwd, env=_environment(**variables), check=False, capture_output=True, text=True, timeout=600
    )


def _succeeds(python: Path | str, *arguments: str, cwd: Path, **variables: str) -> str:
    """Like :func:`_run`, for what must succeed without a word of ours on stderr; return what it printed."""
    result = _run(python, *arguments, cwd=cwd, **variables)
    assert result.returncode == 0, result.stderr[-4000:]
    assert "anomalib-scdae could not" not in result.stderr, result.stderr[-4000:]
    return result.stdout


class TestFinder:
    """The finder alone, with a registry and a home of its own instead of Anomalib's."""

    HOME = "import a_registry\nif a_registry.BROKEN: raise RuntimeError('broken on purpose')\nclass Model: pass\n"

    @pytest.fixture(autouse=True)
    def _modules(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        (tmp_path / "a_registry.py").write_text("BROKEN = False\nALLOWED_MODULES = {'here'}\n")
        (tmp_path / "a_home.py").write_text(self.HOME)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(plugin, "REGISTRIES", {"a_registry": {"Model": "a_home"}})
        monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
        plugin.install()
        yield
        for name in ("a_registry", "a_home"):
            sys.modules.pop(name, None)

    @staticmethod
    def _import(*names: str) -> list[ModuleType]:
        return [__import__(name) for name in names]

    @pytest.mark.parametrize("order", [("a_registry", "a_home"), ("a_home", "a_registry")])
    def test_either_order_of_imports_registers(self, order: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
        self._import(*order)
        registry, home = sys.modules["a_registry"], sys.modules["a_home"]
        assert registry.Model is home.Model
        assert sorted(registry.ALLOWED_MODULES) == ["anomalib_scdae", "here"]
        assert not caplog.records

    def test_a_registry_imported_before_us_is_served(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if f is not plugin._RegistrationFinder])
        (registry,) = self._import("a_registry")
        assert not hasattr(registry, "Model")
        plugin.install()
        assert registry.Model is sys.modules["a_home"].Model

    def test_failure_is_logged_and_the_import_goes_on(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "a_registry.py").write_text("BROKEN = True\n")
        with caplog.at_level(logging.WARNING):
            (registry,) = self._import("a_registry")
        assert not hasattr(registry, "Model")
        (record,) = caplog.records
        assert "RuntimeError: broken on purpose" in record.getMessage()
        assert "ANOMALIB_SCDAE_NO_HOOK" in record.getMessage()

    def test_a_home_that_lacks_its_class_is_logged(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "a_home.py").write_text("")
        self._import("a_registry")
        assert ["Model" in record.getMessage() for record in caplog.records] == [True]

    def test_the_registrys_own_failure_is_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "a_registry.py").write_text("raise ImportError('not ours')")
        with pytest.raises(ImportError, match="not ours"):
            self._import("a_registry")

    def test_finders_behind_ours_are_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever brings Anomalib into memory in a way of his own (frozen, zipped, editable) keeps it."""
        from importlib.machinery import ModuleSpec

        class Loader:
            def create_module(self, spec: ModuleSpec) -> None:
                return None

            def exec_module(self, module: ModuleType) -> None:
                module.BROKEN = False

        class Finder:
            @staticmethod
            def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
                return ModuleSpec(name, Loader()) if name == "a_registry" else None

        sys.meta_path.insert(sys.meta_path.index(plugin._RegistrationFinder) + 1, Finder)
        (registry,) = self._import("a_registry")
        assert type(registry.__loader__) is Loader
        assert hasattr(registry, "Model")

    def test_asked_outside_of_meta_path_it_finds_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if f is not plugin._RegistrationFinder])
        assert plugin._RegistrationFinder.find_spec("a_registry") is None

    def test_other_modules_are_left_to_others(self) -> None:
        assert plugin._RegistrationFinder.find_spec("json") is None

    def test_a_registry_that_a_part_of_ours_imports_is_served_by_the_command(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While the part is half made, the model that needs it cannot be; the command may be all that comes after."""
        (tmp_path / "a_command.py").write_text("")
        (tmp_path / "a_part.py").write_text("import a_registry\n")
        monkeypatch.setattr(plugin, "COMMAND", "a_command")
        monkeypatch.setattr(plugin, "tell_user_errors", lambda command: None)
        monkeypatch.setattr("anomalib_scdae.__path__", [*anomalib_scdae.__path__, str(tmp_path)])
        import_module("anomalib_scdae.a_part")
        registry = sys.modules["a_registry"]
        assert not hasattr(registry, "Model")
        self._import("a_command")
        for name in ("anomalib_scdae.a_part", "a_command"):
            sys.modules.pop(name)
        assert registry.Model is sys.modules["a_home"].Model

    @pytest.mark.parametrize("asked_for", [False, True])
    def test_the_command_is_imported_without_what_libraries_tell_each_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_for: bool
    ) -> None:
        """The registry, which a program may import, warns as ever; so does the command where warnings are asked for."""
        for name in ("a_command", "a_registry"):
            program = (
                f"import warnings\nwarnings.warn('{name} goes', FutureWarning)\nBROKEN, ALLOWED_MODULES = False, set()"
            )
            (tmp_path / f"{name}.py").write_text(program)
        monkeypatch.setattr(plugin, "COMMAND", "a_command")
        monkeypatch.setattr(plugin, "tell_user_errors", lambda command: None)
        monkeypatch.setattr(sys, "warnoptions", ["default"] if asked_for else [])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            self._import("a_command", "a_registry")
        sys.modules.pop("a_command")
        expected = ["a_command goes"] * asked_for + ["a_registry goes"]
        assert [str(warning.message) for warning in told] == expected

    def test_installing_twice_places_one_finder(self) -> None:
        plugin.install()
        assert sys.meta_path.count(plugin._RegistrationFinder) == 1


class TestHookLine:
    """The line of the ``.pth`` file as ``site`` runs it, without an installation."""

    @staticmethod
    def _start(folder: Path, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run ``program`` in an interpreter that sees ``folder`` and has executed the hook's line."""
        start = f"import sys; sys.path.insert(0, {str(folder)!r}); exec({HOOK.read_text()!r})\n"
        return _run(sys.executable, "-S", "-c", start + program, cwd=folder, **variables)

    def test_it_is_one_line_that_site_executes(self) -> None:
        (line,) = HOOK.read_text().splitlines()
        assert line.startswith("import ")

    def test_it_imports_next_to_nothing(self) -> None:
        program = "print(*sorted(name for name in sys.modules if name.split('.')[0] not in known))"
        bare = _run(sys.executable, "-S", "-c", "import os, sys; print(*sys.modules)", cwd=ROOT).stdout.split()
        result = self._start(ROOT, f"known = {bare}\n{program}")
        assert result.stdout.split() == ["anomalib_scdae", "anomalib_scdae.plugin"], result.stderr

    def test_the_environment_variable_switches_it_off(self) -> None:
        program = "print('anomalib_scdae' in sys.modules)"
        assert self._start(ROOT, program).stdout == "True\n"
        assert self._start(ROOT, program, ANOMALIB_SCDAE_NO_HOOK="1").stdout == "False\n"
        assert self._start(ROOT, program, ANOMALIB_SCDAE_NO_HOOK="").stdout == "True\n"

    @pytest.mark.parametrize("package", [None, "raise RuntimeError", "this is no Python", "import surely_not_there"])
    def test_a_package_that_is_gone_or_broken_is_not_felt(self, tmp_path: Path, package: str | None) -> None:
        """An editable installation whose checkout was deleted or is being edited must not break every start."""
        if package is not None:
            (tmp_path / "anomalib_scdae").mkdir()
            (tmp_path / "anomalib_scdae" / "__init__.py").write_text(package)
        result = self._start(tmp_path, "print('alive')")
        assert (result.returncode, result.stdout, result.stderr) == (0, "alive\n", "")


def _copy_of_the_source(folder: Path) -> Path:
    """Copy what a build needs, so that it leaves nothing in the checkout."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", HOOK.name, ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "anomalib_scdae", folder / "anomalib_scdae", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _new_python(folder: Path) -> Path:
    """Make a virtual environment that sees, behind its own, the packages of the running one; return its Python."""
    venv.EnvBuilder(symlinks=os.name != "nt", with_pip=False).create(folder)
    python = next(folder.glob("bin/python")) if os.name != "nt" else folder / "Scripts" / "python.exe"
    own = Path(_succeeds(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=folder).strip())
    # Named to come after the paths of editable installations; the other environment's own .pth files are not run.
    (own / "zz_other_environment.pth").write_text("\n".join([*site.getsitepackages(), site.getusersitepackages()]))
    return python


def _install(python: Path, *what: str) -> None:
    command = ["-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    _succeeds(sys.executable, *command, "--ignore-installed", "--no-build-isolation", *what, cwd=python.parent)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network, by way of the source distribution."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("build")
    build = ("-m", "hatchling", "build", "-d", str(folder), "-t")
    _succeeds(sys.executable, *build, "sdist", cwd=_copy_of_the_source(folder / "source"))
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder / "unpacked")
    (source,) = (folder / "unpacked").iterdir()
    _succeeds(sys.executable, *build, "wheel", cwd=source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def wheel_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python where the package is installed from its wheel."""
    pytest.importorskip("pip")
    python = _new_python(tmp_path_factory.mktemp("wheel_environment"))
    _install(python, str(wheel))
    return python


@pytest.fixture(scope="session")
def editable_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python where the package is installed in editable mode."""
    pytest.importorskip("pip")
    pytest.importorskip("hatchling")
    source = _copy_of_the_source(tmp_path_factory.mktemp("editable_source"))
    python = _new_python(tmp_path_factory.mktemp("editable_environment"))
    _install(python, "--editable", str(source))
    return python


@pytest.fixture
def installed(request: pytest.FixtureRequest) -> Path:
    """The Python of the kind of installation that the test is parametrized with."""
    return request.getfixturevalue(f"{request.param}_python")


BOTH_INSTALLATIONS = pytest.mark.parametrize("installed", ["wheel", "editable"], indirect=True)


@pytest.mark.slow
class TestInstalled:
    """Fresh processes that have the package installed."""

    def test_the_wheel_holds_every_file_of_the_package(self, wheel: Path) -> None:
        from zipfile import ZipFile

        source = wheel.parent / "source"
        files = {path.relative_to(source).as_posix() for path in source.glob("anomalib_scdae/**/*") if path.is_file()}
        held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
        assert held == files | {HOOK.name}

    @BOTH_INSTALLATIONS
    def test_a_start_loads_two_small_modules(self, installed: Path, tmp_path: Path) -> None:
        ours = "print(*sorted(name for name in sys.modules if name.startswith('anomalib')))"
        assert _succeeds(
            installed, "-c", f"import sys, json; {ours}; assert 'torch' not in sys.modules", cwd=tmp_path
        ) == ("anomalib_scdae anomalib_scdae.plugin\n")
        loaded = _succeeds(
            installed,
            "-c",
            f"import sys, torch; {ours}; import anomalib_scdae; print(anomalib_scdae.__file__)",
            cwd=tmp_path,
        )
        modules, file = loaded.splitlines()
        assert modules == "anomalib_scdae anomalib_scdae.plugin"
        assert not Path(file).is_relative_to(ROOT), "the checkout hides the installed package"

    @pytest.mark.parametrize("first", USUAL_FIRST)
    def test_known_whatever_a_program_imports_first(self, wheel_python: Path, tmp_path: Path, first: str) -> None:
        program = f"{first}\n{MODEL_IS_KNOWN}"
        _succeeds(wheel_python, "-W", "error::UserWarning", "-c", program, cwd=tmp_path)

    @pytest.mark.skipif(
        not hasattr(os, "fork"), reason="needs processes that have in common what others' packages take"
    )
    def test_known_whatever_of_anomalib_and_ours_a_program_imports_first(
        self, wheel_python: Path, tmp_path: Path
    ) -> None:
        """Each in a process of its own, in which nothing of Anomalib has been imported."""
        programs = [f"{first}\n{MODEL_IS_KNOWN}" for first in FIRST_IMPORTS]
        printed = _succeeds(wheel_python, "-W", "error::UserWarning", "-c", IN_FORKS.format(programs), cwd=tmp_path)
        assert printed.split() == ["0"] * len(programs)

    @pytest.mark.parametrize("first", ["pass", FIRST_IMPORTS[-1]])
    def test_known_from_an_editable_installation(self, editable_python: Path, tmp_path: Path, first: str) -> None:
        _succeeds(editable_python, "-c", f"{first}\n{MODEL_IS_KNOWN}", cwd=tmp_path)

    @BOTH_INSTALLATIONS
    def test_every_subcommand_knows_the_bare_name(self, installed: Path, tmp_path: Path) -> None:
        printed = _succeeds(installed, "-c", EVERY_SUBCOMMAND, cwd=tmp_path)
        assert "--model.branches" in printed
        assert printed.count("class_path: anomalib_scdae.SCDAE") == 6
        assert printed.count("cosine_weight: 0.25") == 6


@pytest.mark.slow
class TestSwitchedOff:
    """The package installed, its hook switched off."""

    @pytest.mark.parametrize("import_ours", ["before", "after"])
    def test_get_model_knows_it_once_the_package_is_imported(
        self, wheel_python: Path, tmp_path: Path, import_ours: str
    ) -> None:
        anomalib_alone = (
            "import sys, anomalib.models\n"
            "assert not any(name.startswith('anomalib_scdae') for name in sys.modules)\n"
            "assert 'SCDAE' not in anomalib.models.list_models('pascal')\n"
            "assert not hasattr(anomalib.models, 'SCDAE')\n"
        )
        program = (anomalib_alone if import_ours == "after" else "") + f"import anomalib_scdae\n{MODEL_IS_KNOWN}"
        _succeeds(wheel_python, "-c", program, cwd=tmp_path, ANOMALIB_SCDAE_NO_HOOK="1")

    def test_command_line_takes_the_dotted_path(self, wheel_python: Path, tmp_path: Path) -> None:
        options = ["fit", "--data", "MVTecLOCO", "--model", "anomalib_scdae.SCDAE", "--print_config"]
        printed = _succeeds(wheel_python, "-c", ANOMALIB_COMMAND, *options, cwd=tmp_path, ANOMALIB_SCDAE_NO_HOOK="1")
        assert "class_path: anomalib_scdae.SCDAE" in printed


@pytest.mark.slow
class TestBroken:
    """An installed hook whose package fails takes nobody with it."""

    @pytest.fixture
    def break_it(self, wheel_python: Path) -> Iterator[Callable[[str, str], None]]:
        """Return a function that replaces an installed file's text until the end of the test."""
        (package,) = wheel_python.parents[1].glob("**/site-packages/anomalib_scdae")
        kept: dict[Path, str] = {}

        def replace(name: str, text: str) -> None:
            kept[package / name] = (package / name).read_text()
            (package / name).write_text(text)

        yield replace
        for path, text in kept.items():
            path.write_text(text)

    @pytest.mark.parametrize("name", ["__init__.py", "plugin.py"])
    def test_a_start_and_torch_do_not_feel_it(
        self, wheel_python: Path, tmp_path: Path, break_it: Callable[[str, str], None], name: str
    ) -> None:
        break_it(name, "raise RuntimeError('broken on purpose')")
        for program in ("pass", "import torch"):
            result = _run(wheel_python, "-W", "error", "-c", program, cwd=tmp_path)
            assert (result.returncode, result.stderr) == (0, "")

    def test_anomalib_is_imported_and_told_why_we_are_not(
        self, wheel_python: Path, tmp_path: Path, break_it: Callable[[str, str], None]
    ) -> None:
        break_it("model/lightning_model.py", "raise RuntimeError('broken on purpose')")
        program = "from anomalib.models import list_models; print(*list_models())"
        result = _run(wheel_python, "-c", program, cwd=tmp_path)
        assert result.returncode == 0, result.stderr[-4000:]
        assert "efficient_ad" in result.stdout
        assert "scdae" not in result.stdout
        assert "could not add its classes to anomalib.models (RuntimeError: broken on purpose)" in result.stderr

    def test_another_package_of_our_name_first_on_the_path_is_not_felt(
        self, wheel_python: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "anomalib_scdae.py").write_text("raise RuntimeError('not the one')")
        result = _run(wheel_python, "-c", "import torch; print('alive')", cwd=tmp_path, PYTHONPATH=str(tmp_path))
        assert (result.returncode, result.stdout, result.stderr) == (0, "alive\n", "")
