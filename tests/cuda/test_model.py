"""The model of time reproduces what was measured on a card, from the counts of the kernels of that day; and what it is
made of: ratios of machine code to PTX, and what the framework's operators launch."""

import math

import pytest
import torch
from torch import nn

from benchmarks.cuda import prediction, sass, step, traffic
from benchmarks.cuda.model import H200, Counts, measured

KEPT = prediction.load(prediction.KEPT)


def test_the_recurrence_as_measured():
    _, ratios = traffic.check(KEPT[1], measured()["recurrence"])
    assert len(ratios) == 12
    assert all(0.85 < ratio < 1.15 for ratio in ratios)


def test_captured_convolutions_as_measured():
    _, ratios = prediction.convolutions(KEPT[0], measured()["captured convolution ms"])
    assert len(ratios) == 6
    assert all(0.85 < ratio < 1.15 for ratio in ratios)


def test_the_training_step_as_measured():
    _, ratios = prediction.check(KEPT[0], measured()["step"])
    assert {name.split()[0] for name in ratios} == {"float32", "bfloat16"}
    assert all(0.85 < ratio < 1.15 for ratio in ratios.values()), ratios


def test_launches_of_our_kernels_are_those_of_a_profiler():
    for name, facts in measured()["step"].items():
        counted = prediction.kinds(KEPT[0][name], name)
        for kind, fact in facts["kernels"].items():
            if kind not in ("copies", "sums", "products"):
                assert counted[kind][0] == fact["launches"], kind


def test_the_limit_that_binds_is_added_to_the_latency():
    counts = Counts(launches=2, blocks=2 * 133, instructions=1e6, wavefronts=1e6, sectors=1e6, distant=1e6, rounds=20)
    imbalance = 2 / (133 / 132)  # one multiprocessor has two blocks
    bounds = counts.bounds(H200)
    assert bounds["shared memory"] == pytest.approx(imbalance * 1e6 / (132 * 1.95e9))
    assert bounds["instructions"] == pytest.approx(bounds["shared memory"] / 4)
    assert bounds["L2"] == pytest.approx(32e6 / 10.2e12)
    assert bounds["memory"] == pytest.approx(1e6 / 4.25e12)
    assert counts.seconds(H200) == pytest.approx(bounds["shared memory"] + 2 * 0.8e-6 + 20 * 0.42e-6)


PTX = """
.visible .entry kernel(
	.param .u64 p
)
{
	ld.param.u64 %rd1, [p];
$L__BB0_1:
	ld.global.nc.f32 %f1, [%rd1];
$L__BB0_2:
	ld.shared.f32 %f2, [%r1];
	ld.shared.f32 %f3, [%r2];
	add.f32 %f1, %f1, %f2;
	@%p1 bra $L__BB0_4;
	bra.uni $L__BB0_2;
$L__BB0_4:
	@%p2 bra $L__BB0_1;
	st.global.f32 [%rd1], %f1;
	ret;
}
"""
# The same with the inner loop done twice at once, and a way for parted lanes behind the end that leads back into it.
SASS = """
		Function : kernel
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/                   LDG.E R2, [R4] ;
        /*0020*/                   LDS R3, [R6] ;
        /*0030*/                   LDS R7, [R8] ;
        /*0040*/                   BRA.DIV UR4, 0xc0 ;
        /*0050*/                   FADD R2, R2, R3 ;
        /*0060*/                   LDS R3, [R6+0x10] ;
        /*0070*/                   LDS R7, [R8+0x10] ;
        /*0080*/              @!P1 BRA 0x20 ;
        /*0090*/               @P2 BRA 0x10 ;
        /*00a0*/                   STG.E [R4], R2 ;
        /*00b0*/                   EXIT ;
        /*00c0*/                   WARPSYNC R1 ;
        /*00d0*/                   LDS R3, [R6] ;
        /*00e0*/                   BRA 0x50 ;
        /*00f0*/                   NOP ;
"""


def test_machine_code_is_counted_by_the_hot_loop(monkeypatch):
    monkeypatch.setattr(sass, "cuobjdump", lambda *_: SASS)
    machine, ptx = sass.machine_code("", "sm_90")["kernel"], sass.ptx_code(PTX)["kernel"]
    assert [i.name.split(".")[0] for i in sass.hot_loop(machine, "shared")] == [
        "LDS", "LDS", "BRA", "FADD", "LDS", "LDS", "BRA",
    ]  # fmt: skip
    assert [i.name for i in sass.hot_loop(ptx, "shared")] == [
        "ld.shared.f32", "ld.shared.f32", "add.f32", "bra", "bra.uni",
    ]  # fmt: skip
    assert sass.per_ptx_instruction(machine, ptx, "shared") == pytest.approx((7 / 4) / (5 / 2))
    assert sass.hot_loop(ptx, "global") == []  # its loop holds another
    assert sass.per_ptx_instruction(machine, ptx, "global") == pytest.approx(15 / 10)


def test_what_operators_of_the_framework_launch():
    x, weight = torch.randn(6, 4), torch.randn(8, 4)
    with step.Recorder() as recorder:
        nn.functional.linear(x, weight).t()[:3].unsqueeze(0)
        torch.zeros(5)
        x.bfloat16()
        x.sum(0)
        x + x
    found = {node.kind: node for node in recorder.framework}
    assert found["products"].size == 2 * 6 * 4 * 8
    assert found["products"].width == pytest.approx(math.sqrt(4 * 6))
    assert found["fills"].size == 20
    assert found["copies"].size == 24 * (4 + 2)
    assert found["sums"].size == 24
    assert found["other"].size == 3 * 24 * 4
    assert sum(recorder.framework.values()) == 5


def test_lists_of_an_optimizer_are_launched_in_parts():
    tensors = [torch.zeros(2) for _ in range(50)]
    with step.Recorder() as recorder:
        torch._foreach_addcmul_(tensors, tensors, tensors)
    (node,) = recorder.framework
    assert (node.kind, node.launches) == ("optimizer", 2)


def test_products_take_what_was_measured_at_their_width():
    operations = 3 * 2.0 * 16 * 4704 * 4 * 64 * 64
    rate = prediction.product_rate(math.sqrt(4 * 64 * 64), "float32")
    assert operations / rate == pytest.approx(256e-6)
    assert prediction.product_rate(1e4, "float32") == prediction.product_rate(256, "float32")
    assert prediction.product_rate(10, "float32") < prediction.product_rate(100, "float32") < rate
