"""What there is to measure with, as JSON on the last line: card, versions, and what is installed beside the package.

Exit status 3 says that there is no GPU, or a package that cannot use it.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

import torch

import cheblienet


def facts() -> dict[str, object]:
    spec = importlib.util.find_spec("cheblienet._C_cuda")
    module = Path(spec.origin).read_bytes() if spec and spec.origin else b""
    return {
        "card": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cuda": torch.version.cuda,
        **{f"build {name}": value for name, value in cheblienet.build_info().items()},
        "package": str(Path(cheblienet.__file__).parent),
        "python": sys.version.split()[0],
        "cores": os.cpu_count(),
        "chooses steps": b"CHEBLIENET_STEPS" in module,
        "pytest": importlib.util.find_spec("pytest") is not None,
        "matplotlib": importlib.util.find_spec("matplotlib") is not None,
    }


if __name__ == "__main__":
    found = facts()
    if found["card"] is None:
        print("torch sees no GPU")
        raise SystemExit(3)
    if found["build cuda"] != "built and loaded":
        print(f"the CUDA kernels of cheblienet in {found['package']} are {found['build cuda']}")
        raise SystemExit(3)
    print(json.dumps(found))
