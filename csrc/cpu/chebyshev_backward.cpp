// The gradients of the Chebyshev convolution; chebyshev.cpp has the formulas.
#include "chebyshev_call.h"

namespace cheblienet {
namespace {

// The sums over samples and vertices of every owner of sums: slices [dTheta | dbias | dvalues] of those that are
// needed.
template <class T>
struct Sums {
  T* memory;
  int64_t size, weight_size, bias_size, cin, cout;
  bool need_weight, need_bias, need_values;

  MatrixView<T> weight(int64_t owner, int64_t k) const {
    return {memory + owner * size + k * cin * cout, cin, cout, cout};
  }
  T* bias(int64_t owner) const { return memory + owner * size + weight_size; }
  T* values(int64_t owner) const { return bias(owner) + bias_size; }
};

// One run of a chunk through `polynomial.samples` samples from `first`.
template <class S>
struct Backward {
  using T = accumulate_t<S>;

  const ChebyshevCall<S>& call;
  const S *grad, *x;
  S* dx;                                            // null where not needed
  const std::vector<Factor<T>>& thetas_transposed;  // (Cout, Cin) each
  const Sums<T>& sums;
  Scratch<T>&rows_buffers, &transposed_buffers;
  Scratch<BFloat16>&left_factors, &right_factors;
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

  void add_to_bias(const MatrixView<const T>& dy, int64_t sum) const {
    if (sums.need_bias) row_kernels<T>().add_rows(dy.data, dy.stride, dy.rows, dy.columns, sums.bias(sum));
  }

  // Calls f(sample of the workspace, sample of the batch, owner of buffers, owner of sums, begin, end) on parts.
  template <class F>
  void for_samples(const Chunk& chunk, const ChebyshevOrders<T>& polynomial, int64_t first, int64_t begin, int64_t end,
                   const F& f) const {
    for (int64_t s = 0; s < polynomial.samples; ++s)
      chunk.for_parts(begin, end,
                      [&](int64_t owner, int64_t sum, int64_t b, int64_t e) { f(s, first + s, owner, sum, b, e); });
  }

  // The orders u_k of dy, on Cout, serve dx and dTheta alike.
  void on_cout(const Chunk& chunk, const ChebyshevOrders<T>& polynomial, int64_t first, T* memory) const {
    const auto parts = [&](int64_t begin, int64_t end, const auto& f) {
      for_samples(chunk, polynomial, first, begin, end, f);
    };
    polynomial.recurrence(
        call.rows_in(memory, polynomial, dy_of(first)),
        [&](const OrderRows<T>& u, int64_t begin, int64_t end) {
          parts(begin, end, [&](int64_t s, int64_t sample, int64_t, int64_t, int64_t b, int64_t e) {
            call.gather(dy_of(sample), b, e, call.matrix(u[0], s, b, e));
          });
        },
        [&](const OrderRows<T>& u, int64_t begin, int64_t end) {
          parts(begin, end, [&](int64_t s, int64_t sample, int64_t owner, int64_t sum, int64_t b, int64_t e) {
            add_to_bias(call.matrix(u[0], s, b, e), sum);
            if (dx) {
              const MatrixView<T> out = call.block_of(dx_of(sample), cin, b, e, rows_buffers.of(owner));
              for (int64_t k = 0; k < orders; ++k)
                matmul(call.left(call.matrix(u[k], s, b, e), left_factors.of(owner)), thetas_transposed[k], out, k > 0);
              call.scatter(out, b, e, dx_of(sample));
            }
            if (sums.need_weight) {
              const MatrixView<const T> rows = rows_of(x_of(sample), cin, b, e, rows_buffers.of(owner));
              const Factor<T> xt = call.left(transposed(rows, transposed_buffers.of(owner)), left_factors.of(owner));
              for (int64_t k = 0; k < orders; ++k)
                matmul(xt, call.right(call.matrix(u[k], s, b, e), right_factors.of(owner)), sums.weight(sum, k), true);
            }
          });
        });
  }

