#include "batch_norm.cuh"

#include "../batch_norm_operands.h"
#include "device.cuh"

namespace cheblienet {
namespace {

int64_t rows_of(const Tensor& x, const Tensor& weight) { return x.numel() / std::max<int64_t>(weight.numel(), 1); }

// What both passes over the signals of a call share: the current stream, and the grid.
struct NormLaunch {
  NormShape shape;
  cudaStream_t stream;

  NormLaunch(const Tensor& x, const Tensor& weight, int pack)
      : shape(norm_shape(rows_of(x, weight), weight.numel(), pack)), stream(current_stream(x)) {}

  dim3 grid() const { return dim3(shape.tiles, shape.parts); }
  Tensor partial(const Tensor& weight, int numbers) const {
    return new_empty(weight, {shape.parts, numbers, shape.channels}, weight.scalar_type());
  }
};

Tensor like_channels(const Tensor& weight) { return new_empty(weight, {weight.numel()}, weight.scalar_type()); }
Tensor sum_like(const Tensor& x, const std::optional<Tensor>& residual) {
  return residual ? new_like(x) : new_empty(x, {0}, x.scalar_type());
}

std::tuple<Tensor, Tensor> batch_norm_fixed_cuda(const Tensor& signal, std::optional<Tensor> added, const Tensor& scale,
                                                 const Tensor& shift, const Tensor& given_mean, const Tensor& given_var,
                                                 double eps, bool relu) {
  check_on_gpu("batch_norm", "x", signal);
  const NormOperands given =
      checked_batch_norm("batch_norm", signal, added, {}, scale, shift, given_mean, given_var, eps);
  const Tensor &x = given.x, &weight = given.weight, &bias = given.bias, &mean = *given.mean, &var = *given.var;
  const std::optional<Tensor>& residual = given.residual;
  DeviceGuard guard(x.get_device_index());
  Tensor y = new_like(x), sum = sum_like(x, residual);
  if (x.numel() == 0) return {y, sum};
  dispatch_device(x, "batch_norm", [&](auto* null) {
    using T = std::remove_pointer_t<decltype(null)>;
    using V = device_accumulate_t<T>;
    const uint64_t parameters = address(weight) | address(bias) | address(mean) | address(var);
    dispatch_pack<T>(weight.numel(), address(x) | address(residual) | parameters, [&](auto pack) {
      constexpr int N = decltype(pack)::value;
      const NormLaunch launch(x, weight, N);
      // Without moments by parts the kernel only reads mean and variance.
      norm_apply<T, N><<<launch.grid(), kNormBlock, 0, launch.stream>>>(
          device_data<T>(x), device_data<T>(residual), residual ? device_data<T>(sum) : nullptr, device_data<V>(weight),
          device_data<V>(bias), const_cast<V*>(device_data<V>(mean)), const_cast<V*>(device_data<V>(var)), nullptr,
          nullptr, nullptr, nullptr, 0.0, false, eps, relu, device_data<T>(y), launch.shape);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
  return {y, sum};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> batch_norm_tracked_cuda(const Tensor& signal, std::optional<Tensor> added_to,
                                                                   const Tensor& scale, const Tensor& shift,
                                                                   std::vector<Tensor> running,
                                                                   std::optional<double> momentum, double eps,
                                                                   bool relu) {
  check_on_gpu("batch_norm", "x", signal);
  const NormOperands given = checked_batch_norm("batch_norm", signal, added_to, {}, scale, shift, {}, {}, eps);
  check_batch("batch_norm", signal, scale);
  check_running("batch_norm", running, signal, scale.numel());
  const Tensor &x = given.x, &weight = given.weight, &bias = given.bias;
  const std::optional<Tensor>& residual = given.residual;
  DeviceGuard guard(x.get_device_index());
  Tensor y = new_like(x), sum = sum_like(x, residual), mean = like_channels(weight), var = like_channels(weight);
  if (x.numel() == 0) return {y, mean, var, sum};
  dispatch_device(x, "batch_norm", [&](auto* null) {
    using T = std::remove_pointer_t<decltype(null)>;
    using V = device_accumulate_t<T>;
    const auto tracked = running_statistics<V>(running, momentum);
    dispatch_pack<T>(weight.numel(), address(x) | address(residual) | address(weight) | address(bias), [&](auto pack) {
      constexpr int N = decltype(pack)::value;
      const NormLaunch launch(x, weight, N);
      const T *from = device_data<T>(x), *added = device_data<T>(residual);
      T* s = residual ? device_data<T>(sum) : nullptr;
      Tensor partial = launch.partial(weight, 3);
      norm_moments<T, N><<<launch.grid(), kNormBlock, 0, launch.stream>>>(from, added, s, device_data<V>(partial),
                                                                          tracked.batches, launch.shape);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
      if (residual) from = s, added = s = nullptr;
      norm_apply<T, N><<<launch.grid(), kNormBlock, 0, launch.stream>>>(
          from, added, s, device_data<V>(weight), device_data<V>(bias), device_data<V>(mean), device_data<V>(var),
          device_data<V>(partial), tracked.mean, tracked.var, tracked.batches, tracked.momentum, tracked.cumulative,
          eps, relu, device_data<T>(y), launch.shape);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
  return {y, mean, var, sum};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> batch_norm_cuda(const Tensor& x, std::optional<Tensor> residual,
                                                           const Tensor& weight, const Tensor& bias,
                                                           std::optional<Tensor> mean, std::optional<Tensor> var,
                                                           double eps, bool relu) {
  STD_TORCH_CHECK(mean.has_value() == var.has_value(), "batch_norm: mean, var: expected both or neither");
  if (!mean) return batch_norm_tracked_cuda(x, residual, weight, bias, {}, 0.0, eps, relu);
  auto [y, sum] = batch_norm_fixed_cuda(x, residual, weight, bias, *mean, *var, eps, relu);
  return {y, torch::stable::clone(*mean), torch::stable::clone(*var), sum};
}

std::tuple<Tensor, Tensor, Tensor> batch_norm_backward_cuda(const Tensor& gradient, const Tensor& signal,
                                                            const Tensor& scale, const Tensor& shift,
                                                            const Tensor& mean_used, const Tensor& var_used, double eps,
                                                            bool relu, bool batch_statistics) {
  check_on_gpu("batch_norm_backward", "s", signal);
  const NormOperands given =
      checked_batch_norm("batch_norm_backward", signal, {}, gradient, scale, shift, mean_used, var_used, eps);
  const Tensor &grad = *given.grad, &s = given.x, &weight = given.weight, &bias = given.bias, &mean = *given.mean,
               &var = *given.var;
  DeviceGuard guard(s.get_device_index());
  Tensor ds = new_like(s);
  if (s.numel() == 0)
    return {ds, torch::stable::new_zeros(weight, weight.sizes()), torch::stable::new_zeros(weight, weight.sizes())};
  Tensor dweight = like_channels(weight), dbias = like_channels(weight);
  dispatch_device(s, "batch_norm_backward", [&](auto* null) {
    using T = std::remove_pointer_t<decltype(null)>;
    using V = device_accumulate_t<T>;
    const uint64_t parameters = address(weight) | address(bias) | address(mean) | address(var);
    dispatch_pack<T>(weight.numel(), address(grad) | address(s) | parameters, [&](auto pack) {
      constexpr int N = decltype(pack)::value;
      const NormLaunch launch(s, weight, N);
      Tensor partial = launch.partial(weight, 2);
      norm_gradient_sums<T, N><<<launch.grid(), kNormBlock, 0, launch.stream>>>(
          device_data<T>(grad), device_data<T>(s), device_data<V>(weight), device_data<V>(bias), device_data<V>(mean),
          device_data<V>(var), eps, relu, device_data<V>(partial), launch.shape);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
      norm_gradient<T, N><<<launch.grid(), kNormBlock, 0, launch.stream>>>(
          device_data<T>(grad), device_data<T>(s), device_data<V>(weight), device_data<V>(bias), device_data<V>(mean),
          device_data<V>(var), eps, relu, device_data<V>(partial), batch_statistics, device_data<V>(dweight),
          device_data<V>(dbias), device_data<T>(ds), launch.shape);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
  return {ds, dweight, dbias};
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CUDA, m) {
  m.impl("batch_norm", TORCH_BOX(&cheblienet::batch_norm_cuda));
  m.impl("batch_norm.tracked", TORCH_BOX(&cheblienet::batch_norm_tracked_cuda));
  m.impl("batch_norm.fixed", TORCH_BOX(&cheblienet::batch_norm_fixed_cuda));
  m.impl("batch_norm_backward", TORCH_BOX(&cheblienet::batch_norm_backward_cuda));
}
