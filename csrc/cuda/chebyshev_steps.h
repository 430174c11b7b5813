// The calls of the Chebyshev kernels, and the orders of a recurrence by either of its implementations: row by row, one
// launch per order, or on tiles of rows, one launch per order or one for all. All give the same bits.
#pragma once
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "../row_span.h"
#include "../torch_api.h"
#include "chebyshev_launch.h"

namespace cheblienet {

template <class S>
constexpr int64_t kPackOf = 16 / sizeof(S);

// The sparse matrix as kernels read it. `pattern` is [rows, col, vertex, slots, halo], see ops/tiles.py; without
// `vertex` it is computed, without slots and halo there are no tiles.
template <class V>
struct Laplacian {
  Tensor rows, values, vertex;
  std::vector<Tensor> tables;  // slots (T, D / 2 + 1, rows), halo (T, plane), or none

  // Of parts that were checked; `needed` for more than one order.
  template <class Device>
  Laplacian(const Device& device, const std::vector<Tensor>& pattern, const Tensor& weights, bool needed)
      : rows(pattern[0]),
        values(weights),
        vertex(pattern.size() > 2 ? pattern[2] : new_empty(weights, {0}, ScalarType::Int)) {
    const int64_t entries = weights.numel();
    if (pattern.size() > 4 && pattern[3].size(0) > 0) tables = {pattern[3], pattern[4]};
    if (needed && entries > 0 && pattern.size() <= 2) {
      vertex = new_empty(weights, {entries}, ScalarType::Int);
      device.vertices(span_data(), pattern[1].const_data_ptr<int32_t>(), vertex.mutable_data_ptr<int32_t>(),
                      static_cast<uint32_t>(entries));
    }
  }

  const RowSpan* span_data() const { return static_cast<const RowSpan*>(rows.const_data_ptr()); }
  const int32_t* vertex_data() const { return vertex.const_data_ptr<int32_t>(); }
  const V* value_data() const { return values.const_data_ptr<V>(); }
  const int32_t* slot_data() const { return tables[0].const_data_ptr<int32_t>(); }
  const int32_t* halo_data() const { return tables[1].const_data_ptr<int32_t>(); }
  bool has_tiles() const { return !tables.empty(); }
  int64_t tiles() const { return tables[0].size(0); }
  int64_t degree() const { return 2 * (tables[0].size(1) - 1); }
  int64_t tile_rows() const { return tables[0].size(2); }
};

// Orders shape.from to shape.to as tile_orders has them. x, y and bias may be null.
template <class S>
struct OrdersCall {
  const Laplacian<accumulate_t<S>>* laplacian;
  const S *x, *bias;
  S *z, *y;
  TileShape shape;  // of tiles, chunks and splits what `on_tiles` fills in