  // On Cin: the orders z_k of x for dTheta, the adjoints a_k for dx, both for dL.
  void on_cin(const Chunk& chunk, const ChebyshevOrders<T>& polynomial, int64_t first, T* memory_of_x,
              T* memory_of_adjoints) const {
    const auto parts = [&](int64_t begin, int64_t end, const auto& f) {
      for_samples(chunk, polynomial, first, begin, end, f);
    };
    const OrderRows<T> orders_of_x = call.rows_in(memory_of_x, polynomial, x_of(first));
    if (sums.need_weight || sums.need_values)
      polynomial.recurrence(
          orders_of_x,
          [&](const OrderRows<T>& z, int64_t begin, int64_t end) {
            parts(begin, end, [&](int64_t s, int64_t sample, int64_t, int64_t, int64_t b, int64_t e) {
              call.gather(x_of(sample), b, e, call.matrix(z[0], s, b, e));
            });
          },
          [&](const OrderRows<T>& z, int64_t begin, int64_t end) {
            if (!sums.need_weight) return;
            parts(begin, end, [&](int64_t s, int64_t sample, int64_t owner, int64_t sum, int64_t b, int64_t e) {
              const MatrixView<const T> rows = rows_of(dy_of(sample), cout, b, e, rows_buffers.of(owner));
              const Factor<T> dy = call.right(rows, right_factors.of(owner));
              for (int64_t k = 0; k < orders; ++k) {
                const auto zt = transposed<T>(call.matrix(z[k], s, b, e), transposed_buffers.of(owner));
                matmul(call.left(zt, left_factors.of(owner)), dy, sums.weight(sum, k), true);
              }
            });
          });
    if (!dx && !sums.need_values && !sums.need_bias) return;
    const OrderRows<T> adjoints =
        dx ? call.rows_in(memory_of_adjoints, polynomial, dx_of(first)) : polynomial.rows_in(memory_of_adjoints);
    polynomial.clenshaw(
        adjoints,
        [&](const OrderRows<T>& a, int64_t begin, int64_t end) {
          parts(begin, end, [&](int64_t s, int64_t sample, int64_t owner, int64_t sum, int64_t b, int64_t e) {
            const MatrixView<const T> dy = rows_of(dy_of(sample), cout, b, e, rows_buffers.of(owner));
            add_to_bias(dy, sum);
            const Factor<T> left = call.left(dy, left_factors.of(owner));
            for (int64_t k = 0; k < orders; ++k) matmul(left, thetas_transposed[k], call.matrix(a[k], s, b, e));
          });
        },
        [&](const OrderRows<T>& a, int64_t begin, int64_t end) {
          if (!dx) return;
          parts(begin, end, [&](int64_t s, int64_t sample, int64_t, int64_t, int64_t b, int64_t e) {
            call.scatter(call.matrix(a[0], s, b, e), b, e, dx_of(sample));
          });
        });
    if (sums.need_values) {
      T* const gradient = sums.values(chunk.index);
      polynomial.edge_dots(T(1), adjoints[1], orders_of_x[0], 1, gradient);
      polynomial.edge_dots(T(2), adjoints[2], orders_of_x[1], orders - 2, gradient);
    }
  }
};

std::tuple<Tensor, Tensor, Tensor, Tensor> chebyshev_backward_pattern(
    const Tensor& gradient, const Tensor& signal, const Tensor& theta, const std::vector<Tensor>& pattern,
    const Tensor& entries, bool need_x, bool need_weight, bool need_bias, bool need_values) {
  const ChebyshevOperands given =
      checked_chebyshev("chebyshev_backward", signal, theta, pattern, entries, {}, gradient);
  const Tensor &x = given.x, &weight = given.weight, &values = given.values, &grad = *given.grad;
  const int64_t batch = x.size(0), edges = values.size(0), outputs = weight.size(2);
  Tensor dx = recycled_result(x, {need_x ? batch : 0, x.size(1), x.size(2)});
  Tensor dweight = new_empty(x, {need_weight ? weight.size(0) : 0, weight.size(1), outputs}, x.scalar_type());
  Tensor dbias = new_empty(x, {need_bias ? outputs : 0}, x.scalar_type());
  Tensor dvalues = new_empty(x, {need_values ? edges : 0}, values.scalar_type());
  dispatch(x, "chebyshev_backward", [&](auto zero) {
    using S = decltype(zero);
    using T = accumulate_t<S>;
    const ChebyshevCall<S> call("chebyshev_backward", given);
    const int64_t orders = call.orders, cin = call.cin, cout = call.cout;
    // On Cout one run serves both gradients; on Cin each takes a run of its own.
    const bool on_cin = orders > 1 && (need_values || cin * (int(need_x) + int(need_weight)) < cout);
    const auto space = call.workspace(on_cin ? cin : cout, need_values);
    const Chunks chunks{batch, space.samples, call.part(), call.small()};
    Arena arena(x);
    const bool order_0_has_tensor = need_x || !on_cin;
    Scratch<T> workspaces = call.workspaces(arena, chunks, space, order_0_has_tensor);
    Scratch<T> adjoints = need_values ? call.workspaces(arena, chunks, space, order_0_has_tensor) : workspaces;
    Scratch<T> rows_buffers = call.buffers(arena, chunks, on_cin ? cout : cin);
    Scratch<T> transposed_buffers = call.buffers(arena, chunks, cin);
    Scratch<T> sum_memory(arena, chunks.sums(), dweight.numel() + dbias.numel() + dvalues.numel());
    Scratch<T> transposed_weights(arena, 1, orders * cin * cout);
    Scratch<BFloat16> rounded_weights = call.rounding(arena, orders, cout, cin);
    Scratch<BFloat16> left_factors = call.rounding(arena, chunks.threads, chunks.part, std::max(cin, cout));
    Scratch<BFloat16> right_factors = call.rounding(arena, chunks.threads, chunks.part, cout);
    call.transpose_weights(transposed_weights.of(0));
    const std::vector<Factor<T>> thetas_transposed = call.weights(transposed_weights.of(0), cout, cin, rounded_weights);
    std::vector<T> total(sum_memory.size, T(0));
    if (batch > 0) std::fill_n(sum_memory.of(0), chunks.sums() * sum_memory.size, T(0));
    const Sums<T> sums{sum_memory.of(0), sum_memory.size, dweight.numel(), dbias.numel(), cin, cout,
                       need_weight,      need_bias,       need_values};
    const Backward<S> backward{call,
                               grad.const_data_ptr<S>(),
                               x.const_data_ptr<S>(),
                               need_x ? dx.mutable_data_ptr<S>() : nullptr,
                               thetas_transposed,
                               sums,
                               rows_buffers,
                               transposed_buffers,
                               left_factors,
                               right_factors};

    chunks.for_each([&](const Chunk& chunk) {
      T *const work = workspaces.of(chunk.worker), *const adjoint = adjoints.of(chunk.worker);
      for (int64_t first = chunk.first, n = 0; first < chunk.last; first += n) {
        n = std::min(space.samples, chunk.last - first);
        const auto polynomial = call.polynomial(space, n, chunk.shared());
        if (on_cin) backward.on_cin(chunk, polynomial, first, work, adjoint);
        else backward.on_cout(chunk, polynomial, first, work);
      }
    });

    torch::stable::parallel_for(0, sum_memory.size, 1 + kGrain / (chunks.sums() + 1), [&](int64_t begin, int64_t end) {
      for (int64_t owner = 0; owner < chunks.sums(); ++owner)
        for (int64_t i = begin; i < end; ++i) total[i] += sum_memory.of(owner)[i];
    });
    const T* from = total.data();
    std::copy_n(from, dweight.numel(), dweight.mutable_data_ptr<S>());
    std::copy_n(from += dweight.numel(), dbias.numel(), dbias.mutable_data_ptr<S>());
    std::copy_n(from + dbias.numel(), dvalues.numel(), dvalues.mutable_data_ptr<T>());
  });
  return {dx, dweight, dbias, dvalues};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> chebyshev_backward(const Tensor& grad, const Tensor& x, const Tensor& weight,
                                                              const Tensor& rows, const Tensor& col,
                                                              const Tensor& values, bool need_x, bool need_weight,
                                                              bool need_bias, bool need_values) {
  return chebyshev_backward_pattern(grad, x, weight, {rows, col}, values, need_x, need_weight, need_bias, need_values);
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CPU, m) {
  m.impl("chebyshev_backward", TORCH_BOX(&cheblienet::chebyshev_backward));
  m.impl("chebyshev_backward.pattern", TORCH_BOX(&cheblienet::chebyshev_backward_pattern));
}
