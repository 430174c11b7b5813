#include "gather_reduce.cuh"

#include "../gather_operands.h"
#include "device.cuh"

namespace cheblienet {
namespace {

template <class F>
void dispatch_reduction(Reduction reduction, F&& f) {
  switch (reduction) {
    case Reduction::max: return f(std::integral_constant<Reduction, Reduction::max>());
    case Reduction::avg: return f(std::integral_constant<Reduction, Reduction::avg>());
    case Reduction::rand: return f(std::integral_constant<Reduction, Reduction::rand>());
  }
}

std::tuple<Tensor, Tensor> gather_reduce_cuda(const Tensor& signal, const Tensor& table, const Tensor& rowptr,
                                              const Tensor& entry, std::optional<Tensor> choice, std::string name) {
  check_on_gpu("gather_reduce", "x", signal);
  const GatherOperands given = checked_gather("gather_reduce", signal, table, rowptr, entry, choice, name, false);
  const Tensor &x = given.signal, &index = given.index;
  const Reduction reduction = given.reduction;
  DeviceGuard guard(x.get_device_index());
  const int64_t batch = x.size(0), vertices = x.size(1), outputs = index.size(0), channels = x.size(2);
  Tensor y = new_empty(x, {batch, outputs, channels}, x.scalar_type());
  Tensor winner = torch::stable::clone(given.chosen);
  if (reduction == Reduction::max) winner = new_empty(x, {batch, outputs, channels}, ScalarType::Byte);
  if (y.numel() == 0) return {y, winner};
  dispatch_device(x, "gather_reduce", [&](auto* null) {
    using T = std::remove_pointer_t<decltype(null)>;
    dispatch_pack<T>(channels, address(x), [&](auto pack) {
      dispatch_reduction(reduction, [&](auto chosen) {
        const GatherLaunch launch = gather_launch(outputs * channels / pack, batch);
        gather_reduce<T, decltype(pack)::value, decltype(chosen)::value>
            <<<dim3(launch.grid, launch.samples), launch.block, 0, current_stream(x)>>>(
                device_data<T>(x), index.const_data_ptr<int64_t>(), given.chosen.const_data_ptr<uint8_t>(),
                device_data<T>(y), winner.mutable_data_ptr<uint8_t>(), batch, vertices, outputs,
                static_cast<int>(index.size(1)), static_cast<int>(channels));
      });
    });
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {y, winner};
}

Tensor gather_reduce_backward_cuda(const Tensor& gradient, const Tensor& chosen, const Tensor& table,
                                   const Tensor& pointers, const Tensor& entries, std::string name) {
  const char* const op = "gather_reduce_backward";
  check_on_gpu(op, "grad", gradient);
  const GatherOperands given = checked_gather(op, gradient, table, pointers, entries, chosen, name, true);
  const Tensor &grad = given.signal, &winner = given.chosen, &index = given.index, &rowptr = given.rowptr,
               &entry = given.entry;
  const Reduction reduction = given.reduction;
  DeviceGuard guard(grad.get_device_index());
  const int64_t batch = grad.size(0), outputs = grad.size(1), channels = grad.size(2), vertices = rowptr.size(0) - 1;
  Tensor dx = new_empty(grad, {batch, vertices, channels}, grad.scalar_type());
  if (dx.numel() == 0) return dx;
  dispatch_device(grad, "gather_reduce_backward", [&](auto* null) {
    using T = std::remove_pointer_t<decltype(null)>;
    // A pack of winners, one byte each, starts at a multiple of as many bytes as a pack has elements.
    dispatch_pack<T>(channels, address(grad) | address(winner) * sizeof(T), [&](auto pack) {
      dispatch_reduction(reduction, [&](auto chosen) {
        const GatherLaunch launch = gather_launch(vertices * channels / pack, batch);
        gather_reduce_backward<T, decltype(pack)::value, decltype(chosen)::value>
            <<<dim3(launch.grid, launch.samples), launch.block, 0, current_stream(grad)>>>(
                device_data<T>(grad), winner.const_data_ptr<uint8_t>(), index.const_data_ptr<int64_t>(),
                rowptr.const_data_ptr<int64_t>(), entry.const_data_ptr<int64_t>(), device_data<T>(dx), batch, vertices,
                outputs, static_cast<int>(index.size(1)), static_cast<int>(channels));
      });
    });
  });
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return dx;
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CUDA, m) {
  m.impl("gather_reduce", TORCH_BOX(&cheblienet::gather_reduce_cuda));
  m.impl("gather_reduce_backward", TORCH_BOX(&cheblienet::gather_reduce_backward_cuda));
}
