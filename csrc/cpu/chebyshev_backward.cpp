// The gradients of the Chebyshev convolution; chebyshev.cpp has the formulas.
#include "chebyshev_call.h"

namespace cheblienet {
namespace {

// What one chunk of samples sums up: a slice [dTheta | dbias | dvalues] of its own.
template <class T>
struct Sums {
  T *weight, *bias, *values;
};

template <class S>
struct Backward {
  using T = accumulate_t<S>;

  const ChebyshevCall<S>& call;
  const S *grad, *x;
  S* dx;  // null where not needed, as the sums are
  Tensor theta;
  int64_t vertices = call.vertices, orders = call.orders, cin = call.cin, cout = call.cout;

  const S* x_of(int64_t sample) const { return x + sample * vertices * cin; }
  const S* dy_of(int64_t sample) const { return grad + sample * vertices * cout; }
  S* dx_of(int64_t sample) const { return dx + sample * vertices * cin; }

  // The rows of a sample in slot 0 of a workspace.
  void load(const S* sample, int64_t channels, Rows<T> work, int64_t s, int64_t begin, int64_t end) const {
    ChebyshevOrders<T>::for_rows(begin, end, channels, [&](int64_t b, int64_t e) {
      call.gather(sample, b, e, call.matrix(work, s, b, e, channels));
    });
  }

  // The rows of a sample as a matrix of their own.
  MatrixView<T> rows_of(const S* sample, int64_t channels, int64_t begin, int64_t end, T* buffer) const {
    const MatrixView<T> block = call.block_of(sample, channels, begin, end, buffer);
    ChebyshevOrders<T>::for_rows(begin, end, channels, [&](int64_t b, int64_t e) {
      call.gather(sample, b, e, {block.data + (b - begin) * channels, e - b, channels, channels});
    });
    return block;
  }

  // sum += a b, a product of all weights' shape.
  void add_product(const MatrixView<const T>& a, const MatrixView<const T>& b, T* product, T* sum) const {
    matmul<T>(a, b, {product, a.rows, b.columns, b.columns});
    for (int64_t i = 0; i < a.rows * b.columns; ++i) sum[i] += product[i];
  }

  void add_rows(const MatrixView<T>& m, T* sum) const {
    for (int64_t r = 0; r < m.rows; ++r)
      for (int64_t c = 0; c < m.columns; ++c) sum[c] += m.data[r * m.row_stride + c];
  }

  // The orders u_k of dy, on Cout, serve dx and dTheta (as (Cin, R Cout)) alike.
  void on_cout(const ChebyshevOrders<T>& polynomial, int64_t first, Rows<T> memory, T* buffer, T* product,
               const Sums<T>& sums) const {
    polynomial.recurrence(
        memory,
        [&](Rows<T> u, int64_t begin, int64_t end) {
          for (int64_t s = 0; s < polynomial.samples; ++s) {
            load(dy_of(first + s), cout, u, s, begin, end);
            if (sums.bias) add_rows(call.matrix(u, s, begin, end, cout), sums.bias);
          }
        },
        [&](Rows<T> u, int64_t begin, int64_t end) {
          for (int64_t s = 0; s < polynomial.samples; ++s) {
            if (dx)
              call.for_parts(begin, end, orders * cout, [&](int64_t b, int64_t e) {
                const MatrixView<T> out = call.block_of(dx_of(first + s), cin, b, e, buffer + (b - begin) * cin);
                matmul<T>(call.matrix(u, s, b, e, orders * cout), call.side_by_side(theta).transposed(), out);
                call.scatter(out, b, e, nullptr, dx_of(first + s));
              });
            if (sums.weight) {
              const MatrixView<const T> in = rows_of(x_of(first + s), cin, begin, end, buffer);
              add_product(in.transposed(), call.matrix(u, s, begin, end, orders * cout), product, sums.weight);
            }
          }
        });
  }

