// The orders of a Chebyshev expansion: a matrix of rows of C channels for each order and sample. With all orders of a
// row side by side, one matrix product would combine them; but rows without gaps between them stay in cache and in
// reach of the prefetcher, and the sparse steps gain more by that than R narrow products that add up may lose.
//
// The recurrence runs as a wave: as soon as the rows that a block of the next order reaches are there, that block is
// computed. Where neighbours are near each other in the order of the rows, every row passes through all orders while it
// is in cache, and a workspace need not hold more rows than are under way.
#pragma once
#include <algorithm>
#include <vector>

#include "../torch_api.h"
#include "pattern.h"
#include "sparse_rows.h"

namespace cheblienet {

constexpr int64_t kGrain = 16384;  // elements per task: below it a second thread costs more than it gains

// Where the rows of each order are.
template <class T>
struct OrderRows {
  Rows<T> first, second;
  int64_t distance;  // elements from one order to the next, from the second on

  Rows<T> operator[](int64_t k) const { return k == 0 ? first : second.shifted((k - 1) * distance); }
  OrderRows shifted(int64_t elements) const { return {first.shifted(elements), second.shifted(elements), distance}; }
};

template <class T>
struct ChebyshevOrders {
  Csr<T> laplacian;
  const Pattern* pattern;
  int64_t vertices, orders;
  // How the wave runs: samples and channels of a row, rows per block (one block of all rows is a sweep per order), and
  // rows in the workspace: all, or at least those of `window`.
  int64_t samples, channels, block, capacity;

  // Inside a parallel region, where each thread has samples of its own, this loop runs on the calling thread.
  template <class F>
  static void for_rows(int64_t begin, int64_t end, int64_t elements, const F& f) {
    torch::stable::parallel_for(begin, end, 1 + kGrain / (elements + 1), f);
  }

  // Rows in memory for all orders, or for all but order 0 if that has a place of its own, (samples, V, C), for a
  // workspace that holds all rows.
  OrderRows<T> rows_in(T* memory, T* first = nullptr) const {
    const int64_t segment = capacity * channels, distance = samples * segment;
    const Rows<T> rows{memory, channels, segment};
    return {first ? Rows<T>{first, channels, segment} : rows, first ? rows : rows.shifted(distance), distance};
  }

  // load(z, begin, end) fills these rows of z[0] with x; use(z, begin, end) finds z[k] = T_k(L) x in these rows. Rows
  // may be elsewhere in memory at every call: z tells where.
  template <class Load, class Use>
  void recurrence(const OrderRows<T>& workspace, const Load& load, const Use& use) const {
    wave(workspace, load, use, [&](const OrderRows<T>& z, int64_t k) {
      return step(k == 1 ? 1 : 2, z[k - 1], {}, k == 1 ? Rows<T>{} : z[k - 2], z[k]);
    });
  }

  // load(b, begin, end) fills these rows of b[k] with p_k; use(b, begin, end) finds p_0 + L b_1 - b_2 in b[0], and
  // b_k = p_k + 2 L b_{k+1} - b_{k+2} in the others.
  template <class Load, class Use>
  void clenshaw(const OrderRows<T>& workspace, const Load& load, const Use& use) const {
    wave(workspace, load, use, [&](const OrderRows<T>& b, int64_t stage) {
      const int64_t k = orders - 1 - stage;
      return step(k == 0 ? 1 : 2, b[k + 1], b[k], k + 2 < orders ? b[k + 2] : Rows<T>{}, b[k]);
    });
  }

  // gradient[e] += scale * <left[i], right[j]> for the entries e = (i, j) of L, over all samples of `count` orders from
  // the ones given.
  void edge_dots(T scale, Rows<T> left, Rows<T> right, int64_t count, T* gradient) const {
    const EdgeDots<T> dots{laplacian, scale, count * samples, channels, left, right, gradient};
    for_rows(0, vertices, channels, [&](int64_t begin, int64_t end) { row_kernels<T>().edge_dots(dots, begin, end); });
  }

  // How many rows are under way at most: loaded, or about to be, and still to be read.
  int64_t window() const {
    std::vector<int64_t> done(orders + 1, 0);
    int64_t most = 0;
    for (int64_t to = 0; to < vertices;) {
      to = std::min(to + block, vertices);
      std::vector<int64_t> next(orders + 1, to);
      for (int64_t stage = orders - 1; stage > 0; --stage)
        next[stage - 1] = std::max(done[stage - 1], pattern->reach(next[stage]));
      most = std::max(most, next[0] - first_needed(done));
      done = next;
    }
    return most;
  }

 private:
  SparseStep<T> step(int scale, Rows<T> in, Rows<T> plus, Rows<T> minus, Rows<T> out) const {
    return {laplacian, T(scale), samples, channels, out.stride, out.segment, in.data, plus.data, minus.data, out.data};
  }

  // Stage 0 loads, stages 1 to R - 1 are steps, stage R uses. A step needs the stage before it as far as it reaches.
  template <class Load, class Use, class Step>
  void wave(const OrderRows<T>& workspace, const Load& load, const Use& use, const Step& step_of) const {
    std::vector<int64_t> done(orders + 1, 0);
    OrderRows<T> work = workspace;
    int64_t first = 0;  // row in the workspace
    const auto advance = [&](const auto& self, int64_t stage, int64_t to) -> void {
      const int64_t from = done[stage];
      if (from >= to) return;
      if (stage > 0) self(self, stage - 1, stage < orders ? pattern->reach(to) : to);
      if (stage == 0) {
        if (to - first > capacity) {
          const int64_t needed = first_needed(done);
          for (int64_t k = 0; k < orders; ++k)
            for (int64_t s = 0; s < samples; ++s) std::copy(work[k](needed, s), work[k](from, s), workspace[k](0, s));
          first = needed;
          work = workspace.shifted(-first * channels);
        }
        load(work, from, to);
      } else if (stage == orders) {
        use(work, from, to);
      } else {
        const SparseStep<T> s = step_of(work, stage);
        for_rows(from, to, samples * channels,
                 [&](int64_t begin, int64_t end) { row_kernels<T>().step(s, begin, end); });
      }
      done[stage] = to;
    };
    for (int64_t to = 0; to < vertices;) advance(advance, orders, to = std::min(to + block, vertices));
  }

  // The first row that a wave which has come as far as `done` will read again: of those in use, or reached for by the
  // last step, which is behind all others.
  int64_t first_needed(const std::vector<int64_t>& done) const {
    return std::min(done[orders], pattern->first_read(done[orders - 1]));
  }
};

}  // namespace cheblienet
