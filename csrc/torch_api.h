// The door to the framework: tensors, checks, dtype dispatch, parallel loops.
#pragma once
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <numeric>
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

// A new tensor on the device of `like`. The dispatcher, through which the stable ABI makes tensors, takes longer than a
// small kernel.
inline Tensor new_strided(const Tensor& like, int64_t dim, const int64_t* size, const int64_t* stride,
                          ScalarType dtype) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  int32_t device_type, device_index;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &device_index));
  AtenTensorHandle result;
  const auto code =
      aoti_torch_empty_strided(dim, size, stride, to<int32_t>(from(dtype)), device_type, device_index, &result);
  STD_TORCH_CHECK(code == TORCH_SUCCESS, "not enough memory for a tensor of ",
                  std::accumulate(size, size + dim, int64_t(1), std::multiplies<>()), " elements of ",
                  torch::headeronly::toString(dtype));
  Tensor made(result);
#ifdef CHEBLIENET_POISON  // for tests, in which a number that nobody writes shows as NaN
  std::memset(made.mutable_data_ptr(), 0xff, made.numel() * made.element_size());
#endif
  return made;
}

inline std::array<int64_t, 4> contiguous_strides(std::initializer_list<int64_t> size) {
  std::array<int64_t, 4> stride{};
  STD_TORCH_CHECK(size.size() <= stride.size(), "expected at most ", stride.size(), " dimensions, got ", size.size());
  int64_t step = 1;
  for (size_t i = size.size(); i-- > 0; step *= std::max<int64_t>(size.begin()[i], 1)) stride[i] = step;
  return stride;
}

inline Tensor new_empty(const Tensor& like, std::initializer_list<int64_t> size, ScalarType dtype) {
  const auto stride = contiguous_strides(size);
  return new_strided(like, static_cast<int64_t>(size.size()), size.begin(), stride.data(), dtype);
}

// A new tensor with the sizes, strides and dtype of another one without gaps.
inline Tensor new_like(const Tensor& t) {
  return new_strided(t, t.dim(), t.sizes().data(), t.strides().data(), t.scalar_type());
}

// Calls an operator of the framework: takes its arguments from `stack` and leaves its results there.
inline void call_operator(const char* name, const char* overload, StableIValue* stack) {
#ifdef STABLE_TORCH_ERROR_CODE_CHECK  // from torch 2.13 on; what it throws says what went wrong
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name, overload, stack, TORCH_ABI_VERSION));
#else
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name, overload, stack, TORCH_ABI_VERSION));
#endif
}

}  // namespace cheblienet
