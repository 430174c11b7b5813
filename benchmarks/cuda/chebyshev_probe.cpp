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

// `resident` blocks run side by side.
using Hook = void (*)(const char* kernel, uint32_t grid, uint32_t block, uint32_t shared, uint32_t resident,
                      int32_t count, const Argument* arguments);
Hook hook = nullptr;

// What the device would say of itself: bytes of a workspace, shared memory of a block, blocks that it holds at a time.
int64_t memory = 0, shared_limit = 0, resident_blocks = 0;
Steps steps = Steps::rows;

template <class S>
std::string type_name() {
  if (std::is_same_v<S, double>) return "double";
  if (std::is_same_v<S, float>) return "float";
  return std::is_same_v<S, Half> ? "__half" : "__nv_bfloat16";
}

template <class S>
std::string instance(const std::string& name, int64_t argument) {
  return name + "<" + type_name<S>() + ", \\(?(int\\))?" + std::to_string(argument) + ">";
}

template <class V>
Argument value(const V& v) {
  return {&v, sizeof(V), by_value};
}

template <class S>
Argument elements(const S* data, int64_t count, Kind kind) {
  return {data, data == nullptr ? 0 : count * int64_t(sizeof(S)), kind};
}

Argument contents(const Tensor& t) { return {t.const_data_ptr(), t.numel() * int64_t(t.element_size()), read}; }

void launch(const std::string& kernel, Launch geometry, std::initializer_list<Argument> arguments, uint32_t shared = 0,
            uint32_t resident = 1) {
  hook(kernel.c_str(), geometry.grid, geometry.block, shared, resident, static_cast<int32_t>(arguments.size()),
       arguments.begin());
}

// Rows of whole packs must start at multiples of 16 bytes; the copies that a simulator works on would hide it.
void check_aligned(const void* data, int64_t stride_bytes) {
  STD_TORCH_CHECK(reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride_bytes % 16 == 0, "misaligned rows");
}

struct ProbeDevice {
  int64_t workspace_bytes() const { return memory; }

  void vertices(const RowSpan* rows, const int32_t* col, int32_t* vertex, uint32_t entries) const {
    launch("chebyshev_vertices", vertices_launch(entries),
           {{rows, row_count * int64_t(sizeof(RowSpan)), read},
            elements(col, entries, read),
            elements(vertex, entries, written),
            value(entries)});
  }

  template <class S>
  void orders(OrdersCall<S> call) const {
    const bool fits =
        on_tiles(call.shape, *call.laplacian, shared_limit, [](const TileShape&) { return resident_blocks; });
    const bool all = fits && call.shape.tiles * call.shape.splits <= resident_blocks;
    run_orders(
        call,
        !fits                            ? Steps::rows
        : steps == Steps::orders && !all ? Steps::tiles
                                         : steps,
        [&](const StepCall<S>& step) { this->step(step); }, [&](const OrdersCall<S>& some) { tiles(some); });
  }

  template <class S>
  void step(const StepCall<S>& call) const {
    using V = accumulate_t<S>;
    constexpr uint32_t pack = kPackOf<S>;
    for_step_launches(call.shape, pack, [&](const StepShape& shape, Launch geometry) {
      const int64_t last = shape.samples * shape.vertices - 1, packs = (shape.channels + pack - 1) / pack;
      const auto operand = [&](const S* p, int64_t stride, int64_t channels, Kind kind) {
        return elements(p, last * stride + channels, kind);
      };
      for (const S* p : {call.in, call.plus, call.minus}) check_aligned(p, shape.in_stride * int64_t(sizeof(S)));
      if (shape.channels % pack == 0) check_aligned(call.out, shape.out_stride * int64_t(sizeof(S)));
      launch(instance<S>("chebyshev_step", samples_per_thread(shape.samples)), geometry,
             {contents(call.laplacian->rows), contents(call.laplacian->vertex), contents(call.laplacian->values),
              value(V(call.scale)), operand(call.in, shape.in_stride, packs * pack, read),
              operand(call.plus, shape.in_stride, packs * pack, read),
              operand(call.minus, shape.in_stride, packs * pack, read), elements(call.bias, shape.channels, read),
              operand(call.out, shape.out_stride, shape.copied + shape.channels, written), value(shape)});
    });
  }

  template <class S>
  void tiles(const OrdersCall<S>& call) const {
    const TileShape& shape = call.shape;
    const Launch geometry = tile_launch(shape);
    const int64_t signals = int64_t(shape.batch) * shape.vertices;
    check_aligned(call.x, 0);
    check_aligned(call.z, shape.width * int64_t(sizeof(S)));
    std::vector<uint32_t> barriers(2 * shape.splits, 0);
    for (int32_t split = 0; split < shape.splits; ++split) barriers[2 * split + 1] = 0xffffffffu - split;
    launch(
        instance<S>("tile_orders", call.laplacian->degree()), geometry,
        {elements(call.x, signals * shape.width, read), elements(call.z, signals * shape.orders * shape.width, written),
         elements(call.y, signals * shape.channels, written), elements(call.bias, shape.channels, read),
         contents(call.laplacian->rows), contents(call.laplacian->values), contents(call.laplacian->tables[0]),
         contents(call.laplacian->tables[1]), elements(barriers.data(), barriers.size(), written), value(shape)},
        shape.shared_bytes(), geometry.grid);
    for (int32_t split = 0; split < shape.splits; ++split)
      STD_TORCH_CHECK(barriers[2 * split] == 0, "a barrier is not set back");
  }

