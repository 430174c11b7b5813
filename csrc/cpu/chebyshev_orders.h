// The orders of a Chebyshev expansion, side by side in the rows of one workspace of V x (R C).
#pragma once
#include "../torch_api.h"
#include "sparse_rows.h"

namespace cheblienet {

constexpr int64_t kGrain = 16384;  // elements per task: below it a second thread costs more than it gains

// Rows a cache line longer than their contents: strides that are powers of two would share few cache sets.
template <class T>
int64_t padded(int64_t channels) {
  constexpr int64_t line = 64 / sizeof(T);
  return (channels + line - 1) / line * line + line;
}

template <class T>
struct ChebyshevOrders {
  Csr<T> laplacian;
  int64_t vertices, orders;

  // Inside a parallel region, where each thread has a sample of its own, this loop runs on the calling thread.
  template <class F>
  void for_rows(int64_t channels, const F& f) const {
    torch::stable::parallel_for(0, vertices, 1 + kGrain / (channels + 1), f);
  }

  // Slot 0 of z holds x; fills slot k with z_k = T_k(L) x.
  void recurrence(Rows<T> z, int64_t channels) const {
    for (int64_t k = 1; k < orders; ++k)
      step({laplacian,
            T(k == 1 ? 1 : 2),
            z.shifted((k - 1) * channels),
            {},
            k == 1 ? Rows<T>{} : z.shifted((k - 2) * channels),
            z.shifted(k * channels),
            channels});
  }

  // Slot k of p holds p_k; replaces it, for k = R - 2 .. 1, by b_k = p_k + 2 L b_{k+1} - b_{k+2}.
  void clenshaw(Rows<T> p, int64_t channels) const {
    for (int64_t k = orders - 2; k >= 1; --k) clenshaw_step(p, k, T(2), p.shifted(k * channels), channels);
  }

  // The value of the expansion, p_0 + L b_1 - b_2, for R >= 2.
  void clenshaw_value(Rows<T> p, Rows<T> out, int64_t channels) const { clenshaw_step(p, 0, T(1), out, channels); }

  // gradient[e] += scale * <left[i], right[j]> for the entries e = (i, j) of L.
  void edge_dots(T scale, Rows<const T> left, Rows<const T> right, int64_t channels, T* gradient) const {
    const EdgeDots<T> dots{laplacian, scale, left, right, channels, gradient};
    for_rows(channels, [&](int64_t begin, int64_t end) { row_kernels<T>().edge_dots(dots, begin, end); });
  }

 private:
  void clenshaw_step(Rows<T> p, int64_t k, T scale, Rows<T> out, int64_t channels) const {
    step({laplacian, scale, p.shifted((k + 1) * channels), p.shifted(k * channels),
          k + 2 < orders ? p.shifted((k + 2) * channels) : Rows<T>{}, out, channels});
  }

  void step(const SparseStep<T>& s) const {
    for_rows(s.channels, [&](int64_t begin, int64_t end) { row_kernels<T>().step(s, begin, end); });
  }
};

}  // namespace cheblienet
