// The gradients of the Chebyshev convolution; chebyshev.cpp has the formulas.
#include "chebyshev_call.h"

namespace cheblienet {
namespace {

// The sums over samples and vertices of every owner of sums: slices [dTheta | dbias | dvalues] of those that are
// needed.
template <class T>
struct Sums {
  T* memory;
  int64_t size, weight_size, bias_size;
  bool need_weight, need_bias, need_values;

  T* weight(int64_t owner) const { return memory + owner * size; }
  T* bias(int64_t owner) const { return weight(owner) + weight_size; }
  T* values(int64_t owner) const { return bias(owner) + bias_size; }
};

// One run of a chunk through `polynomial.samples` samples from `first`.
template <class S>
struct Backward {
  using T = accumulate_t<S>;

  const ChebyshevCall<S>& call;
  const S *grad, *x;
  S* dx;  // null where not needed
  MatrixView<const T> theta_transposed;
  const Sums<T>& sums;
  Scratch<T>&rows_buffers, &transposed_buffers;
  int64_t vertices = call.vertices, orders = call.orders, cin = call.cin, cout = call.cout;

  const S* x_of(int64_t sample) const { return x + sample * vertices * cin; }
  const S* dy_of(int64_t sample) const { return grad + sample * vertices * cout; }
  S* dx_of(int64_t sample) const { return dx + sample * vertices * cin; }

  // The rows of a sample as a matrix of their own.
  MatrixView<const T> rows_of(const S* sample, int64_t channels, int64_t begin, int64_t end, T* buffer) const {
    const MatrixView<T> block = call.block_of(sample, channels, begin, end, buffer);
    call.gather(sample, begin, end, block);
    return block;
  }

  static void add_rows(const MatrixView<const T>& m, T* sum) {
    for (int64_t r = 0; r < m.rows; ++r)
      for (int64_t c = 0; c < m.columns; ++c) sum[c] += m.data[r * m.stride + c];
  }

  // Calls f(sample of the workspace, sample of the batch, owner of buffers, owner of sums, begin, end) on parts.
  template <class F>
  void for_samples(const Chunk& chunk, const ChebyshevOrders<T>& polynomial, int64_t first, int64_t begin, int64_t end,
                   const F& f) const {
    for (int64_t s = 0; s < polynomial.samples; ++s)
      chunk.for_parts(begin, end,
                      [&](int64_t owner, int64_t sum, int64_t b, int64_t e) { f(s, first + s, owner, sum, b, e); });
  }

  // The orders u_k of dy, on Cout, serve dx and dTheta (as (Cin, R Cout)) alike.
  void on_cout(const Chunk& chunk, const ChebyshevOrders<T>& polynomial, int64_t first, Rows<T> memory) const {
    const auto parts = [&](int64_t begin, int64_t end, const auto& f) {
      for_samples(chunk, polynomial, first, begin, end, f);
    };
    polynomial.recurrence(
        memory,
        [&](Rows<T> u, int64_t begin, int64_t end) {
          parts(begin, end, [&](int64_t s, int64_t sample, int64_t, int64_t sum, int64_t b, int64_t e) {
            const MatrixView<T> dy = call.matrix(u, s, b, e, cout);
            call.gather(dy_of(sample), b, e, dy);
            if (sums.need_bias) add_rows(dy, sums.bias(sum));
          });
        },
        [&](Rows<T> u, int64_t begin, int64_t end) {
          parts(begin, end, [&](int64_t s, int64_t sample, int64_t owner, int64_t sum, int64_t b, int64_t e) {
            const MatrixView<T> us = call.matrix(u, s, b, e, orders * cout);
            if (dx) {
              const MatrixView<T> out = call.block_of(dx_of(sample), cin, b, e, rows_buffers.of(owner));
              matmul<T>(us, theta_transposed, out);
              call.scatter(out, b, e, nullptr, dx_of(sample));
            }
            if (sums.need_weight)
              add_transposed_product<T>(rows_of(x_of(sample), cin, b, e, rows_buffers.of(owner)), us,
                                        transposed_buffers.of(owner), sums.weight(sum));
          });
        });
  }

