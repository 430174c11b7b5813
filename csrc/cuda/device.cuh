// What every launcher needs of the framework on the device: the current stream, the guard, the device's name of a
// dtype.
#pragma once
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>

#include "../torch_api.h"
#include "pack.cuh"

namespace cheblienet {

using DeviceGuard = torch::stable::accelerator::DeviceGuard;

inline cudaStream_t current_stream(const Tensor& t) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(t.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

template <class T>
struct device_type {
  using type = T;
};
template <>
struct device_type<Half> {
  using type = __half;
};
template <>
struct device_type<BFloat16> {
  using type = __nv_bfloat16;
};

// Calls f with a null pointer to the device's type of the tensor's elements.
template <class F>
void dispatch_device(const Tensor& t, const char* name, F&& f) {
  dispatch(t, name, [&](auto zero) { f(static_cast<typename device_type<decltype(zero)>::type*>(nullptr)); });
}

template <class T>
const T* device_data(const Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}
template <class T>
const T* device_data(const std::optional<Tensor>& t) {
  return t ? device_data<T>(*t) : nullptr;
}
template <class T>
T* device_data(Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

inline uint64_t address(const Tensor& t) { return reinterpret_cast<uint64_t>(t.const_data_ptr()); }
inline uint64_t address(const std::optional<Tensor>& t) { return t ? address(*t) : 0; }

// Calls f with the pack size of pack_of as a constant.
template <class T, class F>
void dispatch_pack(int64_t channels, uint64_t addresses, F&& f) {
  if (pack_of(channels, sizeof(T), addresses) > 1) f(std::integral_constant<int, kPackSize<T>>());
  else f(std::integral_constant<int, 1>());
}

// The framework's sort along the last dimension, ascending: the values, and where each was.
inline std::tuple<Tensor, Tensor> sorted(const Tensor& t) {
  using torch::stable::detail::from;
  StableIValue stack[] = {from(t), from(int64_t(-1)), from(false)};
  call_operator("aten::sort", "", stack);
  return {torch::stable::detail::to<Tensor>(stack[0]), torch::stable::detail::to<Tensor>(stack[1])};
}

// The flat positions (n, 1) int64 of what is not zero in a vector, ascending. Waits for the device.
inline Tensor nonzero(const Tensor& t) {
  using torch::stable::detail::from;
  StableIValue stack[] = {from(t)};
  call_operator("aten::nonzero", "", stack);
  return torch::stable::detail::to<Tensor>(stack[0]);
}

}  // namespace cheblienet
