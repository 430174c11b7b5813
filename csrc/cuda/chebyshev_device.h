// The Chebyshev convolution y = sum_k T_k(L) x Theta_k and its gradients on a device: which kernels and which matrix
// products run on what. The formulas and the two evaluations, recurrence and Clenshaw, are those of cpu/chebyshev.cpp.
//
// The orders of some samples stand side by side in a workspace (samples, V, R, channels), so that one matrix product
// combines them. Its channels are filled up with zeros to packs of 16 bytes; the weights likewise, so nothing else has
// to know. Nothing here names the CUDA runtime: `Device` launches the kernels of chebyshev.cuh,
//   edges(rows, col, values, edges, entries), step<S>(StepCall), edge_dots<S>(DotsCall) and workspace_bytes(),
// and matrix products, copies and sums over samples are the framework's, on the device of its tensors.
#pragma once
#include <algorithm>

#include "../row_span.h"
#include "../torch_api.h"
#include "chebyshev_launch.h"

namespace cheblienet {

// Operands of chebyshev_step and chebyshev_edge_dots; `edges` is an array of Edge<accumulate_t<S>>.
template <class S>
struct StepCall {
  const RowSpan* rows;
  const void* edges;
  accumulate_t<S> scale;
  const S *in, *plus, *minus, *bias;
  S* out;
  StepShape shape;
};

template <class S>
struct DotsCall {
  const RowSpan* rows;
  const void* edges;
  const S *left, *right;
  accumulate_t<S>* gradient;
  DotsShape shape;
};

inline Tensor flat(const Tensor& t, int64_t rows) { return torch::stable::view(t, {{rows, t.numel() / rows}}); }
inline Tensor transposed(const Tensor& t) { return torch::stable::transpose(t, 0, 1); }

// out = a b + bias, matrices and a row.
inline void product(const Tensor& a, const Tensor& b, const Tensor& out, const std::optional<Tensor>& bias = {}) {
  using torch::stable::detail::from;
  // A linear layer takes b transposed; with a bias it is one fused call of the vendor's library.
  StableIValue stack[] = {from(a), from(transposed(b)), from(bias), from(out)};
  call_operator("aten::linear", "out", stack);
  torch::stable::detail::to<Tensor>(stack[0]);  // takes back the reference that the call returned
}

// The sum over dimension 0, in the type that sums are kept in, and in the same order whenever.
inline Tensor sum_of_rows(const Tensor& t) {
  const int64_t rows[] = {0};
  return torch::stable::sum(t, torch::headeronly::IntHeaderOnlyArrayRef(rows, 1));
}

template <class S, class Device>
struct DeviceChebyshev {
  using T = accumulate_t<S>;
  static constexpr int64_t kPack = 16 / sizeof(S);
  static int64_t padded(int64_t channels) { return (channels + kPack - 1) / kPack * kPack; }

  const Device& device;
  Tensor x, weight, rows, edges;
  int64_t batch = x.size(0), vertices = x.size(1), orders = weight.size(0), cin = weight.size(1), cout = weight.size(2);

  DeviceChebyshev(const Device& on, const Tensor& signal, const Tensor& theta, const Tensor& row_spans,
                  const Tensor& col, const Tensor& values)
      : device(on),
        x(signal),
        weight(theta),
        rows(row_spans),
        edges(new_empty(signal, {2 * values.numel()}, scalar_type<T>())) {
    STD_TORCH_CHECK(orders * padded(std::max(cin, cout)) < (int64_t(1) << 31),
                    "chebyshev: expected less than 2^31 channels of all orders, got ", orders, " orders of ",
                    std::max(cin, cout));
    if (orders > 1 && values.numel() > 0)
      device.edges(span_data(), col.const_data_ptr<int32_t>(), values.const_data_ptr<T>(), edges.mutable_data_ptr(),
                   static_cast<uint32_t>(values.numel()));
  }

  const RowSpan* span_data() const { return static_cast<const RowSpan*>(rows.const_data_ptr()); }

  // Zeros where there are channels to fill up, otherwise whatever was there.
  Tensor filled(std::initializer_list<int64_t> size, int64_t channels) const {
    if (padded(channels) == channels) return new_empty(x, size, x.scalar_type());
    return torch::stable::new_zeros(x, {size.begin(), size.size()});
  }

  // The weights as (R Cin, Cout), for orders of x, or as (Cin, R Cout), for orders of y.
  Tensor stacked() const {
    if (padded(cin) == cin) return flat(weight, orders * cin);
    Tensor out = filled({orders, padded(cin), cout}, cin), part = torch::stable::narrow(out, 1, 0, cin);
    torch::stable::copy_(part, weight);
    return flat(out, orders * padded(cin));
  }
  Tensor side_by_side() const {
    Tensor out = filled({cin, orders, padded(cout)}, cout), part = torch::stable::narrow(out, 2, 0, cout);
    torch::stable::copy_(part, transposed(weight));
    return flat(out, cin);
  }

