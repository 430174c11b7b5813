// The Chebyshev convolution y = sum_k T_k(L) x Theta_k and its gradients, a few samples at a time.
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
#include "chebyshev_call.h"

namespace cheblienet {
namespace {

Tensor chebyshev(const Tensor& x, const Tensor& weight, const Tensor& rows, const Tensor& col, const Tensor& values,
                 std::optional<Tensor> bias) {
  Tensor y = recycled_result(x, {x.size(0), x.size(1), weight.size(2)});
  dispatch(x, "chebyshev", [&](auto zero) {
    using S = decltype(zero);
    using T = accumulate_t<S>;
    const ChebyshevCall<S> call(x, weight, rows, col, values);
    const int64_t vertices = call.vertices, orders = call.orders, cin = call.cin, cout = call.cout;
    const bool narrows = cout < cin && orders > 1;
    const auto space = call.workspace(narrows ? cout : cin);
    // (Cin, R Cout) for orders of y, or (R Cin, Cout) for those of x.
    const Tensor arranged = call.arranged_weight(narrows ? std::array<int64_t, 3>{cout, orders * cout, 1}
                                                         : std::array<int64_t, 3>{cin * cout, cout, 1});
    const int64_t rows = narrows ? cin : orders * cin, columns = narrows ? orders * cout : cout;
    const MatrixView<const T> theta{arranged.template const_data_ptr<T>(), rows, columns, columns};
    const Chunks chunks{call.batch};
    Arena arena(x);
    Scratch<T> workspaces = call.workspaces(arena, chunks, space);
    Scratch<T> buffers = call.buffers(arena, chunks, narrows ? cin : cout);
    arena.get<T>(0);
    Tensor bias_row = new_empty(x, {cout}, scalar_type<T>());
    if (bias) std::copy_n(bias->const_data_ptr<S>(), cout, bias_row.mutable_data_ptr<T>());
    const T* bias_values = bias ? bias_row.const_data_ptr<T>() : nullptr;

    const S* xp = x.const_data_ptr<S>();
    S* yp = y.mutable_data_ptr<S>();
    chunks.for_each([&](const Chunk& chunk) {
      const Rows<T> memory = space.in(workspaces.of(chunk.worker));
      for (int64_t first = chunk.first, n = 0; first < chunk.last; first += n) {
        n = std::min(space.samples, chunk.last - first);
        const auto polynomial = call.polynomial(space, n, chunk.shared());
        // f(sample of the workspace, x, y, buffer, begin, end)
        const auto for_samples = [&](int64_t begin, int64_t end, const auto& f) {
          for (int64_t s = 0; s < n; ++s) {
            const S* xs = xp + (first + s) * vertices * cin;
            S* ys = yp + (first + s) * vertices * cout;
            chunk.for_parts(begin, end, [&](int64_t owner, int64_t, int64_t b, int64_t e) {
              f(s, xs, ys, buffers.of(owner), b, e);
            });
          }
        };
        if (narrows) {
          polynomial.clenshaw(
              memory,
              [&](Rows<T> work, int64_t begin, int64_t end) {
                for_samples(begin, end, [&](int64_t s, const S* xs, S*, T* buffer, int64_t b, int64_t e) {
                  const MatrixView<T> in = call.block_of(xs, cin, b, e, buffer);
                  call.gather(xs, b, e, in);
                  matmul<T>(in, theta, call.matrix(work, s, b, e, orders * cout));
                });
              },
              [&](Rows<T> work, int64_t begin, int64_t end) {
                for_samples(begin, end, [&](int64_t s, const S*, S* ys, T*, int64_t b, int64_t e) {
                  call.scatter(call.matrix(work, s, b, e, cout), b, e, bias_values, ys);
                });
              });
        } else {
          polynomial.recurrence(
              memory,
              [&](Rows<T> work, int64_t begin, int64_t end) {
                for_samples(begin, end, [&](int64_t s, const S* xs, S*, T*, int64_t b, int64_t e) {
                  call.gather(xs, b, e, call.matrix(work, s, b, e, cin));
                });
              },
              [&](Rows<T> work, int64_t begin, int64_t end) {
                for_samples(begin, end, [&](int64_t s, const S*, S* ys, T* buffer, int64_t b, int64_t e) {
                  const MatrixView<T> out = call.block_of(ys, cout, b, e, buffer);
                  matmul<T>(call.matrix(work, s, b, e, orders * cin), theta, out);
                  call.scatter(out, b, e, bias_values, ys);
                });
              });
        }
      }
    });
  });
  return y;
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CPU, m) { m.impl("chebyshev", TORCH_BOX(&cheblienet::chebyshev)); }
