"""Long compiled work that shows how far it is and that Ctrl-C stops at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

T = TypeVar("T")

# Below this, work takes less than about a tenth of a second, and a thread of its own would only cost.
_LONG = 50_000


def run(work: Callable[[Tensor | None], T], vertices: int, device: torch.device, description: str | None) -> T:
    """`work(mailbox)`, in a thread of its own if it is long, so that this one can listen for Ctrl-C.

    Args:
        work: calls an operator with its `progress` argument: int64 (2,), the vertices done and whether to stop.
        vertices: how many there are to do.
        device: where the work is done. On a GPU it is short, and cannot be stopped.
        description: of the progress bar on stderr; None for no bar.
    """
    # Python delivers signals to the main thread only.
    if device.type != "cpu" or vertices < _LONG or threading.current_thread() is not threading.main_thread():
        return work(None)
    mailbox = torch.zeros(2, dtype=torch.int64)
    with (
        ThreadPoolExecutor(max_workers=1) as pool,
        tqdm(total=vertices, desc=description, unit=" vertices", disable=description is None) as bar,
    ):
        future = pool.submit(work, mailbox)
        try:
            while not future.done():
                wait([future], timeout=0.05)
                bar.update(int(mailbox[0]) - bar.n)
        except BaseException:
            mailbox[1] = 1  # the pool waits for its thread
            raise
        return future.result()
