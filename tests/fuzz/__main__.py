"""The long run: each part in a process of its own, so that a crash ends none but itself, and is reported with its input.

python tests/fuzz [part ...]
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
_LONGEST = 3600  # seconds of one part


def run(part: Path) -> tuple[bool, dict[str, int]]:
    """Whether a part went through, and how many of its calls gave the right answer or were refused."""
    seed = random.SystemRandom().randrange(2**32)
    with tempfile.TemporaryDirectory(prefix="cheblienet-fuzz-") as folder:
        command = [sys.executable, "-X", "faulthandler", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(part)]
        command += ["--hypothesis-profile=long", f"--hypothesis-seed={seed}"]
        environment = {**os.environ, "CHEBLIENET_FUZZ_FOLDER": folder}
        begin = time.monotonic()
        try:
            done = subprocess.run(
                command, cwd=HERE.parents[1], env=environment, capture_output=True, text=True, timeout=_LONGEST
            )
            code, output = done.returncode, done.stdout + done.stderr
        except subprocess.TimeoutExpired as error:
            code, output = -1, f"longer than {_LONGEST} s\n{error.stdout}"
        seconds, counts = time.monotonic() - begin, Path(folder) / "counts"
        last = (Path(folder) / "last").read_text() if (Path(folder) / "last").exists() else "none"
        found: dict[str, int] = json.loads(counts.read_text()) if counts.exists() else {}
    print(
        f"{part.stem[5:]:14} {sum(found.values()):6} cases: {found.get('right', 0):6} right, "
        f"{found.get('refused', 0):6} refused, {seconds:5.0f} s, seed {seed}: {'clean' if code == 0 else 'FAULT'}",
        flush=True,
    )
    if code != 0:
        print(output)
    if not found:  # pytest did not come to its end
        print(f"The process ended with {code} in a call of {last}")
    return code == 0, found


def main(parts: list[str]) -> int:
    begin = time.monotonic()
    chosen = [path for path in sorted(HERE.glob("test_*.py")) if not parts or path.stem[5:] in parts]
    clean, found = zip(*map(run, chosen), strict=True)
    right, refused = (sum(counts.get(kind, 0) for counts in found) for kind in ("right", "refused"))
    print(
        f"{'all':14} {right + refused:6} cases: {right:6} right, {refused:6} refused, {time.monotonic() - begin:5.0f} s: "
        f"{'clean' if all(clean) else 'FAULT'}"
    )
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
