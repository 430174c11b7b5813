#include "batch_norm.cuh"

#include "device.cuh"

namespace cheblienet {
namespace {

// What all passes over the signals of a call share: the current stream, and the grid.
struct NormLaunch {
  NormShape shape;
  cudaStream_t stream;

  NormLaunch(const Tensor& x, int pack)
      : shape(norm_shape(x.size(0) * x.size(1), x.size(2), pack)), stream(current_stream(x)) {}

  dim3 grid() const { return dim3(shape.tiles, shape.parts); }
  unsigned statistics_grid() const { return statistics_blocks(shape.channels); }
  Tensor partial(const Tensor& like) const {
    return new_empty(like, {shape.parts, 2, shape.channels}, ScalarType::Double);
  }
};

std::tuple<Tensor, Tensor, Tensor, Tensor> batch_norm_cuda(const Tensor& x, std::optional<Tensor> residual,
                                                           const Tensor& weight, const Tensor& bias,
                                                           std::optional<Tensor> mean_in, std::optional<Tensor> var_in,
                                                           double eps, bool relu) {
  DeviceGuard guard(x.get_device_index());
  Tensor y = new_empty(x, {x.size(0), x.size(1), x.size(2)}, x.scalar_type());
  Tensor sum =
      residual ? new_empty(x, {x.size(0), x.size(1), x.size(2)}, x.scalar_type()) : new_empty(x, {0}, x.scalar_type());
  Tensor mean = mean_in ? torch::stable::clone(*mean_in) : new_empty(weight, {x.size(2)}, weight.scalar_type());
  Tensor var = var_in ? torch::stable::clone(*var_in) : new_empty(weight, {x.size(2)}, weight.scalar_type());
  if (x.numel() == 0) return {y, mean, var, sum};
  dispatch_device(x, "batch_norm", [&](auto* null) {
    using T = std::remove_pointer_t<decltype(null)>;
    using V = device_accumulate_t<T>;
    const uint64_t parameters = address(weight) | address(bias) | address(mean) | address(var);
    dispatch_pack<T>(x.size(2), address(x) | address(residual) | parameters, [&](auto pack) {
      constexpr int N = decltype(pack)::value;
      const NormLaunch launch(x, N);
      const T *from = device_data<T>(x), *added = device_data<T>(residual);
      T* s = residual ? device_data<T>(sum) : nullptr;
      if (!mean_in) {
        Tensor partial = launch.partial(x);
        norm_moments<T, N><<<launch.grid(), kNormBlock, 0, launch.stream>>>(from, added, s,
                                                                            device_data<double>(partial), launch.shape);
        STD_CUDA_KERNEL_LAUNCH_CHECK();
        if (residual) from = s, added = s = nullptr;
        norm_statistics<T><<<launch.statistics_grid(), kStatisticsBlock, 0, launch.stream>>>(
            from, device_data<double>(partial), device_data<V>(mean), device_data<V>(var), launch.shape);
        STD_CUDA_KERNEL_LAUNCH_CHECK();
      }
      norm_apply<T, N><<<launch.grid(), kNormBlock, 0, launch.stream>>>(
          from, added, s, device_data<V>(weight), device_data<V>(bias), device_data<V>(mean), device_data<V>(var), eps,
          relu, device_data<T>(y), launch.shape);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
  return {y, mean, var, sum};
}

std::tuple<Tensor, Tensor, Tensor> batch_norm_backward_cuda(const Tensor& grad, const Tensor& s, const Tensor& weight,
                                                            const Tensor& bias, const Tensor& mean, const Tensor& var,
                                                            double eps, bool relu, bool batch_statistics) {
  DeviceGuard guard(s.get_device_index());
  Tensor ds = new_empty(s, {s.size(0), s.size(1), s.size(2)}, s.scalar_type());
  Tensor dweight = torch::stable::new_zeros(weight, weight.sizes()),
         dbias = torch::stable::new_zeros(weight, weight.sizes());
  if (s.numel() == 0) return {ds, dweight, dbias};
  dispatch_device(s, "batch_norm_backward", [&](auto* null) {
    using T = std::remove_pointer_t<decltype(null)>;
    using V = device_accumulate_t<T>;
    const uint64_t parameters = address(weight) | address(bias) | address(mean) | address(var);
    dispatch_pack<T>(s.size(2), address(grad) | address(s) | parameters, [&](auto pack) {
      constexpr int N = decltype(pack)::value;
      const NormLaunch launch(s, N);
      Tensor partial = launch.partial(s);
      norm_gradient_sums<T, N><<<launch.grid(), kNormBlock, 0, launch.stream>>>(
          device_data<T>(grad), device_data<T>(s), device_data<V>(weight), device_data<V>(bias), device_data<V>(mean),
          device_data<V>(var), eps, relu, device_data<double>(partial), launch.shape);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
      norm_parameter_gradients<V><<<launch.statistics_grid(), kStatisticsBlock, 0, launch.stream>>>(
          device_data<double>(partial), device_data<V>(var), eps, device_data<V>(dweight), device_data<V>(dbias),
          launch.shape);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
      norm_gradient<T, N><<<launch.grid(), kNormBlock, 0, launch.stream>>>(
          device_data<T>(grad), device_data<T>(s), device_data<V>(weight), device_data<V>(bias), device_data<V>(mean),
          device_data<V>(var), eps, relu, device_data<V>(dweight), device_data<V>(dbias), batch_statistics,
          device_data<T>(ds), launch.shape);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
  return {ds, dweight, dbias};
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CUDA, m) {
  m.impl("batch_norm", TORCH_BOX(&cheblienet::batch_norm_cuda));
  m.impl("batch_norm_backward", TORCH_BOX(&cheblienet::batch_norm_backward_cuda));
}
