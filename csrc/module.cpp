// Every operator schema, and the module whose import registers them with their CPU kernels.
#include "cpu/sparse_rows.h"
#include "python_module.h"
#include "torch_api.h"

STABLE_TORCH_LIBRARY(cheblienet, m) {
  // elements (V, d) float64, sigmas (3,) float64 -> index (V, k) int64, squared distance (V, k) float64; progress (2,)
  // int64, by which another thread sees how many vertices are done and may stop the work
  m.def(
      "nearest_neighbors(Tensor elements, Tensor sigmas, int k, str group, Tensor(a!)? progress=None) "
      "-> (Tensor, Tensor)");

  // index (V, K) int64 with -1 for none, squared distance (V, K) float64 -> the edges between those who are neighbours
  // of each other, edge_index (2, E) int64, and their mean squared distance (E,) float64, where it is within the limit
  m.def("mutual_neighbors(Tensor index, Tensor sqdist, float limit, Tensor(a!)? progress=None) -> (Tensor, Tensor)");

  // a matrix by rows, rowptr (V + 1,) and col (E,), and an order (V,) of its vertices, a permutation, int64 -> rows (V,
  // 4) and col (E,) int32, as below, and where each of their entries was, (E,) int64
  m.def("order_rows(Tensor rowptr, Tensor col, Tensor order) -> (Tensor, Tensor, Tensor)");

  // rows (V, 4) and col (E,) int32 of a Csr, whose rows are cut into tiles of `tile_rows` -> slots (T, D / 2 + 1,
  // tile_rows) and halo (T, plane) int32, as ops/tiles.py says; of no tile where the pattern does not fit
  m.def("tile_tables(Tensor rows, Tensor col, int tile_rows, int most_slots) -> (Tensor, Tensor)");

  // x (B, V, Cin), weight (R, Cin, Cout); the Laplacian by rows: rows (V, 4) and col (E,) int32, values (E,), as
  // RowSpan and Csr of cpu/sparse_rows.h say -> y (B, V, Cout)
  m.def("chebyshev(Tensor x, Tensor weight, Tensor rows, Tensor col, Tensor values, Tensor? bias) -> Tensor");
  // -> gradients of x, weight, bias and values; without elements where not needed
  m.def(
      "chebyshev_backward(Tensor grad, Tensor x, Tensor weight, Tensor rows, Tensor col, Tensor values, "
      "bool need_x, bool need_weight, bool need_bias, bool need_values) -> (Tensor, Tensor, Tensor, Tensor)");
  // The same with a pattern [rows, col, tables of a GPU ...]; programs that were exported earlier call those above.
  m.def("chebyshev.pattern(Tensor x, Tensor weight, Tensor[] pattern, Tensor values, Tensor? bias) -> Tensor");
  m.def(
      "chebyshev_backward.pattern(Tensor grad, Tensor x, Tensor weight, Tensor[] pattern, Tensor values, "
      "bool need_x, bool need_weight, bool need_bias, bool need_values) -> (Tensor, Tensor, Tensor, Tensor)");

  // x (B, V, C); index (Vout, m) int64 with -1 for no member; rowptr (V + 1,) and entry (n,) int64: the entries
  // o * m + slot of index that name each vertex, for the gradient; choice (Vout,) uint8: the slot to take, for "rand"
  // -> y (B, Vout, C), winner: uint8, (B, Vout, C) slots for "max", a copy of choice for "rand", empty for "avg"
  m.def(
      "gather_reduce(Tensor x, Tensor index, Tensor rowptr, Tensor entry, Tensor? choice, str reduction) "
      "-> (Tensor, Tensor)");
  // -> the gradient of x, (B, V, C)
  m.def(
      "gather_reduce_backward(Tensor grad, Tensor winner, Tensor index, Tensor rowptr, Tensor entry, str reduction) "
      "-> Tensor");

  // x and residual (B, V, C); weight, bias, mean, var (C,), float64 for float64 signals, otherwise float32; without
  // mean and var, those of the batch -> y = relu(normalised s) (B, V, C) for s = x + residual, the mean and the
  // variance used, and s, which is empty without a residual
  m.def(
      "batch_norm(Tensor x, Tensor? residual, Tensor weight, Tensor bias, Tensor? mean, Tensor? var, float eps, "
      "bool relu) -> (Tensor, Tensor, Tensor, Tensor)");
  // by the batch's mean and variance; running: the mean (C,), the variance (C,) and the number of batches, (), that
  // follow them, or nothing; without a momentum they are averages over all batches
  m.def(
      "batch_norm.tracked(Tensor x, Tensor? residual, Tensor weight, Tensor bias, Tensor(a!)[] running, "
      "float? momentum, float eps, bool relu) -> (Tensor, Tensor, Tensor, Tensor)");
  // by mean and variance that are given -> y and s
  m.def(
      "batch_norm.fixed(Tensor x, Tensor? residual, Tensor weight, Tensor bias, Tensor mean, Tensor var, float eps, "
      "bool relu) -> (Tensor, Tensor)");
  // s (B, V, C) -> the gradients of s, weight and bias
  m.def(
      "batch_norm_backward(Tensor grad, Tensor s, Tensor weight, Tensor bias, Tensor mean, Tensor var, float eps, "
      "bool relu, bool batch_statistics) -> (Tensor, Tensor, Tensor)");

  // gives the memory that is kept for results on the CPU back to the system
  m.def("empty_cache() -> ()");
}

CHEBLIENET_MODULE(_C) {
  if (PyModule_AddStringConstant(module, "CUDA_STATUS", CHEBLIENET_CUDA_STATUS) < 0) return -1;
  return PyModule_AddStringConstant(module, "SIMD_LEVEL", cheblienet::simd_level());
}