  // On Cin: the orders z_k of x for dTheta (as (R Cin, Cout)), the adjoints a_k for dx, both for dL.
  void on_cin(const ChebyshevOrders<T>& polynomial, int64_t first, Rows<T> orders_of_x, Rows<T> adjoints, T* buffer,
              T* product, const Sums<T>& sums) const {
    const auto dy_rows = [&](int64_t s, int64_t begin, int64_t end) {
      return rows_of(dy_of(first + s), cout, begin, end, buffer);
    };
    if (sums.weight || sums.values)
      polynomial.recurrence(
          orders_of_x,
          [&](Rows<T> z, int64_t begin, int64_t end) {
            for (int64_t s = 0; s < polynomial.samples; ++s) load(x_of(first + s), cin, z, s, begin, end);
          },
          [&](Rows<T> z, int64_t begin, int64_t end) {
            for (int64_t s = 0; s < polynomial.samples && sums.weight; ++s)
              add_product(MatrixView<const T>(call.matrix(z, s, begin, end, orders * cin)).transposed(),
                          dy_rows(s, begin, end), product, sums.weight);
          });
    if (dx || sums.values || sums.bias)
      polynomial.clenshaw(
          adjoints,
          [&](Rows<T> a, int64_t begin, int64_t end) {
            for (int64_t s = 0; s < polynomial.samples; ++s) {
              const MatrixView<T> dy = dy_rows(s, begin, end);
              if (sums.bias) add_rows(dy, sums.bias);
              matmul<T>(dy, MatrixView<const T>(call.stacked(theta)).transposed(),
                        call.matrix(a, s, begin, end, orders * cin));
            }
          },
          [&](Rows<T> a, int64_t begin, int64_t end) {
            for (int64_t s = 0; s < polynomial.samples && dx; ++s)
              call.scatter(call.matrix(a, s, begin, end, cin), begin, end, nullptr, dx_of(first + s));
          });
    if (sums.values) {
      polynomial.edge_dots(T(1), polynomial.slot(adjoints, 1), orders_of_x, 1, sums.values);
      polynomial.edge_dots(T(2), polynomial.slot(adjoints, 2), polynomial.slot(orders_of_x, 1), orders - 2,
                           sums.values);
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
    const Backward<S> backward{call, grad.const_data_ptr<S>(), x.const_data_ptr<S>(),
                               need_x ? dx.mutable_data_ptr<S>() : nullptr, call.arranged_weight(!on_cin)};
    const Chunks chunks{batch};
    Arena arena(x);
    Scratch<T> workspaces = call.rows_for(arena, chunks, space, space.row_size());
    Scratch<T> adjoints = call.rows_for(arena, chunks, space, need_values ? space.row_size() : 0);
    Scratch<T> buffers = call.rows_for(arena, chunks, space, std::max(cin, cout));
    Scratch<T> products(arena, chunks.workers(), weight.numel(), weight.numel());
    Scratch<T> sums(arena, chunks.count(), dweight.numel() + dbias.numel() + dvalues.numel());
    std::vector<T> total(sums.size, T(0));
    if (batch > 0) std::fill_n(sums.of(0), chunks.count() * sums.size, T(0));

    chunks.for_each([&](const Chunk& chunk) {
      const Rows<T> work = space.in(workspaces.of(chunk.worker));
      const Rows<T> adjoint = need_values ? space.in(adjoints.of(chunk.worker)) : work;
      T* sum = sums.of(chunk.index);
      const Sums<T> to{need_weight ? sum : nullptr, need_bias ? sum + dweight.numel() : nullptr,
                       need_values ? sum + dweight.numel() + dbias.numel() : nullptr};
      for (int64_t first = chunk.first, n = 0; first < chunk.last; first += n) {
        n = std::min(space.samples, chunk.last - first);
        const auto polynomial = call.polynomial(space, n, chunk.shared);
        if (on_cin)
          backward.on_cin(polynomial, first, work, adjoint, buffers.of(chunk.worker), products.of(chunk.worker), to);
        else backward.on_cout(polynomial, first, work, buffers.of(chunk.worker), products.of(chunk.worker), to);
      }
    });

    for (int64_t chunk = 0; chunk < chunks.count(); ++chunk)
      for (int64_t i = 0; i < sums.size; ++i) total[i] += sums.of(chunk)[i];
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
