// The only door to the framework: tensors, checks, dtype dispatch, parallel loops, matrix products.
#pragma once
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>

#include <optional>
#include <string>
#include <tuple>
#include <type_traits>

namespace cheblienet {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using BFloat16 = torch::headeronly::BFloat16;
using Half = torch::headeronly::Half;

// Sums are kept in float for 16-bit storage, otherwise in the storage type.
template <class T>
struct accumulate {
  using type = float;
};
template <>
struct accumulate<double> {
  using type = double;
};
template <class T>
using accumulate_t = typename accumulate<T>::type;

template <class T>
constexpr ScalarType scalar_type() {
  if constexpr (std::is_same_v<T, double>) return ScalarType::Double;
  if constexpr (std::is_same_v<T, float>) return ScalarType::Float;
  if constexpr (std::is_same_v<T, Half>) return ScalarType::Half;
  if constexpr (std::is_same_v<T, BFloat16>) return ScalarType::BFloat16;
}

// Calls f with a value of the C++ type that the tensor stores: dispatch(x, "op", [&](auto zero) { using T =
// decltype(zero); });
template <class F>
void dispatch(const Tensor& t, const char* name, F&& f) {
  switch (t.scalar_type()) {
    case ScalarType::Double: return f(double(0));
    case ScalarType::Float: return f(float(0));
    case ScalarType::Half: return f(Half(0.f));
    case ScalarType::BFloat16: return f(BFloat16(0.f));
    default:
      STD_TORCH_CHECK(false, name, ": expected a floating-point tensor, got ",
                      torch::headeronly::toString(t.scalar_type()));
  }
}

inline Tensor new_empty(const Tensor& like, std::initializer_list<int64_t> size, ScalarType dtype) {
  return torch::stable::new_empty(like, {size.begin(), size.size()}, dtype);
}

// A matrix in memory that the framework's matrix product may read or write: element (i, j) at data[i * row + j *
// column].
template <class T>
struct MatrixView {
  T* data;
  int64_t rows, columns, row_stride, column_stride = 1;

  MatrixView transposed() const { return {data, columns, rows, column_stride, row_stride}; }
  operator MatrixView<const T>() const { return {data, rows, columns, row_stride, column_stride}; }

  Tensor tensor() const {
    const int64_t sizes[] = {rows, columns}, strides[] = {row_stride, column_stride};
    return torch::stable::from_blob(const_cast<std::remove_const_t<T>*>(data), {sizes, 2}, {strides, 2},
                                    torch::stable::Device(torch::headeronly::DeviceType::CPU),
                                    scalar_type<std::remove_const_t<T>>());
  }
};

// out = a b by the framework's BLAS.
template <class T>
void matmul(const MatrixView<const T>& a, const MatrixView<const T>& b, const MatrixView<T>& out) {
  using torch::stable::detail::from;
  StableIValue stack[] = {from(a.tensor()), from(b.tensor()), from(out.tensor())};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::mm", "out", stack, TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);  // takes back the reference that the call returned
}

}  // namespace cheblienet