  bool down() const { return shape.from > shape.to; }
  int64_t elements() const { return int64_t(shape.batch) * shape.vertices * shape.orders * shape.width; }
};

// One step row by row, of the operands of chebyshev_step.
template <class S>
struct StepCall {
  const Laplacian<accumulate_t<S>>* laplacian;
  accumulate_t<S> scale;
  const S *in, *plus, *minus, *bias;
  S* out;
  StepShape shape;
};

template <class S>
struct DotsCall {
  const Laplacian<accumulate_t<S>>* laplacian;
  const S *left, *right;
  accumulate_t<S>* gradient;
  DotsShape shape;
};

// The same on tiles: `shares` (splits, E) are added up into the gradient.
template <class S>
struct TileDotsCall {
  DotsCall<S> dots;
  accumulate_t<S>* shares;
  TileShape shape;
};

template <class S>
struct PrepareCall {
  const S* weight;
  S* stacked;
  const S* x;
  S* z;
  const S* dy;
  double* partial;
  PrepareShape shape;
};

template <class S>
struct FinishCall {
  const accumulate_t<S>* shares;
  S* dweight;
  const double* partial;
  S* dbias;
  FinishShape shape;
};

// The steps of a call, each to f(StepCall).
template <class S, class F>
void for_steps(const OrdersCall<S>& call, const F& f) {
  const TileShape& shape = call.shape;
  const int64_t width = shape.width;
  const auto slot = [&](int64_t k) { return k < 0 || k >= shape.orders ? nullptr : call.z + k * width; };
  for (int32_t k = shape.from; k != shape.to; k += call.down() ? -1 : 1) {
    StepCall<S> step{};
    step.laplacian = call.laplacian;
    step.shape.vertices = shape.vertices;
    step.shape.samples = static_cast<uint32_t>(shape.batch);
    step.shape.in_stride = step.shape.out_stride = static_cast<uint32_t>(shape.orders * width);
    step.shape.channels = static_cast<uint32_t>(width);
    step.out = slot(k);
    step.scale = accumulate_t<S>(k == (call.down() ? 0 : 1) ? 1 : 2);
    if (call.down()) {
      step.in = slot(k + 1);
      step.plus = slot(k);
      step.minus = slot(k + 2);
      if (k == 0) {
        step.out = call.y;
        step.bias = call.bias;
        step.shape.out_stride = step.shape.channels = static_cast<uint32_t>(shape.channels);
      }
    } else if (k == 1 && call.x != nullptr) {
      step.in = call.x;
      step.out = slot(0);
      step.shape.copied = static_cast<uint32_t>(width);
      step.shape.in_stride = static_cast<uint32_t>(width);
    } else {
      step.in = slot(k - 1);
      step.minus = slot(k - 2);
    }
    f(step);
  }
}

enum class Steps { rows, tiles, orders };

// "rows", "tiles", "orders" or, for the fastest of them, "auto".
inline std::optional<Steps> steps_by_name(const std::string& name) {
  if (name == "rows") return Steps::rows;
  if (name == "tiles") return Steps::tiles;
  if (name == "orders") return Steps::orders;
  STD_TORCH_CHECK(name == "auto", "CHEBLIENET_STEPS: expected auto, rows, tiles or orders, got ", name);
  return {};
}

// The candidate with the smallest median of `time(candidate)`, the first one if another is not at least 3 % faster.
template <class F>
Steps fastest(const std::vector<Steps>& candidates, const F& time) {
  constexpr int kRuns = 7;
  std::vector<std::array<float, kRuns>> times(candidates.size());
  for (const Steps by : candidates) time(by);  // the first run loads code
  for (int run = 0; run < kRuns; ++run)        // in turns: a clock that changes meets all alike
    for (size_t i = 0; i < candidates.size(); ++i) times[i][run] = time(candidates[i]);
  size_t best = 0;
  std::vector<float> medians;
  for (auto& runs : times) {
    std::nth_element(runs.begin(), runs.begin() + kRuns / 2, runs.end());
    medians.push_back(runs[kRuns / 2]);
    if (medians.back() < 0.97f * medians[best]) best = medians.size() - 1;
  }
  return candidates[best];
}

// Fills in how kernels on tiles of `laplacian` run: false where tables or shared memory do not allow it.
// `resident_blocks(shape)` tells how many blocks the device can hold at a time.
template <class V, class F>
bool on_tiles(TileShape& shape, const Laplacian<V>& laplacian, uint32_t shared_limit, const F& resident_blocks) {
  if (!laplacian.has_tiles()) return false;
  shape.tiles = static_cast<int32_t>(laplacian.tiles());
  shape.tile_rows = static_cast<int32_t>(laplacian.tile_rows());
  shape.plane = static_cast<int32_t>(laplacian.tables[1].size(1));
  if (!choose_chunks(shape, shared_limit)) return false;
  const int64_t resident = resident_blocks(shape);
  choose_splits(shape, resident);
  return resident > 0;
}

// Runs a call by one implementation: step(StepCall), or tiles(OrdersCall) with one or more orders.
template <class S, class Step, class Tiles>
void run_orders(OrdersCall<S> call, Steps by, const Step& step, const Tiles& tiles) {
  if (by == Steps::rows) return for_steps(call, step);
  if (by == Steps::orders) return tiles(call);
  const int32_t to = call.shape.to, next = call.down() ? -1 : 1;
  for (int32_t k = call.shape.from; k != to; k += next) {
    call.shape.from = k;
    call.shape.to = k + next;
    tiles(call);
  }
}

}  // namespace cheblienet
