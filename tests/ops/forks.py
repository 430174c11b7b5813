"""Run by test_memory.py: forks while another thread takes and gives back memory of results all the time."""

import os
import signal
import threading
import warnings

import torch

from cheblienet import ops

CHILDREN, SECONDS = 50, 20
VERTICES, CHANNELS = 4096, 64  # a result is exactly of the smallest size that is kept

warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork")  # which is what is tested, Python 3.12
torch.set_num_threads(1)  # as a worker of a DataLoader; OpenMP itself does not survive a fork
ring = torch.arange(VERTICES)
matrix = torch.zeros(2, 2 * VERTICES, dtype=torch.int64)
matrix[0], matrix[1] = ring.repeat(2), torch.cat([ring + 1, ring - 1]) % VERTICES
with torch.sparse.check_sparse_tensor_invariants(True):
    coo = torch.sparse_coo_tensor(matrix, torch.full((2 * VERTICES,), -0.5), (VERTICES, VERTICES)).coalesce()
    laplacian = ops.csr(coo.to_sparse_csr())
x, weight = torch.randn(1, VERTICES, CHANNELS), torch.randn(3, CHANNELS, CHANNELS)
expected = ops.chebyshev(x, weight, laplacian)
pooling = ops.gather_index(ring.view(-1, 2).repeat_interleave(2, 0), VERTICES)  # as large a result, without arithmetic
ended = threading.Event()


def compute() -> None:
    while not ended.is_set():
        ops.chebyshev(x, weight, laplacian)


def take_and_give_back() -> None:
    while not ended.is_set():
        results = [ops.gather_reduce(x, pooling, "avg") for _ in range(64)]
        del results
        ops.empty_cache()  # holds the lock for as long as the system takes to clear their pages away


def child() -> int:
    signal.alarm(SECONDS)  # ends a child that waits for a lock which nobody holds any more
    theta = weight.clone().requires_grad_()
    for _ in range(2):
        y = ops.chebyshev(x, theta, laplacian)
        y.sum().backward()
    ops.empty_cache()
    return int(not torch.equal(y, expected))


threads = [threading.Thread(target=work, daemon=True) for work in (compute, take_and_give_back)]
for thread in threads:
    thread.start()
codes = []
for _ in range(CHILDREN):
    pid = os.fork()
    if pid == 0:
        os._exit(child())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    codes.append(code)
    if code != 0:
        break
ended.set()
for thread in threads:
    thread.join()
assert codes == [0] * CHILDREN, f"the {len(codes)}th child ended with {code}"
print(f"{CHILDREN} children")
