// The orders of a Chebyshev expansion, side by side in the rows of one workspace: R slots of C channels per sample.
//
// The recurrence runs as a wave: as soon as the rows that a block of the next order reaches are there, that block is
// computed. Where neighbours are near each other in the order of the rows, every row passes through all orders while it
// is in cache, and a workspace need not hold more rows than are under way.
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
  // How the wave runs: samples and channels of a row, rows per block (one block of all rows is a sweep per order), and
  // rows in the workspace: all, or at least those of `window`.
  int64_t samples, channels, block, capacity;

  // Inside a parallel region, where each thread has samples of its own, this loop runs on the calling thread.
  template <class F>
  static void for_rows(int64_t begin, int64_t end, int64_t elements, const F& f) {
    torch::stable::parallel_for(begin, end, 1 + kGrain / (elements + 1), f);
  }

  // load(z, begin, end) fills slot 0 of these rows with x; use(z, begin, end) finds z_k = T_k(L) x in their slots k.
  // Rows may be elsewhere in memory at every call: z tells where.
  template <class Load, class Use>
  void recurrence(Rows<T> workspace, const Load& load, const Use& use) const {
    wave(workspace, load, use, [&](Rows<T> z, int64_t k) {
      return step(z, k == 1 ? 1 : 2, slot(z, k - 1), {}, k == 1 ? Rows<T>{} : slot(z, k - 2), slot(z, k));
    });
  }

  // load(p, begin, end) fills slots k of these rows with p_k; use(p, begin, end) finds p_0 + L b_1 - b_2 in their slot
  // 0, and b_k = p_k + 2 L b_{k+1} - b_{k+2} in the others.
  template <class Load, class Use>
  void clenshaw(Rows<T> workspace, const Load& load, const Use& use) const {
    wave(workspace, load, use, [&](Rows<T> p, int64_t stage) {
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

  // How many rows are under way at most: loaded, or about to be, and still to be read.
  int64_t window() const {
    std::vector<int64_t> done(orders + 1, 0);
    int64_t needed = 0, most = 0;
    for (int64_t to = 0; to < vertices;) {
      to = std::min(to + block, vertices);
      std::vector<int64_t> next(orders + 1, to);
      for (int64_t stage = orders - 1; stage > 0; --stage)
        next[stage - 1] = std::max(done[stage - 1], int64_t(laplacian.rows[next[stage] - 1].reach));
      needed = first_needed(done, needed);
      most = std::max(most, next[0] - needed);
      done = next;
    }
    return most;
  }

 private:
  SparseStep<T> step(Rows<T> all, int scale, Rows<T> in, Rows<T> plus, Rows<T> minus, Rows<T> out) const {
    return {laplacian, T(scale), samples, channels, all.stride, all.segment, in.data, plus.data, minus.data, out.data};
  }

  // Stage 0 loads, stages 1 to R - 1 are steps, stage R uses. A step needs the stage before it as far as it reaches.
  template <class Load, class Use, class Step>
  void wave(Rows<T> work, const Load& load, const Use& use, const Step& step_of) const {
    std::vector<int64_t> done(orders + 1, 0);
    T* const memory = work.data;
    int64_t first = 0, needed = 0;  // the first row in the workspace, and the first that will be read again
    const auto advance = [&](const auto& self, int64_t stage, int64_t to) -> void {
      const int64_t from = done[stage];
      if (from >= to) return;
      if (stage > 0) self(self, stage - 1, stage < orders ? laplacian.rows[to - 1].reach : to);
      if (stage == 0) {
        if (to - first > capacity) {
          needed = first_needed(done, needed);
          std::copy(work(needed, 0), work(from, 0), memory);
          first = needed;
          work.data = memory - first * work.stride;
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

  // The first row that a wave which has come as far as `done` will read again; not before `from`. L is symmetric, so
  // the rows that the last step still reaches for are those that reach beyond it.
  int64_t first_needed(const std::vector<int64_t>& done, int64_t from) const {
    while (from < done[orders] && laplacian.rows[from].reach <= done[orders - 1]) ++from;
    return from;
  }
};

}  // namespace cheblienet