  // On Cin: the orders z_k of x for dTheta (as (R Cin, Cout)), the adjoints a_k for dx, both for dL.
  void on_cin(const Chunk& chunk, const ChebyshevOrders<T>& polynomial, int64_t first, Rows<T> orders_of_x,
              Rows<T> adjoints) const {
    const auto parts = [&](int64_t begin, int64_t end, const auto& f) {
      for_samples(chunk, polynomial, first, begin, end, f);
    };
    if (sums.need_weight || sums.need_values)
      polynomial.recurrence(
          orders_of_x,
          [&](Rows<T> z, int64_t begin, int64_t end) {
            parts(begin, end, [&](int64_t s, int64_t sample, int64_t, int64_t, int64_t b, int64_t e) {
              call.gather(x_of(sample), b, e, call.matrix(z, s, b, e, cin));
            });
          },
          [&](Rows<T> z, int64_t begin, int64_t end) {
            if (!sums.need_weight) return;
            parts(begin, end, [&](int64_t s, int64_t sample, int64_t owner, int64_t sum, int64_t b, int64_t e) {
              add_transposed_product<T>(call.matrix(z, s, b, e, orders * cin),
                                        rows_of(dy_of(sample), cout, b, e, rows_buffers.of(owner)),
                                        transposed_buffers.of(owner), sums.weight(sum));
            });
          });
    if (dx || sums.need_values || sums.need_bias)
      polynomial.clenshaw(
          adjoints,
          [&](Rows<T> a, int64_t begin, int64_t end) {
            parts(begin, end, [&](int64_t s, int64_t sample, int64_t owner, int64_t sum, int64_t b, int64_t e) {
              const MatrixView<const T> dy = rows_of(dy_of(sample), cout, b, e, rows_buffers.of(owner));
              if (sums.need_bias) add_rows(dy, sums.bias(sum));
              matmul<T>(dy, theta_transposed, call.matrix(a, s, b, e, orders * cin));
            });
          },
          [&](Rows<T> a, int64_t begin, int64_t end) {
            if (!dx) return;
            parts(begin, end, [&](int64_t s, int64_t sample, int64_t, int64_t, int64_t b, int64_t e) {
              call.scatter(call.matrix(a, s, b, e, cin), b, e, nullptr, dx_of(sample));
            });
          });
    if (sums.need_values) {
      T* const gradient = sums.values(chunk.index);
      polynomial.edge_dots(T(1), polynomial.slot(adjoints, 1), orders_of_x, 1, gradient);
      polynomial.edge_dots(T(2), polynomial.slot(adjoints, 2), polynomial.slot(orders_of_x, 1), orders - 2, gradient);
    }
  }
};

std::tuple<Tensor, Tensor, Tensor, Tensor> chebyshev_backward(const Tensor& grad, const Tensor& x, const Tensor& weight,
                                                              const Tensor& rows, const Tensor& col,
                                                              const Tensor& values, bool need_x, bool need_weight,
                                                              bool need_bias, bool need_values) {
  const int64_t batch = x.size(0), edges = values.size(0), outputs = weight.size(2);
  Tensor dx = recycled_result(x, {need_x ? batch : 0, x.size(1), x.size(2)});
  Tensor dweight = new_empty(x, {need_weight ? weight.size(0) : 0, weight.size(1), outputs}, x.scalar_type());
  Tensor dbias = new_empty(x, {need_bias ? outputs : 0}, x.scalar_type());
  Tensor dvalues = new_empty(x, {need_values ? edges : 0}, values.scalar_type());
  dispatch(x, "chebyshev_backward", [&](auto zero) {
    using S = decltype(zero);
    using T = accumulate_t<S>;
    const ChebyshevCall<S> call(x, weight, rows, col, values);
    const int64_t orders = call.orders, cin = call.cin, cout = call.cout;
    // On Cout one run serves both gradients; on Cin each takes a run of its own.
    const bool on_cin = orders > 1 && (need_values || cin * (int(need_x) + int(need_weight)) < cout);
    const auto space = call.workspace(on_cin ? cin : cout, need_values);
    // (Cout, R Cin) for the adjoints, or (R Cout, Cin) for orders of dy.
    const Tensor arranged = call.arranged_weight(on_cin ? std::array<int64_t, 3>{cin, 1, orders * cin}
                                                        : std::array<int64_t, 3>{cout * cin, 1, cin});
    const int64_t theta_rows = on_cin ? cout : orders * cout, theta_columns = on_cin ? orders * cin : cin;
    const Chunks chunks{batch};
    Arena arena(x);
    Scratch<T> workspaces = call.workspaces(arena, chunks, space);
    Scratch<T> adjoints = need_values ? call.workspaces(arena, chunks, space) : workspaces;
    Scratch<T> rows_buffers = call.buffers(arena, chunks, on_cin ? cout : cin);
    Scratch<T> transposed_buffers = call.buffers(arena, chunks, on_cin ? orders * cin : cin);
    Scratch<T> sum_memory(arena, chunks.sums(), dweight.numel() + dbias.numel() + dvalues.numel());
    std::vector<T> total(sum_memory.size, T(0));
    if (batch > 0) std::fill_n(sum_memory.of(0), chunks.sums() * sum_memory.size, T(0));
    const Sums<T> sums{sum_memory.of(0), sum_memory.size, dweight.numel(), dbias.numel(),
                       need_weight,      need_bias,       need_values};
    const Backward<S> backward{call,
                               grad.const_data_ptr<S>(),
                               x.const_data_ptr<S>(),
                               need_x ? dx.mutable_data_ptr<S>() : nullptr,
                               {arranged.template const_data_ptr<T>(), theta_rows, theta_columns, theta_columns},
                               sums,
                               rows_buffers,
                               transposed_buffers};

    chunks.for_each([&](const Chunk& chunk) {
      const Rows<T> work = space.in(workspaces.of(chunk.worker)), adjoint = space.in(adjoints.of(chunk.worker));
      for (int64_t first = chunk.first, n = 0; first < chunk.last; first += n) {
        n = std::min(space.samples, chunk.last - first);
        const auto polynomial = call.polynomial(space, n, chunk.shared());
        if (on_cin) backward.on_cin(chunk, polynomial, first, work, adjoint);
        else backward.on_cout(chunk, polynomial, first, work);
      }
    });

    for (int64_t owner = 0; owner < chunks.sums(); ++owner)
      for (int64_t i = 0; i < sum_memory.size; ++i) total[i] += sum_memory.of(owner)[i];
    const T* from = total.data();
    S* to = dweight.mutable_data_ptr<S>();
    for (int64_t k = 0; need_weight && k < orders; ++k)
      for (int64_t i = 0; i < cin; ++i)
        std::copy_n(from + (on_cin ? k * cin + i : i * orders + k) * cout, cout, to + (k * cin + i) * cout);
    std::copy_n(from += dweight.numel(), dbias.numel(), dbias.mutable_data_ptr<S>());
    std::copy_n(from + dbias.numel(), dvalues.numel(), dvalues.mutable_data_ptr<T>());
  });
  return {dx, dweight, dbias, dvalues};
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CPU, m) {
  m.impl("chebyshev_backward", TORCH_BOX(&cheblienet::chebyshev_backward));
}
