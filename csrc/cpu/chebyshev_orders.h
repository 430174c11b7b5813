// The orders of a Chebyshev expansion, side by side in the rows of one workspace: R slots of C channels per sample.
//
// Rows are in the order of the Laplacian, where neighbours are near each other, so the recurrence runs as a wave: as
// soon as the rows that a block of the next order reaches are there, that block is computed, and every row passes
// through all orders while it is in cache.
#pragma once
#include <algorithm>
#include <vector>

#include "../torch_api.h"
#include "sparse_rows.h"

namespace cheblienet {

constexpr int64_t kGrain = 16384;  // elements per task: below it a second thread costs more than it gains

template <class T>
struct ChebyshevOrders {
  Csr<T> laplacian;
  int64_t vertices, orders;
  // How the wave runs: samples and channels of a row, and rows per block; one block of all rows is a sweep per order.
  int64_t samples, channels, block;

  // Inside a parallel region, where each thread has samples of its own, this loop runs on the calling thread.
  template <class F>
  static void for_rows(int64_t begin, int64_t end, int64_t elements, const F& f) {
    torch::stable::parallel_for(begin, end, 1 + kGrain / (elements + 1), f);
  }

  // load(begin, end) fills slot 0 of these rows with x; use(begin, end) finds z_k = T_k(L) x in their slots k.
  template <class Load, class Use>
  void recurrence(Rows<T> z, const Load& load, const Use& use) const {
    wave(load, use, [&](int64_t k) {
      return step(z, k == 1 ? 1 : 2, slot(z, k - 1), {}, k == 1 ? Rows<T>{} : slot(z, k - 2), slot(z, k));
    });
  }

  // load(begin, end) fills slots k of these rows with p_k; use(begin, end) finds p_0 + L b_1 - b_2 in their slot 0, and
  // b_k = p_k + 2 L b_{k+1} - b_{k+2} in the others.
  template <class Load, class Use>
  void clenshaw(Rows<T> p, const Load& load, const Use& use) const {
    wave(load, use, [&](int64_t stage) {
      const int64_t k = orders - 1 - stage;
      return step(p, k == 0 ? 1 : 2, slot(p, k + 1), slot(p, k), k + 2 < orders ? slot(p, k + 2) : Rows<T>{},
                  slot(p, k));
    });
  }

  // gradient[e] += scale * <left[i], right[j]> for the entries e = (i, j) of L, over `count` slots from the ones given.
  void edge_dots(T scale, Rows<T> left, Rows<T> right, int64_t count, T* gradient) const {
    const EdgeDots<T> dots{laplacian, scale, samples, count * channels, left, right, gradient};
    for_rows(0, vertices, channels, [&](int64_t begin, int64_t end) { row_kernels<T>().edge_dots(dots, begin, end); });
  }

  Rows<T> slot(Rows<T> rows, int64_t k) const { return rows.shifted(k * channels); }

 private:
  SparseStep<T> step(Rows<T> all, int scale, Rows<T> in, Rows<T> plus, Rows<T> minus, Rows<T> out) const {
    return {laplacian, T(scale), samples, channels, all.stride, all.segment, in.data, plus.data, minus.data, out.data};
  }

  // Stage 0 loads, stages 1 to R - 1 are steps, stage R uses. A step needs the stage before it as far as it reaches.
  template <class Load, class Use, class Step>
  void wave(const Load& load, const Use& use, const Step& step_of) const {
    std::vector<int64_t> done(orders + 1, 0);
    const auto advance = [&](const auto& self, int64_t stage, int64_t to) -> void {
      const int64_t from = done[stage];
      if (from >= to) return;
      if (stage > 0) self(self, stage - 1, stage < orders ? laplacian.rows[to - 1].reach : to);
      if (stage == 0) {
        load(from, to);
      } else if (stage == orders) {
        use(from, to);
      } else {
        const SparseStep<T> s = step_of(stage);
        for_rows(from, to, samples * channels,
                 [&](int64_t begin, int64_t end) { row_kernels<T>().step(s, begin, end); });
      }
      done[stage] = to;
    };
    for (int64_t to = 0; to < vertices;) advance(advance, orders, to = std::min(to + block, vertices));
  }
};

}  // namespace cheblienet
