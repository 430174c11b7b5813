// Matrices in memory and their products by the framework's library.
#pragma once
#include "../torch_api.h"
#include "sparse_rows.h"
#include "tiles.h"

// oneDNN's product of small matrices, c = a b or c += a b, as the framework's own CPU kernels call it
// (ATen/native/CPUBlas.h). It takes strided rows as they are, where a BLAS copies both operands into its own format:
// 101 to 114 GFLOP/s at the widths of a network against 61 to 92 of MKL's sgemm on a core of 117 (Zen 4). The stable
// interface does not have it, hence the declaration; a framework without it leaves it null.
namespace at::native::cpublas {
__attribute__((weak)) void brgemm(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc, bool add,
                                  const float* a, const float* b, float* c, bool vnni);
}

namespace cheblienet {

// Rows of `columns` elements, `stride` elements apart.
template <class T>
struct MatrixView {
  T* data;
  int64_t rows, columns, stride;

  operator MatrixView<const T>() const { return {data, rows, columns, stride}; }

  Tensor tensor() const {
    const int64_t sizes[] = {rows, columns}, strides[] = {stride, 1};
    return torch::stable::from_blob(const_cast<std::remove_const_t<T>*>(data), {sizes, 2}, {strides, 2},
                                    torch::stable::Device(torch::headeronly::DeviceType::CPU),
                                    scalar_type<std::remove_const_t<T>>());
  }
};

// A factor of a product, and where tiles multiply, its numbers as they take them.
template <class T>
struct Factor {
  MatrixView<const T> matrix;
  const BFloat16* rounded = nullptr;
};

// out = a b, or out += a b; both factors are rounded, or none.
template <class T>
void matmul(const Factor<T>& left, const Factor<T>& right, const MatrixView<T>& out, bool add = false) {
  const MatrixView<const T>&a = left.matrix, &b = right.matrix;
  if constexpr (std::is_same_v<T, float>) {
    if (left.rounded)
      return multiply_tiles(left.rounded, right.rounded, out.rows, out.columns, a.columns, out.data, out.stride, add);
    if (at::native::cpublas::brgemm && out.rows > 0 && out.columns > 0 && a.columns > 0)
      return at::native::cpublas::brgemm(out.rows, out.columns, a.columns, a.stride, b.stride, out.stride, add, a.data,
                                         b.data, out.data, false);
  }
  using torch::stable::detail::from;
  StableIValue stack[] = {from(a.tensor()), from(b.tensor())};
  call_operator("aten::mm", "", stack);
  const Tensor product = torch::stable::detail::to<Tensor>(stack[0]);
  const T* from_row = product.const_data_ptr<T>();
  for (int64_t r = 0; r < out.rows; ++r, from_row += out.columns)
    for (int64_t c = 0; c < out.columns; ++c) {
      T& to = out.data[r * out.stride + c];
      to = add ? to + from_row[c] : from_row[c];
    }
}

// a^T, in `memory`.
template <class T>
MatrixView<const T> transposed(const MatrixView<const T>& a, T* memory) {
  row_kernels<T>().transpose(a.data, a.stride, a.rows, a.columns, memory);
  return {memory, a.columns, a.rows, a.rows};
}

}  // namespace cheblienet
