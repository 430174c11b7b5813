"""What `make gpu` runs: in under eight minutes, the limits of all parts together."""

import os
import shutil
from pathlib import Path
from typing import Any

from .runner import Part

BUDGET = 470.0
STEPS = ("rows", "tiles", "orders")  # implementations of the recurrence, as CHEBLIENET_STEPS calls them
# All operators on small inputs, which a checker slows down a hundred times.
CHECKED = ["tests/cuda/test_parity.py", "-k", "results_are_those_of_the_cpu and gpu"]


def sanitizer() -> str | None:
    """NVIDIA's checker of memory and races, which comes with the toolkit."""
    toolkits = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda"]
    folders = os.pathsep.join([os.environ.get("PATH", ""), *(str(Path(t, "bin")) for t in toolkits if t)])
    return shutil.which("compute-sanitizer", path=folders)


def gpu_tests(root: Path) -> list[str]:
    """tests/cuda, and every other file of tests that asks whether there is a GPU."""
    others = sorted(root.glob("tests/**/test_*.py"))
    asking = [p for p in others if p.parent.name != "cuda" and "cuda.is_available" in p.read_text()]
    return ["tests/cuda", *(str(p.relative_to(root)) for p in asking)]


def parts(python: str, folder: Path, root: Path, facts: dict[str, Any]) -> list[Part]:
    """The parts for a machine of these facts; what they find is written to FOLDER."""

    def pytest(name: str, *arguments: str) -> list[str]:
        plugin = ["-p", "benchmarks.gpu.failures", "--outcomes", str(folder / f"{name}.jsonl")]
        return [python, "-m", "pytest", *plugin, "-q", "--tb=short", "-p", "no:cacheprovider", *arguments]

    def measuring(module: str, name: str, *arguments: str) -> list[str]:
        return [python, "-m", f"benchmarks.gpu.{module}", *arguments, "--out", str(folder / f"{name}.json")]

    no_pytest = "" if facts["pytest"] else "pytest is not installed"
    checker = sanitizer()
    unchecked = no_pytest or ("" if checker else "compute-sanitizer is not found")

    def ours(module: str, limit: float, choices: tuple[str, ...], *arguments: str) -> list[Part]:
        """A process for each implementation of the recurrence, where the package has several."""
        if not facts["chooses steps"]:
            return [Part(module, measuring(module, module, *arguments), limit)]
        names = {choice: f"{module}-{choice}" for choice in choices}
        return [
            Part(name, measuring(module, name, *arguments), limit, {"CHEBLIENET_STEPS": choice})
            for choice, name in names.items()
        ]

    return [
        *ours("convolution", 45, STEPS, "ours"),
        *ours("training", 45, ("rows", "auto")),
        Part("tests", pytest("tests", *gpu_tests(root)), 180, missing=no_pytest),
        Part("construction", measuring("construction", "construction"), 60),
        Part("convolution-others", measuring("convolution", "convolution-others", "others"), 90),
        *(
            Part(
                tool,
                [checker or "", "--tool", tool, "--error-exitcode", "9", *pytest(tool, *CHECKED)],
                90,
                # The framework's allocator would hide what lies beyond a tensor.
                {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
                unchecked,
            )
            for tool in ("memcheck", "racecheck")
        ),
    ]
