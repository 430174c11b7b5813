// Pooling and unpooling: every output vertex reduces the members that an index names; channels run innermost.
#include "../gather_operands.h"

#include <algorithm>
#include <vector>

#include "result_memory.h"

namespace cheblienet {
namespace {

constexpr int64_t kGrain = 32768;  // elements per task, so that small tensors stay on one thread

template <class T>
struct Gather {
  const T* x;            // (B, V, C)
  const int64_t* index;  // (Vout, m)
  int64_t vertices, members, channels;
};

template <class T>
void maximum(const Gather<T>& g, int64_t sample, int64_t out, T* y, uint8_t* winner) {
  bool first = true;
  for (int64_t slot = 0; slot < g.members; ++slot) {
    const int64_t v = g.index[out * g.members + slot];
    if (v < 0) continue;
    const T* row = g.x + (sample * g.vertices + v) * g.channels;
    for (int64_t c = 0; c < g.channels; ++c) {
      if (!first && !beats<accumulate_t<T>>(row[c], y[c])) continue;
      y[c] = row[c];
      winner[c] = static_cast<uint8_t>(slot);
    }
    first = false;
  }
}

template <class T>
void average(const Gather<T>& g, int64_t sample, int64_t out, T* y, accumulate_t<T>* sum) {
  std::fill_n(sum, g.channels, accumulate_t<T>(0));
  int64_t count = 0;
  for (int64_t slot = 0; slot < g.members; ++slot) {
    const int64_t v = g.index[out * g.members + slot];
    if (v < 0) continue;
    const T* row = g.x + (sample * g.vertices + v) * g.channels;
    for (int64_t c = 0; c < g.channels; ++c) sum[c] += static_cast<accumulate_t<T>>(row[c]);
    ++count;
  }
  for (int64_t c = 0; c < g.channels; ++c) y[c] = static_cast<T>(sum[c] / std::max<int64_t>(count, 1));
}

// That every output has a member among the vertices, and of those that are chosen, whose slots are `choice`, each is
// one.
void check_members(const char* op, const Tensor& index, int64_t vertices, const uint8_t* choice) {
  const int64_t outputs = index.size(0), members = index.size(1);
  const int64_t* member = index.const_data_ptr<int64_t>();
  check_range(op, "index", member, outputs * members, -1, vertices - 1);
  for (int64_t out = 0; out < outputs; ++out, member += members) {
    STD_TORCH_CHECK(std::any_of(member, member + members, [](int64_t v) { return v >= 0; }), op,
                    ": index: expected a member for each output, got none for ", out);
    STD_TORCH_CHECK(choice == nullptr || (choice[out] < members && member[choice[out]] >= 0), op,
                    ": choice: expected the slot of a member for each output, got ", choice ? int(choice[out]) : 0,
                    " for ", out);
  }
}

std::tuple<Tensor, Tensor> gather_reduce(const Tensor& signal, const Tensor& table, const Tensor& rowptr,
                                         const Tensor& entry, std::optional<Tensor> choice, std::string name) {
  const GatherOperands given = checked_gather("gather_reduce", signal, table, rowptr, entry, choice, name, false);
  const Tensor &x = given.signal, &index = given.index;
  const Reduction reduction = given.reduction;
  check_members("gather_reduce", index, x.size(1),
                reduction == Reduction::rand ? given.chosen.const_data_ptr<uint8_t>() : nullptr);
  const int64_t batch = x.size(0), outputs = index.size(0), channels = x.size(2);
  Tensor y = recycled_result(x, {batch, outputs, channels});
  Tensor winner = reduction == Reduction::rand  ? torch::stable::clone(given.chosen)
                  : reduction == Reduction::max ? new_empty(x, {batch, outputs, channels}, ScalarType::Byte)
                                                : new_empty(x, {0}, ScalarType::Byte);
  dispatch(x, "gather_reduce", [&](auto zero) {
    using T = decltype(zero);
    const Gather<T> g{x.const_data_ptr<T>(), index.const_data_ptr<int64_t>(), x.size(1), index.size(1), channels};
    T* yp = y.mutable_data_ptr<T>();
    uint8_t* wp = winner.mutable_data_ptr<uint8_t>();
    torch::stable::parallel_for(
        0, batch * outputs, 1 + kGrain / (g.members * channels + 1), [&](int64_t begin, int64_t end) {
          std::vector<accumulate_t<T>> sum(channels);
          for (int64_t row = begin; row < end; ++row) {
            const int64_t sample = row / outputs, out = row % outputs;
            T* target = yp + row * channels;
            switch (reduction) {
              case Reduction::max: maximum(g, sample, out, target, wp + row * channels); break;
              case Reduction::avg: average(g, sample, out, target, sum.data()); break;
              case Reduction::rand:
                std::copy_n(g.x + (sample * g.vertices + g.index[out * g.members + wp[out]]) * channels, channels,
                            target);
            }
          }
        });
  });
  return {y, winner};
}

// A gather over the transposed index: every vertex collects from the outputs that read it, so no two threads write one
// address and the order of the sum is fixed.
Tensor gather_reduce_backward(const Tensor& gradient, const Tensor& winner, const Tensor& table, const Tensor& pointers,
                              const Tensor& entries, std::string name) {
  const char* const op = "gather_reduce_backward";
  const GatherOperands given = checked_gather(op, gradient, table, pointers, entries, winner, name, true);
  const Tensor &grad = given.signal, &index = given.index, &rowptr = given.rowptr, &entry = given.entry;
  const Reduction reduction = given.reduction;
  const int64_t batch = grad.size(0), outputs = grad.size(1), channels = grad.size(2), members = index.size(1);
  const int64_t vertices = rowptr.size(0) - 1;
  const int64_t *ip = index.const_data_ptr<int64_t>(), *rp = rowptr.const_data_ptr<int64_t>(),
                *ep = entry.const_data_ptr<int64_t>();
  const uint8_t* wp = given.chosen.const_data_ptr<uint8_t>();
  STD_TORCH_CHECK(rp[0] == 0 && rp[vertices] == entry.size(0) && std::is_sorted(rp, rp + vertices + 1), op,
                  ": rowptr: expected ascending numbers from 0 to n = ", entry.size(0));
  check_range(op, "entry", ep, entry.size(0), 0, outputs * members - 1);
  check_range(op, "winner", wp, given.chosen.numel(), 0, members - 1);
  Tensor dx = recycled_result(grad, {batch, vertices, channels});
  dispatch(grad, "gather_reduce_backward", [&](auto zero) {
    using T = decltype(zero);
    using Acc = accumulate_t<T>;
    const T* gp = grad.const_data_ptr<T>();
    T* dp = dx.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, batch * vertices, 1 + kGrain / (channels + 1), [&](int64_t begin, int64_t end) {
      std::vector<Acc> sum(channels);
      for (int64_t row = begin; row < end; ++row) {
        const int64_t sample = row / vertices, v = row % vertices;
        std::fill(sum.begin(), sum.end(), Acc(0));
        for (int64_t e = rp[v]; e < rp[v + 1]; ++e) {
          const int64_t out = ep[e] / members, slot = ep[e] % members;
          const T* from = gp + (sample * outputs + out) * channels;
          const uint8_t* won = wp + (sample * outputs + out) * channels;
          switch (reduction) {
            case Reduction::max:
              for (int64_t c = 0; c < channels; ++c) sum[c] += won[c] == slot ? static_cast<Acc>(from[c]) : Acc(0);
              break;
            case Reduction::avg: {
              const auto count = members - std::count(ip + out * members, ip + (out + 1) * members, int64_t(-1));
              for (int64_t c = 0; c < channels; ++c) sum[c] += static_cast<Acc>(from[c]) / count;
              break;
            }
            case Reduction::rand:
              if (wp[out] == slot)
                for (int64_t c = 0; c < channels; ++c) sum[c] += static_cast<Acc>(from[c]);
          }
        }
        for (int64_t c = 0; c < channels; ++c) dp[row * channels + c] = static_cast<T>(sum[c]);
      }
    });
  });
  return dx;
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CPU, m) {
  m.impl("gather_reduce", TORCH_BOX(&cheblienet::gather_reduce));
  m.impl("gather_reduce_backward", TORCH_BOX(&cheblienet::gather_reduce_backward));
}
