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

// Calls an operator of the framework: takes its arguments from `stack` and leaves its results there.
inline void call_operator(const char* name, const char* overload, StableIValue* stack) {
#ifdef STABLE_TORCH_ERROR_CODE_CHECK  // from torch 2.13 on; what it throws says what went wrong
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name, overload, stack, TORCH_ABI_VERSION));
#else
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(name, overload, stack, TORCH_ABI_VERSION));
#endif
}

}  // namespace cheblienet
