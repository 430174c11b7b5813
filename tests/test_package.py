import subprocess
import sys

import torch

import cheblienet


def test_build_info_says_what_was_built():
    info = cheblienet.build_info()
    assert info["version"] == cheblienet.__version__
    assert info["torch"] == torch.__version__
    assert info["simd"] in ("avx512", "avx2", "baseline")
    assert info["threads"] == torch.get_num_threads()
    built = info["cuda"] == "built and loaded"
    assert built == bool(info["cuda_architectures"])
    assert built or info["cuda"].startswith(("not built: ", "built, not loaded: "))


def test_command_line_prints_it():
    said = subprocess.run([sys.executable, "-m", "cheblienet"], capture_output=True, text=True, check=True).stdout
    for name, value in cheblienet.build_info().items():
        assert f"{name}:" in said
        assert str(value) in said


def test_cuda_kernels_are_registered_where_they_were_built():
    if cheblienet.build_info()["cuda"] == "built and loaded":
        assert torch._C._dispatch_has_kernel_for_dispatch_key("cheblienet::gather_reduce", "CUDA")
        assert torch._C._dispatch_has_kernel_for_dispatch_key("cheblienet::gather_reduce_backward", "CUDA")
