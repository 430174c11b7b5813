#include "chebyshev.cuh"

#include "chebyshev_device.h"
#include "device.cuh"

namespace cheblienet {
namespace {

// Launches on the current stream of a tensor's device, which is made current as long as this lives.
struct CudaDevice {
  DeviceGuard guard;
  int32_t index;
  cudaStream_t stream;

  explicit CudaDevice(const Tensor& t)
      : guard(t.get_device_index()), index(t.get_device_index()), stream(current_stream(t)) {}

  // The second-level cache, where a block of samples then stays from order to order; at least enough for full launches.
  int64_t workspace_bytes() const {
    int bytes = 0;
    STD_CUDA_CHECK(cudaDeviceGetAttribute(&bytes, cudaDevAttrL2CacheSize, index));
    return std::max<int64_t>(bytes, 32 << 20);
  }

  template <class V>
  void edges(const RowSpan* rows, const int32_t* col, const V* values, void* edges, uint32_t entries) const {
    const Launch launch = edges_launch(entries);
    chebyshev_edges<V>
        <<<launch.grid, launch.block, 0, stream>>>(rows, col, values, static_cast<Edge<V>*>(edges), entries);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  template <class S>
  void step(const StepCall<S>& call) const {
    using T = typename device_type<S>::type;
    for_step_launches(call.shape, kPackSize<T>, [&](const StepShape& shape, Launch launch) {
      const auto kernel = samples_per_thread(shape.samples) == 1 ? chebyshev_step<T, 1> : chebyshev_step<T, 2>;
      kernel<<<launch.grid, launch.block, 0, stream>>>(
          call.rows, static_cast<const Edge<accumulate_t<S>>*>(call.edges), call.scale,
          reinterpret_cast<const T*>(call.in), reinterpret_cast<const T*>(call.plus),
          reinterpret_cast<const T*>(call.minus), reinterpret_cast<const T*>(call.bias), reinterpret_cast<T*>(call.out),
          shape);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    });
  }

  template <class S>
  void edge_dots(const DotsCall<S>& call) const {
    using T = typename device_type<S>::type;
    const Launch launch = dots_launch(call.shape);
    chebyshev_edge_dots<T><<<launch.grid, launch.block, 0, stream>>>(
        call.rows, static_cast<const Edge<accumulate_t<S>>*>(call.edges), reinterpret_cast<const T*>(call.left),
        reinterpret_cast<const T*>(call.right), call.gradient, call.shape);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
};

Tensor chebyshev_cuda(const Tensor& x, const Tensor& weight, const Tensor& rows, const Tensor& col,
                      const Tensor& values, std::optional<Tensor> bias) {
  return chebyshev_on(CudaDevice(x), x, weight, rows, col, values, bias);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> chebyshev_backward_cuda(const Tensor& grad, const Tensor& x,
                                                                   const Tensor& weight, const Tensor& rows,
                                                                   const Tensor& col, const Tensor& values, bool need_x,
                                                                   bool need_weight, bool need_bias, bool need_values) {
  return chebyshev_backward_on(CudaDevice(x), grad, x, weight, rows, col, values, need_x, need_weight, need_bias,
                               need_values);
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CUDA, m) {
  m.impl("chebyshev", TORCH_BOX(&cheblienet::chebyshev_cuda));
  m.impl("chebyshev_backward", TORCH_BOX(&cheblienet::chebyshev_backward_cuda));
}
