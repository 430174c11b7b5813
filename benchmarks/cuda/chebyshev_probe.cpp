// The operators of csrc/cuda/chebyshev_device.h on CPU tensors, with a device that hands its launches to a function: it
// may execute the kernels' PTX where there is no GPU.
#include <string>

#include "../../csrc/cuda/chebyshev_device.h"

namespace {

using namespace cheblienet;

enum Kind : int32_t { read, written, by_value };

struct Argument {
  const void* data;
  int64_t bytes;
  int32_t kind;
};

using Hook = void (*)(const char* kernel, uint32_t grid, uint32_t block, int32_t count, const Argument* arguments);
Hook hook = nullptr;
int64_t memory = 0;

template <class S>
std::string type_name() {
  if (std::is_same_v<S, double>) return "double";
  if (std::is_same_v<S, float>) return "float";
  return std::is_same_v<S, Half> ? "__half" : "__nv_bfloat16";
}

template <class V>
Argument value(const V& v) {
  return {&v, sizeof(V), by_value};
}

void launch(const std::string& kernel, Launch geometry, std::initializer_list<Argument> arguments) {
  hook(kernel.c_str(), geometry.grid, geometry.block, static_cast<int32_t>(arguments.size()), arguments.begin());
}

// Rows of whole packs must start at multiples of 16 bytes; the copies that a simulator works on would hide it.
void check_aligned(const void* data, int64_t stride_bytes) {
  STD_TORCH_CHECK(reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride_bytes % 16 == 0, "misaligned rows");
}

struct ProbeDevice {
  int64_t vertices, entries;

  int64_t workspace_bytes() const { return memory; }

  template <class V>
  void edges(const RowSpan* rows, const int32_t* col, const V* values, void* edges, uint32_t count) const {
    launch("chebyshev_edges<" + type_name<V>() + ">", edges_launch(count),
           {{rows, vertices * int64_t(sizeof(RowSpan)), read},
            {col, entries * int64_t(4), read},
            {values, entries * int64_t(sizeof(V)), read},
            {edges, entries * int64_t(2 * sizeof(V)), written},
            value(count)});
  }

  template <class S>
  void step(const StepCall<S>& call) const {
    using V = accumulate_t<S>;
    constexpr uint32_t pack = 16 / sizeof(S);
    for_step_launches(call.shape, pack, [&](const StepShape& shape, Launch geometry) {
      const int64_t last = shape.samples * shape.vertices - 1, packs = (shape.channels + pack - 1) / pack;
      const auto extent = [&](const S* p, int64_t stride, int64_t channels) -> int64_t {
        return p == nullptr ? 0 : (last * stride + channels) * int64_t(sizeof(S));
      };
      for (const S* p : {call.in, call.plus, call.minus}) check_aligned(p, shape.in_stride * int64_t(sizeof(S)));
      if (shape.channels % pack == 0) check_aligned(call.out, shape.out_stride * int64_t(sizeof(S)));
      launch("chebyshev_step<" + type_name<S>() + ", \\(?(int\\))?" +
                 std::to_string(samples_per_thread(shape.samples)) + ">",
             geometry,
             {{call.rows, shape.vertices * int64_t(sizeof(RowSpan)), read},
              {call.edges, entries * int64_t(2 * sizeof(V)), read},
              value(call.scale),
              {call.in, extent(call.in, shape.in_stride, packs * pack), read},
              {call.plus, extent(call.plus, shape.in_stride, packs * pack), read},
              {call.minus, extent(call.minus, shape.in_stride, packs * pack), read},
              {call.bias, call.bias ? int64_t(shape.channels * sizeof(S)) : 0, read},
              {call.out, extent(call.out, shape.out_stride, shape.channels), written},
              value(shape)});
    });
  }

  template <class S>
  void edge_dots(const DotsCall<S>& call) const {
    using V = accumulate_t<S>;
    const DotsShape& shape = call.shape;
    const int64_t bytes = ((shape.samples * shape.vertices - 1) * shape.stride + shape.elements) * int64_t(sizeof(S));
    check_aligned(call.left, shape.stride * int64_t(sizeof(S)));
    check_aligned(call.right, shape.stride * int64_t(sizeof(S)));
    launch("chebyshev_edge_dots<" + type_name<S>() + ">", dots_launch(shape),
           {{call.rows, shape.vertices * int64_t(sizeof(RowSpan)), read},
            {call.edges, entries * int64_t(2 * sizeof(V)), read},
            {call.left, bytes, read},
            {call.right, bytes, read},
            {call.gradient, entries * int64_t(sizeof(V)), written},
            value(shape)});
  }
};

Tensor forward(const Tensor& x, const Tensor& weight, const Tensor& rows, const Tensor& col, const Tensor& values,
               std::optional<Tensor> bias) {
  return chebyshev_on(ProbeDevice{x.size(1), values.numel()}, x, weight, rows, col, values, bias);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> backward(const Tensor& grad, const Tensor& x, const Tensor& weight,
                                                    const Tensor& rows, const Tensor& col, const Tensor& values,
                                                    bool need_x, bool need_weight, bool need_bias, bool need_values) {
  return chebyshev_backward_on(ProbeDevice{x.size(1), values.numel()}, grad, x, weight, rows, col, values, need_x,
                               need_weight, need_bias, need_values);
}

}  // namespace

// Who executes launches, and how much memory a block of samples may take.
extern "C" __attribute__((visibility("default"))) void cheblienet_probe(Hook execute, int64_t bytes) {
  hook = execute;
  memory = bytes;
}

// The launches of one step: into `launches`, of each the first row, the rows and the blocks; returns how many.
extern "C" __attribute__((visibility("default"))) int64_t cheblienet_step_launches(int64_t vertices, uint32_t samples,
                                                                                   uint32_t channels, uint32_t pack,
                                                                                   int64_t* launches) {
  StepShape shape{};
  shape.vertices = vertices;
  shape.samples = samples;
  shape.channels = channels;
  int64_t count = 0;
  for_step_launches(shape, pack, [&](const StepShape& part, Launch geometry) {
    for (const int64_t value : {int64_t(part.first_row), int64_t(part.rows), int64_t(geometry.grid)})
      *launches++ = value;
    ++count;
  });
  return count;
}

STABLE_TORCH_LIBRARY(cheblienet_probe, m) {
  m.def("chebyshev(Tensor x, Tensor weight, Tensor rows, Tensor col, Tensor values, Tensor? bias) -> Tensor");
  m.def(
      "chebyshev_backward(Tensor grad, Tensor x, Tensor weight, Tensor rows, Tensor col, Tensor values, "
      "bool need_x, bool need_weight, bool need_bias, bool need_values) -> (Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(cheblienet_probe, CPU, m) {
  m.impl("chebyshev", TORCH_BOX(&forward));
  m.impl("chebyshev_backward", TORCH_BOX(&backward));
}