  template <class S>
  void edge_dots(const DotsCall<S>& call) const {
    const DotsShape& shape = call.shape;
    const int64_t count = (shape.samples * shape.vertices - 1) * shape.stride + shape.elements;
    check_aligned(call.left, shape.stride * int64_t(sizeof(S)));
    check_aligned(call.right, shape.stride * int64_t(sizeof(S)));
    launch("chebyshev_edge_dots<" + type_name<S>() + ">", dots_launch(shape),
           {contents(call.laplacian->rows), contents(call.laplacian->vertex), elements(call.left, count, read),
            elements(call.right, count, read), elements(call.gradient, call.laplacian->values.numel(), written),
            value(shape)});
  }

  template <class S>
  bool dots_on_tiles(TileDotsCall<S>& call) const {
    return steps != Steps::rows &&
           on_tiles(call.shape, *call.dots.laplacian, shared_limit, [](const TileShape&) { return resident_blocks; });
  }

  template <class S>
  void tile_dots(const TileDotsCall<S>& call) const {
    const DotsShape& dots = call.dots.shape;
    const Laplacian<accumulate_t<S>>& laplacian = *call.dots.laplacian;
    const int64_t entries = laplacian.values.numel(), splits = call.shape.splits;
    const int64_t count = (dots.samples * dots.vertices - 1) * dots.stride + dots.elements;
    check_aligned(call.dots.left, dots.stride * int64_t(sizeof(S)));
    check_aligned(call.dots.right, dots.stride * int64_t(sizeof(S)));
    launch(instance<S>("tile_dots", laplacian.degree()), tile_launch(call.shape),
           {elements(call.dots.left, count, read), elements(call.dots.right, count, read), contents(laplacian.rows),
            contents(laplacian.tables[0]), contents(laplacian.tables[1]),
            elements(call.shares, splits * entries, written), value(entries), value(call.shape)},
           call.shape.shared_bytes());
    const int32_t shares = static_cast<int32_t>(splits);
    launch("add_shares<" + type_name<accumulate_t<S>>() + ">", {blocks_for(entries, kOperandsBlock), kOperandsBlock},
           {elements(call.shares, splits * entries, read), elements(call.dots.gradient, entries, written),
            value(entries), value(shares), value(dots.accumulate)});
  }

  template <class S>
  void prepare(const PrepareCall<S>& call) const {
    const PrepareShape& s = call.shape;
    launch("chebyshev_prepare<" + type_name<S>() + ">", prepare_launch(s),
           {elements(call.weight, int64_t(s.orders) * s.cin * s.cout, read),
            elements(call.stacked, stacked_elements(s), written), elements(call.x, s.signal_rows * s.channels, read),
            elements(call.z, s.signal_rows * s.stride, written), elements(call.dy, s.sum_rows * s.columns, read),
            elements(call.partial, int64_t(s.parts) * s.columns, written), value(s)});
  }

  template <class S>
  void finish(const FinishCall<S>& call) const {
    const FinishShape& s = call.shape;
    const int64_t size = s.side_by_side ? int64_t(s.cin) * s.orders * s.width : int64_t(s.orders) * s.width * s.cout;
    launch("chebyshev_finish<" + type_name<S>() + ">", finish_launch(s),
           {elements(call.shares, s.shares * size, read),
            elements(call.dweight, s.shares ? int64_t(s.orders) * s.cin * s.cout : 0, written),
            elements(call.partial, int64_t(s.parts) * s.columns, read), elements(call.dbias, s.columns, written),
            value(s)});
  }

  int64_t row_count;
};

Tensor forward(const Tensor& x, const Tensor& weight, const std::vector<Tensor>& pattern, const Tensor& values,
               std::optional<Tensor> bias) {
  return chebyshev_on(ProbeDevice{x.size(1)}, x, weight, pattern, values, bias);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> backward(const Tensor& grad, const Tensor& x, const Tensor& weight,
                                                    const std::vector<Tensor>& pattern, const Tensor& values,
                                                    bool need_x, bool need_weight, bool need_bias, bool need_values) {
  return chebyshev_backward_on(ProbeDevice{x.size(1)}, grad, x, weight, pattern, values, need_x, need_weight, need_bias,
                               need_values);
}

}  // namespace

// Who executes launches, and on what device.
extern "C" __attribute__((visibility("default"))) void cheblienet_probe(Hook execute, int64_t bytes, int64_t shared,
                                                                        int64_t resident, const char* by) {
  hook = execute;
  memory = bytes;
  shared_limit = shared;
  resident_blocks = resident;
  steps = steps_by_name(by).value_or(Steps::orders);
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

// The choice among rows, tiles and orders by times (3, 8) of their runs, the first of which is not counted.
extern "C" __attribute__((visibility("default"))) int32_t cheblienet_fastest(const float* times) {
  int runs[3] = {};
  return static_cast<int32_t>(fastest({Steps::rows, Steps::tiles, Steps::orders}, [&](Steps by) {
    const int candidate = static_cast<int>(by);
    return times[8 * candidate + runs[candidate]++];
  }));
}

STABLE_TORCH_LIBRARY(cheblienet_probe, m) {
  m.def("chebyshev(Tensor x, Tensor weight, Tensor[] pattern, Tensor values, Tensor? bias) -> Tensor");
  m.def(
      "chebyshev_backward(Tensor grad, Tensor x, Tensor weight, Tensor[] pattern, Tensor values, "
      "bool need_x, bool need_weight, bool need_bias, bool need_values) -> (Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(cheblienet_probe, CPU, m) {
  m.impl("chebyshev", TORCH_BOX(&forward));
  m.impl("chebyshev_backward", TORCH_BOX(&backward));
}