  // Calls f(block, first sample, samples): as many at once as bounded memory holds, at least one, in even shares.
  int64_t blocks(int64_t width, int64_t workspaces) const {
    const int64_t bytes = workspaces * vertices * orders * padded(width) * static_cast<int64_t>(sizeof(S));
    const int64_t most = std::max<int64_t>(1, device.workspace_bytes() / bytes);
    return (batch + most - 1) / most;
  }
  int64_t share(int64_t blocks) const { return (batch + blocks - 1) / blocks; }
  template <class F>
  void for_blocks(int64_t blocks, const F& f) const {
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * share(blocks);
      if (first < batch) f(block, first, std::min(share(blocks), batch - first));
    }
  }
  Tensor workspace(int64_t width, int64_t blocks) const {
    return filled({share(blocks), vertices, orders, padded(width)}, width);
  }
  static Tensor part(Tensor& t, int64_t first, int64_t count) { return torch::stable::narrow(t, 0, first, count); }

  // Where a step writes: slot 0 of `result` if there is one, otherwise slot k of the workspace.
  void step(Tensor& work, int64_t k, T scale, int64_t in, int64_t plus, int64_t minus, Tensor* result,
            const std::optional<Tensor>& bias) const {
    const int64_t stride = orders * work.size(3);
    S* data = work.mutable_data_ptr<S>();
    const auto slot = [&](int64_t s) { return s < 0 || s >= orders ? nullptr : data + s * work.size(3); };
    StepShape shape{};
    shape.vertices = vertices;
    shape.in_stride = static_cast<uint32_t>(stride);
    shape.out_stride = static_cast<uint32_t>(result ? result->size(2) : stride);
    shape.samples = static_cast<uint32_t>(work.size(0));
    shape.channels = static_cast<uint32_t>(result ? result->size(2) : work.size(3));
    device.step(StepCall<S>{span_data(), edges.const_data_ptr(), scale, slot(in), slot(plus), slot(minus),
                            bias ? bias->const_data_ptr<S>() : nullptr,
                            result ? result->mutable_data_ptr<S>() : slot(k), shape});
  }

  // Slots k of the workspace become T_k(L) of the signal.
  void recurrence(Tensor& work, const Tensor& signal) const {
    Tensor slot = torch::stable::select(work, 2, 0), first = torch::stable::narrow(slot, 2, 0, signal.size(2));
    torch::stable::copy_(first, signal);
    for (int64_t k = 1; k < orders; ++k) step(work, k, T(k == 1 ? 1 : 2), k - 1, -1, k - 2, nullptr, {});
  }

  // From slots p_k: b_k in slots k of at least 1, and p_0 + L b_1 - b_2 + bias in `result` if there is one.
  void clenshaw(Tensor& work, Tensor* result, const std::optional<Tensor>& bias) const {
    for (int64_t k = orders - 2; k > 0; --k) step(work, k, T(2), k + 1, k, k + 2, nullptr, {});
    if (result) step(work, 0, T(1), 1, 0, 2, result, bias);
  }

  Tensor forward(const std::optional<Tensor>& bias) {
    Tensor y = new_empty(x, {batch, vertices, cout}, x.scalar_type());
    if (y.numel() == 0) return y;
    if (orders == 1) {
      product(flat(x, batch * vertices), flat(weight, cin), flat(y, batch * vertices), bias);
      return y;
    }
    const bool narrows = padded(cout) < padded(cin);
    const int64_t width = narrows ? cout : cin, count = blocks(width, 1);
    const Tensor theta = narrows ? side_by_side() : stacked();
    Tensor memory = workspace(width, count);
    for_blocks(count, [&](int64_t, int64_t first, int64_t n) {
      Tensor work = part(memory, 0, n), xs = part(x, first, n), ys = part(y, first, n);
      if (narrows) {
        product(flat(xs, n * vertices), theta, flat(work, n * vertices));
        clenshaw(work, &ys, bias);
      } else {
        recurrence(work, xs);
        product(flat(work, n * vertices), theta, flat(ys, n * vertices), bias);
      }
    });
    return y;
  }

