// The Chebyshev convolution y = sum_k T_k(L) x Theta_k and its gradients, a few samples at a time.
//
// The orders of few samples exist at a time, never all of size (R, B, V, C). Two evaluations, equal in exact
// arithmetic, differ in the width of the sparse products:
//   recurrence   z_k = 2 L z_{k-1} - z_{k-2}              on Cin,  then y = sum_k z_k Theta_k
//   Clenshaw     b_k = x Theta_k + 2 L b_{k+1} - b_{k+2}  on Cout, y = x Theta_0 + L b_1 - b_2
// L is symmetric, so the gradients follow from dy by the same two: either the orders u_k = T_k(L) dy on Cout serve
// both,
//   dx = sum_k u_k Theta_k^T, dTheta_k = x^T u_k,
// or, on Cin, dx by Clenshaw from dy Theta_k^T and dTheta_k = z_k^T dy. Nothing but x has to be saved. With the
// adjoints a_k, the b_k of that Clenshaw form, dL_ij = a_1[i] z_0[j] + 2 sum_{k>=2} a_k[i] z_{k-1}[j] summed over
// samples.
#include "chebyshev_call.h"

namespace cheblienet {
namespace {

Tensor chebyshev_pattern(const Tensor& signal, const Tensor& theta, const std::vector<Tensor>& pattern,
                         const Tensor& values, std::optional<Tensor> shift) {
  const ChebyshevOperands given = checked_chebyshev("chebyshev", signal, theta, pattern, values, shift);
  const Tensor &x = given.x, &weight = given.weight;
  const std::optional<Tensor>& bias = given.bias;
  Tensor y = recycled_result(x, {x.size(0), x.size(1), weight.size(2)});
  dispatch(x, "chebyshev", [&](auto zero) {
    using S = decltype(zero);
    using T = accumulate_t<S>;
    const ChebyshevCall<S> call("chebyshev", given);
    const int64_t vertices = call.vertices, orders = call.orders, cin = call.cin, cout = call.cout;
    const bool narrows = cout < cin && orders > 1;
    const auto space = call.workspace(narrows ? cout : cin);
    const Chunks chunks{call.batch, space.samples, call.part(), call.small()};
    Arena arena(x);
    Scratch<T> workspaces = call.workspaces(arena, chunks, space);
    Scratch<T> buffers = call.buffers(arena, chunks, narrows ? cin : cout);
    Scratch<T> parameters(arena, 1, orders * cin * cout + cout);
    Scratch<BFloat16> rounded_weights = call.rounding(arena, orders, cin, cout);
    Scratch<BFloat16> rounded_rows = call.rounding(arena, chunks.threads, chunks.part, cin);
    const T* weights = call.arithmetic(call.weight, orders * cin * cout, parameters.of(0));
    const std::vector<Factor<T>> thetas = call.weights(weights, cin, cout, rounded_weights);
    const T* bias_values =
        bias ? call.arithmetic(bias->const_data_ptr<S>(), cout, parameters.of(0) + orders * cin * cout) : nullptr;
    // After the first product has stored these rows: filling them with the bias for all products to add to would wait
    // for memory, which a product overlaps with its arithmetic.
    const auto add_bias = [&](const MatrixView<T>& out) {
      if (bias_values) row_kernels<T>().add_to_rows(bias_values, out.stride, out.rows, cout, out.data);
    };

    const S* xp = x.const_data_ptr<S>();
    S* yp = y.mutable_data_ptr<S>();
    chunks.for_each([&](const Chunk& chunk) {
      for (int64_t first = chunk.first, n = 0; first < chunk.last; first += n) {
        n = std::min(space.samples, chunk.last - first);
        const auto polynomial = call.polynomial(space, n, chunk.shared());
        const OrderRows<T> memory = call.rows_in(workspaces.of(chunk.worker), polynomial,
                                                 narrows ? yp + first * vertices * cout : xp + first * vertices * cin);
        // f(sample of the workspace, x, y, owner of buffers, begin, end)
        const auto for_samples = [&](int64_t begin, int64_t end, const auto& f) {
          for (int64_t s = 0; s < n; ++s) {
            const S* xs = xp + (first + s) * vertices * cin;
            S* ys = yp + (first + s) * vertices * cout;
            chunk.for_parts(begin, end,
                            [&](int64_t owner, int64_t, int64_t b, int64_t e) { f(s, xs, ys, owner, b, e); });
          }
        };
        if (narrows) {
          polynomial.clenshaw(
              memory,
              [&](const OrderRows<T>& p, int64_t begin, int64_t end) {
                for_samples(begin, end, [&](int64_t s, const S* xs, S*, int64_t owner, int64_t b, int64_t e) {
                  const MatrixView<T> in = call.block_of(xs, cin, b, e, buffers.of(owner));
                  call.gather(xs, b, e, in);
                  const Factor<T> left = call.left(in, rounded_rows.of(owner));
                  for (int64_t k = 0; k < orders; ++k) matmul(left, thetas[k], call.matrix(p[k], s, b, e));
                  add_bias(call.matrix(p[0], s, b, e));
                });
              },
              [&](const OrderRows<T>& p, int64_t begin, int64_t end) {
                for_samples(begin, end, [&](int64_t s, const S*, S* ys, int64_t, int64_t b, int64_t e) {
                  call.scatter(call.matrix(p[0], s, b, e), b, e, ys);
                });
              });
        } else {
          polynomial.recurrence(
              memory,
              [&](const OrderRows<T>& z, int64_t begin, int64_t end) {
                for_samples(begin, end, [&](int64_t s, const S* xs, S*, int64_t, int64_t b, int64_t e) {
                  call.gather(xs, b, e, call.matrix(z[0], s, b, e));
                });
              },
              [&](const OrderRows<T>& z, int64_t begin, int64_t end) {
                for_samples(begin, end, [&](int64_t s, const S*, S* ys, int64_t owner, int64_t b, int64_t e) {
                  const MatrixView<T> out = call.block_of(ys, cout, b, e, buffers.of(owner));
                  for (int64_t k = 0; k < orders; ++k)
                    matmul(call.left(call.matrix(z[k], s, b, e), rounded_rows.of(owner)), thetas[k], out, k > 0);
                  add_bias(out);
                  call.scatter(out, b, e, ys);
                });
              });
        }
      }
    });
  });
  return y;
}

Tensor chebyshev(const Tensor& x, const Tensor& weight, const Tensor& rows, const Tensor& col, const Tensor& values,
                 std::optional<Tensor> bias) {
  return chebyshev_pattern(x, weight, {rows, col}, values, std::move(bias));
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CPU, m) {
  m.impl("chebyshev", TORCH_BOX(&cheblienet::chebyshev));
  m.impl("chebyshev.pattern", TORCH_BOX(&cheblienet::chebyshev_pattern));
}
