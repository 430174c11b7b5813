#include "chebyshev.cuh"

#include "barriers.h"
#include "chebyshev_device.h"
#include "chebyshev_operands.cuh"
#include "chebyshev_tile_dots.cuh"
#include "device.cuh"
#include "steps_choice.h"

namespace cheblienet {
namespace {

// Launches on the current stream of a tensor's device, which is made current as long as this lives.
struct CudaDevice {
  DeviceGuard guard;
  Tensor like;
  int32_t index;
  cudaStream_t stream;

  explicit CudaDevice(const Tensor& t)
      : guard(t.get_device_index()), like(t), index(t.get_device_index()), stream(current_stream(t)) {}

  int attribute(cudaDeviceAttr name) const {
    int value = 0;
    STD_CUDA_CHECK(cudaDeviceGetAttribute(&value, name, index));
    return value;
  }

  // A few times the second-level cache: one launch for all samples of a usual batch, and bounded memory for others.
  int64_t workspace_bytes() const {
    return std::max<int64_t>(4 * int64_t(attribute(cudaDevAttrL2CacheSize)), 128 << 20);
  }

  void vertices(const RowSpan* rows, const int32_t* col, int32_t* vertex, uint32_t entries) const {
    const Launch launch = vertices_launch(entries);
    chebyshev_vertices<<<launch.grid, launch.block, 0, stream>>>(rows, col, vertex, entries);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  template <class S>
  static const void* tile_kernel(const Laplacian<accumulate_t<S>>& laplacian) {
    using T = typename device_type<S>::type;
    return laplacian.degree() == 16 ? (const void*)tile_orders<T, 16> : (const void*)tile_orders<T, 32>;
  }
  template <class S>
  static const void* dots_kernel(const Laplacian<accumulate_t<S>>& laplacian) {
    using T = typename device_type<S>::type;
    return laplacian.degree() == 16 ? (const void*)cheblienet::tile_dots<T, 16>
                                    : (const void*)cheblienet::tile_dots<T, 32>;
  }

  // Blocks of a kernel that run at a time. Asked once: the answer does not change, and a captured stream must not wait.
  int64_t resident_blocks(const void* kernel, const TileShape& shape) const {
    const uint32_t block = tile_launch(shape).block, shared = shape.shared_bytes();
    static std::mutex mutex;
    static auto& known = *new std::map<std::tuple<int32_t, const void*, uint32_t, uint32_t>, int64_t>;
    const std::lock_guard<std::mutex> lock(mutex);
    const std::tuple key{index, kernel, block, shared};
    auto found = known.find(key);
    if (found == known.end()) {  // kept only once all of it has succeeded
      int blocks = 0;
      STD_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)));
      STD_CUDA_CHECK(
          cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared));
      STD_CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, static_cast<int>(block), shared));
      found = known.emplace(key, int64_t(blocks) * attribute(cudaDevAttrMultiProcessorCount)).first;
    }
    return found->second;
  }

  // Whether a kernel on tiles can run: fills in its shape, and how many of its blocks run at a time.
  template <class V>
  bool fits(TileShape& shape, const Laplacian<V>& laplacian, const void* (*kernel)(const Laplacian<V>&),
            int64_t& resident) const {
    return attribute(cudaDevAttrComputeCapabilityMajor) >= 8 &&
           on_tiles(shape, laplacian, attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin),
                    [&](const TileShape& chosen) { return resident = resident_blocks(kernel(laplacian), chosen); });
  }

  template <class S>
  void orders(OrdersCall<S> call) const {
    int64_t resident = 0;
    const bool tiled = fits(call.shape, *call.laplacian, &tile_kernel<S>, resident);
    run_orders(
        call, tiled ? choose(call, resident) : Steps::rows, [&](const StepCall<S>& some) { step(some); },
        [&](const OrdersCall<S>& some) { tiles(some); });
  }

  template <class S>
  Steps choose(const OrdersCall<S>& call, int64_t resident) const {
    const TileShape& s = call.shape;
    const bool at_once = int64_t(s.tiles) * s.splits <= resident && 2 * s.splits <= kBarrierNumbers &&
                         attribute(cudaDevAttrCooperativeLaunch) && !several_processes() &&
                         barriers_for(like, stream) != nullptr;
    const Steps by_default = at_once ? Steps::orders : Steps::tiles;
    if (const std::optional<Steps> fixed = fixed_steps()) return *fixed == Steps::orders ? by_default : *fixed;
    const Choices::Key key{index,
                           int64_t(scalar_type<S>()),
                           s.vertices,
                           call.laplacian->values.numel(),
                           s.tiles,
                           s.plane,
                           call.laplacian->degree(),
                           s.batch,
                           s.orders,
                           s.width,
                           s.from - s.to,
                           at_once};
    if (const std::optional<Steps> known = Choices::all().find(key)) return *known;
    if (is_captured(stream)) return by_default;
    std::vector<Steps> candidates{Steps::rows, Steps::tiles};
    if (at_once) candidates.push_back(Steps::orders);
    OrdersCall<S> trial = call;  // which downwards overwrites what it reads
    Tensor scratch = new_empty(like, {call.down() ? call.elements() : 0}, scalar_type<S>());
    if (call.down()) trial.z = scratch.mutable_data_ptr<S>();
    const Steps best = fastest(candidates, [&](Steps by) {
      return milliseconds(stream, [&] {
        run_orders(
            trial, by, [&](const StepCall<S>& some) { step(some); }, [&](const OrdersCall<S>& some) { tiles(some); });
      });
    });
    Choices::all().keep(key, best);
    return best;
  }

  template <class S>
  void step(const StepCall<S>& call) const {
    using T = typename device_type<S>::type;
    for_step_launches(call.shape, kPackSize<T>, [&](const StepShape& shape, Launch launch) {
      const auto kernel = samples_per_thread(shape.samples) == 1 ? chebyshev_step<T, 1> : chebyshev_step<T, 2>;
      kernel<<<launch.grid, launch.block, 0, stream>>>(
          call.laplacian->span_data(), call.laplacian->vertex_data(), call.laplacian->value_data(), call.scale,
          reinterpret_cast<const T*>(call.in), reinterpret_cast<const T*>(call.plus),
          reinterpret_cast<const T*>(call.minus), reinterpret_cast<const T*>(call.bias), reinterpret_cast<T*>(call.out),
          shape);
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    });
  }

  // Several orders in one launch need all blocks at once, which a cooperative launch makes sure of.
  template <class S>
  void tiles(const OrdersCall<S>& call) const {
    const Launch launch = tile_launch(call.shape);
    const Laplacian<accumulate_t<S>>& laplacian = *call.laplacian;
    const bool waits = std::abs(call.shape.to - call.shape.from) > 1;
    uint32_t* barriers = waits ? barriers_for(like, stream) : nullptr;
    const RowSpan* rows = laplacian.span_data();
    const auto* values = laplacian.value_data();
    const int32_t *slots = laplacian.slot_data(), *halo = laplacian.halo_data();
    TileShape shape = call.shape;
    const void *x = call.x, *y = call.y, *z = call.z, *bias = call.bias;
    void* arguments[] = {&x, &z, &y, &bias, &rows, &values, &slots, &halo, &barriers, &shape};
    using Run = cudaError_t (*)(const void*, dim3, dim3, void**, size_t, cudaStream_t);  // of several overloads
    const Run run = waits ? Run(&cudaLaunchCooperativeKernel) : Run(&cudaLaunchKernel);
    STD_CUDA_CHECK(
        run(tile_kernel<S>(laplacian), dim3(launch.grid), dim3(launch.block), arguments, shape.shared_bytes(), stream));
  }

  template <class S>
  void edge_dots(const DotsCall<S>& call) const {
    using T = typename device_type<S>::type;
    const Launch launch = dots_launch(call.shape);
    chebyshev_edge_dots<T><<<launch.grid, launch.block, 0, stream>>>(
        call.laplacian->span_data(), call.laplacian->vertex_data(), reinterpret_cast<const T*>(call.left),
        reinterpret_cast<const T*>(call.right), call.gradient, call.shape);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  template <class S>
  bool dots_on_tiles(TileDotsCall<S>& call) const {
    int64_t resident = 0;
    return fixed_steps() != Steps::rows && fits(call.shape, *call.dots.laplacian, &dots_kernel<S>, resident);
  }

  template <class S>
  void tile_dots(const TileDotsCall<S>& call) const {
    const Launch launch = tile_launch(call.shape);
    const Laplacian<accumulate_t<S>>& laplacian = *call.dots.laplacian;
    const RowSpan* rows = laplacian.span_data();
    const int32_t *slots = laplacian.slot_data(), *halo = laplacian.halo_data();
    int64_t entries = laplacian.values.numel();
    TileShape shape = call.shape;
    const void *left = call.dots.left, *right = call.dots.right, *shares = call.shares;
    void* arguments[] = {&left, &right, &rows, &slots, &halo, &shares, &entries, &shape};
    STD_CUDA_CHECK(cudaLaunchKernel(dots_kernel<S>(laplacian), dim3(launch.grid), dim3(launch.block), arguments,
                                    shape.shared_bytes(), stream));
    add_shares<<<blocks_for(entries, kOperandsBlock), kOperandsBlock, 0, stream>>>(
        call.shares, call.dots.gradient, entries, shape.splits, call.dots.shape.accumulate);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  template <class S>
  void prepare(const PrepareCall<S>& call) const {
    using T = typename device_type<S>::type;
    const Launch launch = prepare_launch(call.shape);
    chebyshev_prepare<T><<<launch.grid, launch.block, 0, stream>>>(
        reinterpret_cast<const T*>(call.weight), reinterpret_cast<T*>(call.stacked), reinterpret_cast<const T*>(call.x),
        reinterpret_cast<T*>(call.z), reinterpret_cast<const T*>(call.dy), call.partial, call.shape);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  template <class S>
  void finish(const FinishCall<S>& call) const {
    using T = typename device_type<S>::type;
    const Launch launch = finish_launch(call.shape);
    chebyshev_finish<T><<<launch.grid, launch.block, 0, stream>>>(
        call.shares, reinterpret_cast<T*>(call.dweight), call.partial, reinterpret_cast<T*>(call.dbias), call.shape);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
};

Tensor chebyshev_pattern(const Tensor& x, const Tensor& weight, const std::vector<Tensor>& pattern,
                         const Tensor& values, std::optional<Tensor> bias) {
  check_on_gpu("chebyshev", "x", x);
  return chebyshev_on(CudaDevice(x), x, weight, pattern, values, bias);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> chebyshev_backward_pattern(
    const Tensor& grad, const Tensor& x, const Tensor& weight, const std::vector<Tensor>& pattern, const Tensor& values,
    bool need_x, bool need_weight, bool need_bias, bool need_values) {
  check_on_gpu("chebyshev_backward", "x", x);
  return chebyshev_backward_on(CudaDevice(x), grad, x, weight, pattern, values, need_x, need_weight, need_bias,
                               need_values);
}

Tensor chebyshev_cuda(const Tensor& x, const Tensor& weight, const Tensor& rows, const Tensor& col,
                      const Tensor& values, std::optional<Tensor> bias) {
  return chebyshev_pattern(x, weight, {rows, col}, values, std::move(bias));
}

std::tuple<Tensor, Tensor, Tensor, Tensor> chebyshev_backward_cuda(const Tensor& grad, const Tensor& x,
                                                                   const Tensor& weight, const Tensor& rows,
                                                                   const Tensor& col, const Tensor& values, bool need_x,
                                                                   bool need_weight, bool need_bias, bool need_values) {
  return chebyshev_backward_pattern(grad, x, weight, {rows, col}, values, need_x, need_weight, need_bias, need_values);
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CUDA, m) {
  m.impl("chebyshev", TORCH_BOX(&cheblienet::chebyshev_cuda));
  m.impl("chebyshev.pattern", TORCH_BOX(&cheblienet::chebyshev_pattern));
  m.impl("chebyshev_backward", TORCH_BOX(&cheblienet::chebyshev_backward_cuda));
  m.impl("chebyshev_backward.pattern", TORCH_BOX(&cheblienet::chebyshev_backward_pattern));
}
