// The Chebyshev convolution y = sum_k T_k(L) x Theta_k and its gradients, one sample at a time.
//
// The orders of a sample stand side by side in one workspace, so that a single matrix product combines them, and
// nothing of size (R, B, V, C) exists. Two evaluations, equal in exact arithmetic, differ in the width of the sparse
// products:
//   recurrence   z_k = 2 L z_{k-1} - z_{k-2}              on Cin,  then y = [z_0 .. z_{R-1}] Theta
//   Clenshaw     b_k = x Theta_k + 2 L b_{k+1} - b_{k+2}  on Cout, y = x Theta_0 + L b_1 - b_2
// L is symmetric, so the gradients follow from dy by the same two: either the orders u_k = T_k(L) dy on Cout serve
// both,
//   dx = sum_k u_k Theta_k^T, dTheta_k = x^T u_k,
// or, on Cin, dx by Clenshaw from dy Theta_k^T and dTheta_k = z_k^T dy. Nothing but x has to be saved. With the
// adjoints a_k, the b_k of that Clenshaw form, dL_ij = a_1[i] z_0[j] + 2 sum_{k>=2} a_k[i] z_{k-1}[j] summed over
// samples.
#include <algorithm>
#include <type_traits>

#include "chebyshev_orders.h"

namespace cheblienet {
namespace {

// One sample per thread while there are enough; a remainder smaller than the number of threads shares its rows among
// all of them. f(first, last, chunk): the chunks own separate accumulators, so sums do not depend on the schedule.
int64_t sample_chunks() { return torch::stable::get_num_threads() + 1; }

template <class F>
void for_samples(int64_t batch, const F& f) {
  const int64_t threads = torch::stable::get_num_threads(), even = batch - batch % threads, share = even / threads;
  if (share > 0)
    torch::stable::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) f(chunk * share, (chunk + 1) * share, chunk);
    });
  if (even < batch) f(even, batch, threads);
}

// A call: S is the type that tensors store, T that of the arithmetic.
template <class S>
struct Convolution {
  using T = accumulate_t<S>;
  static constexpr bool converts = !std::is_same_v<S, T>;

  ChebyshevOrders<T> polynomial;
  int64_t batch, vertices, orders, cin, cout;
  Tensor like;      // where scratch memory is made
  const S* weight;  // (R, Cin, Cout)

  Convolution(const Tensor& x, const Tensor& w, const Tensor& rowptr, const Tensor& col, const Tensor& values)
      : polynomial{{rowptr.const_data_ptr<int32_t>(), col.const_data_ptr<int32_t>(), values.const_data_ptr<T>()},
                   x.size(1),
                   w.size(0)},
        batch(x.size(0)),
        vertices(x.size(1)),
        orders(w.size(0)),
        cin(w.size(1)),
        cout(w.size(2)),
        like(x),
        weight(w.const_data_ptr<S>()) {}

  Tensor scratch(int64_t elements) const { return new_empty(like, {elements}, scalar_type<T>()); }

  // The weights as (R Cin, Cout), for orders of x, or as (Cin, R Cout), for orders of y.
  Tensor stacked_weight() const {
    Tensor out = scratch(orders * cin * cout);
    std::copy_n(weight, orders * cin * cout, out.mutable_data_ptr<T>());
    return out;
  }
  Tensor side_by_side_weight() const {
    Tensor out = scratch(orders * cin * cout);
    T* to = out.mutable_data_ptr<T>();
    for (int64_t k = 0; k < orders; ++k)
      for (int64_t i = 0; i < cin; ++i) std::copy_n(weight + (k * cin + i) * cout, cout, to + (i * orders + k) * cout);
    return out;
  }
  MatrixView<const T> stacked(const Tensor& t) const { return {t.const_data_ptr<T>(), orders * cin, cout, cout}; }
  MatrixView<const T> side_by_side(const Tensor& t) const {
    return {t.const_data_ptr<T>(), cin, orders * cout, orders * cout};
  }

  MatrixView<T> matrix(Rows<T> rows, int64_t columns) const { return {rows.data, vertices, columns, rows.stride}; }
  MatrixView<const T> matrix(Rows<const T> rows, int64_t columns) const {
    return {rows.data, vertices, columns, rows.stride};
  }

  // Rows of a sample in the type of the arithmetic: the tensor's own memory, or a converted copy in `buffer`.
  Rows<const T> read(const S* sample, int64_t channels, T* buffer) const {
    if constexpr (!converts) return {sample, channels};
    copy(sample, {buffer, channels}, channels);
    return {buffer, channels};
  }
  // Where a sample's result is computed, and its way into the tensor with an optional bias.
  Rows<T> target(S* sample, int64_t channels, T* buffer) const {
    if constexpr (!converts) return {sample, channels};
    return {buffer, channels};
  }
  void finish(Rows<T> result, S* sample, int64_t channels, const T* bias) const {
    if (!converts && bias == nullptr) return;
    polynomial.for_rows(channels, [&](int64_t begin, int64_t end) {
      for (int64_t v = begin; v < end; ++v)
        for (int64_t c = 0; c < channels; ++c)
          sample[v * channels + c] = static_cast<S>(bias ? result[v][c] + bias[c] : result[v][c]);
    });
  }