  std::tuple<Tensor, Tensor, Tensor, Tensor> backward(Tensor dy, int64_t entries, bool need_x, bool need_weight,
                                                      bool need_bias, bool need_values) {
    const auto zeros = [&](std::initializer_list<int64_t> size, ScalarType dtype) {
      return torch::stable::new_zeros(x, {size.begin(), size.size()}, dtype);
    };
    Tensor dx = new_empty(x, {need_x ? batch : 0, vertices, cin}, x.scalar_type());
    Tensor dweight = zeros({need_weight ? orders : 0, cin, cout}, x.scalar_type());
    Tensor dbias = zeros({need_bias ? cout : 0}, x.scalar_type());
    Tensor dvalues = zeros({need_values ? entries : 0}, scalar_type<T>());
    if (x.numel() == 0) return {dx, dweight, dbias, dvalues};
    if (need_bias) dbias = sum_of_rows(flat(dy, batch * vertices));
    need_values = need_values && orders > 1 && entries > 0;
    if (!need_x && !need_weight && !need_values) return {dx, dweight, dbias, dvalues};

    // On Cout one run serves both gradients; on Cin each takes a run of its own.
    const bool on_cin = need_values || (orders > 1 && padded(cin) * (int(need_x) + int(need_weight)) < padded(cout));
    const bool forms_z = on_cin && (need_weight || need_values), forms_a = on_cin && (need_x || need_values);
    const int64_t width = on_cin ? cin : cout, count = blocks(width, forms_z && forms_a ? 2 : 1);
    const Tensor theta = on_cin ? stacked() : side_by_side();
    // A share of dTheta per block of samples, summed at the end.
    Tensor shares =
        zeros({need_weight ? count : 0, on_cin ? orders * padded(cin) : cin, on_cin ? cout : orders * padded(cout)},
              x.scalar_type());
    Tensor first_memory = workspace(width, count),
           second_memory = forms_z && forms_a ? workspace(width, count) : first_memory;

    for_blocks(count, [&](int64_t block, int64_t first, int64_t n) {
      const int64_t matrix_rows = n * vertices;
      Tensor xs = part(x, first, n), dys = part(dy, first, n), work = part(first_memory, 0, n);
      Tensor dxs = need_x ? part(dx, first, n) : dx;
      const auto to_share = [&](const Tensor& a, const Tensor& b) {
        product(transposed(flat(a, matrix_rows)), flat(b, matrix_rows), torch::stable::select(shares, 0, block));
      };
      if (!on_cin) {
        recurrence(work, dys);
        if (need_x) product(flat(work, matrix_rows), transposed(theta), flat(dxs, matrix_rows));
        if (need_weight) to_share(xs, work);
        return;
      }
      if (forms_z) recurrence(work, xs);
      if (need_weight) to_share(work, dys);
      Tensor adjoint = part(second_memory, 0, n);
      if (forms_a) {
        product(flat(dys, matrix_rows), transposed(theta), flat(adjoint, matrix_rows));
        clenshaw(adjoint, need_x ? &dxs : nullptr, {});
      }
      if (need_values) {
        const int64_t slot = padded(cin);
        const DotsShape shape{vertices,
                              static_cast<uint32_t>(orders * slot),
                              static_cast<uint32_t>(n),
                              static_cast<uint32_t>(slot),
                              static_cast<uint32_t>((orders - 1) * slot),
                              block > 0};
        device.edge_dots(DotsCall<S>{span_data(), edges.const_data_ptr(), adjoint.const_data_ptr<S>() + slot,
                                     work.const_data_ptr<S>(), dvalues.mutable_data_ptr<T>(), shape});
      }
    });
    if (need_weight) add_shares(shares, on_cin, dweight);
    return {dx, dweight, dbias, dvalues};
  }

 private:
  void add_shares(const Tensor& shares, bool on_cin, Tensor& dweight) const {
    const Tensor total = sum_of_rows(shares);
    Tensor by_order = on_cin ? torch::stable::view(total, {{orders, padded(cin), cout}})
                             : transposed(torch::stable::view(total, {{cin, orders, padded(cout)}}));
    Tensor kept = torch::stable::narrow(by_order, on_cin ? 1 : 2, 0, on_cin ? cin : cout);
    torch::stable::copy_(dweight, kept);
  }
};

template <class Device>
Tensor chebyshev_on(const Device& device, const Tensor& x, const Tensor& weight, const Tensor& rows, const Tensor& col,
                    const Tensor& values, const std::optional<Tensor>& bias) {
  std::optional<Tensor> y;
  dispatch(x, "chebyshev", [&](auto zero) {
    y = DeviceChebyshev<decltype(zero), Device>(device, x, weight, rows, col, values).forward(bias);
  });
  return *y;
}

template <class Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> chebyshev_backward_on(const Device& device, const Tensor& grad,
                                                                 const Tensor& x, const Tensor& weight,
                                                                 const Tensor& rows, const Tensor& col,
                                                                 const Tensor& values, bool need_x, bool need_weight,
                                                                 bool need_bias, bool need_values) {
  std::tuple<Tensor, Tensor, Tensor, Tensor> gradients;
  dispatch(x, "chebyshev_backward", [&](auto zero) {
    gradients = DeviceChebyshev<decltype(zero), Device>(device, x, weight, rows, col, values)
                    .backward(grad, values.numel(), need_x, need_weight, need_bias, need_values);
  });
  return gradients;
}

}  // namespace cheblienet