  // The orders of a signal as one matrix, in `work`; the signal itself where there is but one order.
  template <class U>
  MatrixView<const T> expand(const U* signal, int64_t channels, Rows<T> work) const {
    if constexpr (std::is_same_v<U, T>)
      if (orders == 1) return {signal, vertices, channels, channels};
    copy(signal, work, channels);
    polynomial.recurrence(work, channels);
    return matrix(Rows<const T>(work), orders * channels);
  }

  template <class U>
  void copy(const U* from, Rows<T> to, int64_t channels) const {
    polynomial.for_rows(channels, [&](int64_t begin, int64_t end) {
      for (int64_t v = begin; v < end; ++v) std::copy_n(from + v * channels, channels, to[v]);
    });
  }
};

Tensor chebyshev(const Tensor& x, const Tensor& weight, const Tensor& rowptr, const Tensor& col, const Tensor& values,
                 std::optional<Tensor> bias) {
  Tensor y = new_empty(x, {x.size(0), x.size(1), weight.size(2)}, x.scalar_type());
  dispatch(x, "chebyshev", [&](auto zero) {
    using S = decltype(zero);
    using T = accumulate_t<S>;
    const Convolution<S> conv(x, weight, rowptr, col, values);
    const int64_t vertices = conv.vertices, orders = conv.orders, cin = conv.cin, cout = conv.cout;
    const bool narrows = cout < cin && orders > 1;
    const Tensor theta = narrows ? conv.side_by_side_weight() : conv.stacked_weight();
    const int64_t stride = padded<T>(orders * (narrows ? cout : cin));
    Tensor bias_values = conv.scratch(cout);
    if (bias) std::copy_n(bias->const_data_ptr<S>(), cout, bias_values.mutable_data_ptr<T>());
    const T* bias_row = bias ? bias_values.const_data_ptr<T>() : nullptr;

    const S* xp = x.const_data_ptr<S>();
    S* yp = y.mutable_data_ptr<S>();
    for_samples(conv.batch, [&](int64_t first, int64_t last, int64_t) {
      Tensor memory = conv.scratch(vertices * stride), converted_x = conv.scratch(conv.converts ? vertices * cin : 0),
             converted_y = conv.scratch(conv.converts ? vertices * cout : 0);
      const Rows<T> work{memory.mutable_data_ptr<T>(), stride};
      for (int64_t s = first; s < last; ++s) {
        const S* xs = xp + s * vertices * cin;
        S* ys = yp + s * vertices * cout;
        const Rows<T> out = conv.target(ys, cout, converted_y.mutable_data_ptr<T>());
        if (narrows) {
          matmul<T>(conv.matrix(conv.read(xs, cin, converted_x.mutable_data_ptr<T>()), cin), conv.side_by_side(theta),
                    conv.matrix(work, orders * cout));
          conv.polynomial.clenshaw(work, cout);
          conv.polynomial.clenshaw_value(work, out, cout);
        } else {
          matmul<T>(conv.expand(xs, cin, work), conv.stacked(theta), conv.matrix(out, cout));
        }
        conv.finish(out, ys, cout, bias_row);
      }
    });
  });
  return y;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> chebyshev_backward(const Tensor& grad, const Tensor& x, const Tensor& weight,
                                                              const Tensor& rowptr, const Tensor& col,
                                                              const Tensor& values, bool need_x, bool need_weight,
                                                              bool need_bias, bool need_values) {
  const int64_t batch = x.size(0), edges = values.size(0), weights = weight.numel(), outputs = weight.size(2);
  Tensor dx = new_empty(x, {need_x ? batch : 0, x.size(1), x.size(2)}, x.scalar_type());
  Tensor dweight = new_empty(x, {need_weight ? weight.size(0) : 0, weight.size(1), outputs}, x.scalar_type());
  Tensor dbias = new_empty(x, {need_bias ? outputs : 0}, x.scalar_type());
  Tensor dvalues = new_empty(x, {need_values ? edges : 0}, values.scalar_type());
  dispatch(x, "chebyshev_backward", [&](auto zero) {
    using S = decltype(zero);
    using T = accumulate_t<S>;
    const Convolution<S> conv(x, weight, rowptr, col, values);
    const int64_t vertices = conv.vertices, orders = conv.orders, cin = conv.cin, cout = conv.cout;
    // The orders of dy run once on Cout for both gradients; on Cin each gradient takes a run of its own.
    const bool on_cin = orders > 1 && (need_values || cin * (int(need_x) + int(need_weight)) < cout);
    const Tensor theta = on_cin ? conv.stacked_weight() : conv.side_by_side_weight();
    const int64_t stride = padded<T>(orders * (on_cin ? cin : cout));

    // Each chunk sums into a slice of its own: [dTheta | dbias | dvalues].
    const int64_t sums = (need_weight ? weights : 0) + (need_bias ? cout : 0) + (need_values ? edges : 0),
                  chunks = sample_chunks();
    Tensor partial = conv.scratch(chunks * sums);
    std::fill_n(partial.mutable_data_ptr<T>(), chunks * sums, T(0));

    const S *gp = grad.const_data_ptr<S>(), *xp = x.const_data_ptr<S>();
    S* dxp = dx.mutable_data_ptr<S>();
    for_samples(batch, [&](int64_t first, int64_t last, int64_t chunk) {
      Tensor memory = conv.scratch(vertices * stride), second = conv.scratch(need_values ? vertices * stride : 0),
             product = conv.scratch(weights);
      Tensor converted_x = conv.scratch(conv.converts ? vertices * cin : 0),
             converted_dy = conv.scratch(conv.converts ? vertices * cout : 0),
             converted_dx = conv.scratch(conv.converts ? vertices * cin : 0);
      const Rows<T> work{memory.mutable_data_ptr<T>(), stride},
          adjoint = need_values ? Rows<T>{second.mutable_data_ptr<T>(), stride} : work;
      T* to_weight = partial.mutable_data_ptr<T>() + chunk * sums;
      T* to_bias = to_weight + (need_weight ? weights : 0);
      T* to_values = to_bias + (need_bias ? cout : 0);
      const auto add_product = [&](const MatrixView<const T>& a, const MatrixView<const T>& b) {
        T* p = product.mutable_data_ptr<T>();
        matmul<T>(a, b, {p, a.rows, b.columns, b.columns});
        for (int64_t i = 0; i < weights; ++i) to_weight[i] += p[i];
      };
      for (int64_t s = first; s < last; ++s) {
        const S *xs = xp + s * vertices * cin, *gs = gp + s * vertices * cout;
        S* dxs = dxp + (need_x ? s * vertices * cin : 0);
        const Rows<T> out = conv.target(dxs, cin, converted_dx.mutable_data_ptr<T>());
        const Rows<const T> dy = conv.read(gs, cout, converted_dy.mutable_data_ptr<T>());
        if (on_cin) {
          if (need_weight || need_values) {
            const auto z = conv.expand(xs, cin, work);
            if (need_weight) add_product(z.transposed(), conv.matrix(dy, cout));
          }
          if (need_x || need_values) {
            matmul<T>(conv.matrix(dy, cout), conv.stacked(theta).transposed(), conv.matrix(adjoint, orders * cin));
            conv.polynomial.clenshaw(adjoint, cin);
            if (need_x) conv.polynomial.clenshaw_value(adjoint, out, cin);
          }
          if (need_values) {
            conv.polynomial.edge_dots(T(1), adjoint.shifted(cin), work, cin, to_values);
            conv.polynomial.edge_dots(T(2), adjoint.shifted(2 * cin), work.shifted(cin), (orders - 2) * cin, to_values);
          }
        } else {
          const auto u = conv.expand(dy.data, cout, work);
          if (need_x) matmul<T>(u, conv.side_by_side(theta).transposed(), conv.matrix(out, cin));
          if (need_weight)
            add_product(conv.matrix(conv.read(xs, cin, converted_x.mutable_data_ptr<T>()), cin).transposed(), u);
        }
        if (need_x) conv.finish(out, dxs, cin, nullptr);
        if (need_bias)
          for (int64_t v = 0; v < vertices; ++v)
            for (int64_t c = 0; c < cout; ++c) to_bias[c] += dy[v][c];
      }
    });

    T* total = partial.mutable_data_ptr<T>();
    for (int64_t chunk = 1; chunk < chunks; ++chunk)
      for (int64_t i = 0; i < sums; ++i) total[i] += total[chunk * sums + i];
    if (need_weight) {
      S* to = dweight.mutable_data_ptr<S>();
      for (int64_t k = 0; k < orders; ++k)
        for (int64_t i = 0; i < cin; ++i)
          std::copy_n(total + (on_cin ? k * cin + i : i * orders + k) * cout, cout, to + (k * cin + i) * cout);
      total += weights;
    }
    if (need_bias) std::copy_n(total, cout, dbias.mutable_data_ptr<S>());
    if (need_values) std::copy_n(total + (need_bias ? cout : 0), edges, dvalues.mutable_data_ptr<T>());
  });
  return {dx, dweight, dbias, dvalues};
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CPU, m) {
  m.impl("chebyshev", TORCH_BOX(&cheblienet::chebyshev));
  m.impl("chebyshev_backward", TORCH_BOX(&cheblienet::chebyshev_backward));
}
