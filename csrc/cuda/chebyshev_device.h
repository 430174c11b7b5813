// The Chebyshev convolution y = sum_k T_k(L) x Theta_k and its gradients on a device: which kernels and which matrix
// products run on what. The formulas and the two evaluations, recurrence and Clenshaw, are those of cpu/chebyshev.cpp.
//
// The orders of some samples stand side by side in a workspace (samples, V, R, channels), so that one matrix product
// combines them. Its channels are filled up with zeros to packs of 16 bytes; the weights likewise, so nothing else has
// to know. The forward is two launches, recurrence and product, the backward of all gradients five: one that prepares,
// recurrence, two products, one that finishes. Operands that are not whole packs cost the forward one more launch.
//
// Nothing here names the CUDA runtime: `Device` launches the kernels of chebyshev*.cuh,
//   vertices(rows, col, vertex, entries), orders<S>(OrdersCall), edge_dots<S>(DotsCall), dots_on_tiles<S> and
//   tile_dots<S>(TileDotsCall), prepare<S>(PrepareCall), finish<S>(FinishCall) and workspace_bytes(),
// and matrix products are the framework's, on the device of its tensors.
#pragma once
#include <vector>

#include "../chebyshev_operands.h"
#include "chebyshev_steps.h"
#include "products.h"

namespace cheblienet {

template <class S, class Device>
struct DeviceChebyshev {
  using T = accumulate_t<S>;
  static constexpr int64_t kPack = kPackOf<S>;
  static int64_t padded(int64_t channels) { return (channels + kPack - 1) / kPack * kPack; }

  const Device& device;
  Tensor x, weight;
  Laplacian<T> laplacian;
  int64_t batch = x.size(0), vertices = x.size(1), orders = weight.size(0), cin = weight.size(1), cout = weight.size(2);

  DeviceChebyshev(const Device& on, const ChebyshevOperands& given)
      : device(on), x(given.x), weight(given.weight), laplacian(on, given.pattern, given.values, weight.size(0) > 1) {
    STD_TORCH_CHECK(orders * padded(std::max(cin, cout)) < (int64_t(1) << 31),
                    "chebyshev: expected less than 2^31 channels of all orders, got ", orders, " orders of ",
                    std::max(cin, cout));
  }

  // Whether a kernel can read the signal as it is: rows of whole packs, at multiples of 16 bytes.
  static bool whole_packs(const Tensor& signal) {
    return signal.size(2) % kPack == 0 && reinterpret_cast<uintptr_t>(signal.const_data_ptr()) % 16 == 0;
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
    return new_empty(x, {share(blocks), vertices, orders, padded(width)}, x.scalar_type());
  }
  static Tensor part(Tensor& t, int64_t first, int64_t count) { return torch::stable::narrow(t, 0, first, count); }

  OrdersCall<S> call(Tensor& work, const Tensor* signal, Tensor* result, const std::optional<Tensor>& bias) const {
    OrdersCall<S> c{};
    c.laplacian = &laplacian;
    c.x = signal ? signal->const_data_ptr<S>() : nullptr;
    c.z = work.mutable_data_ptr<S>();
    c.y = result ? result->mutable_data_ptr<S>() : nullptr;
    c.bias = bias ? bias->const_data_ptr<S>() : nullptr;
    c.shape.vertices = vertices;
    c.shape.orders = static_cast<int32_t>(orders);
    c.shape.width = static_cast<int32_t>(work.size(3));
    c.shape.packs = static_cast<int32_t>(work.size(3) / kPack);
    c.shape.channels = static_cast<int32_t>(result ? result->size(2) : work.size(3));
    c.shape.batch = static_cast<int32_t>(work.size(0));
    return c;
  }

  // Slots k of the workspace become T_k(L) of the signal. One that is not of whole packs is in slot 0 already.
  void recurrence(Tensor& work, const Tensor& signal) const {
    OrdersCall<S> c = call(work, whole_packs(signal) ? &signal : nullptr, nullptr, {});
    c.shape.from = 1;
    c.shape.to = static_cast<int32_t>(orders);
    device.orders(c);
  }

  // From slots p_k: b_k in slots k of at least 1, and p_0 + L b_1 - b_2 + bias in `result` if there is one.
  void clenshaw(Tensor& work, Tensor* result, const std::optional<Tensor>& bias) const {
    OrdersCall<S> c = call(work, nullptr, result, bias);
    c.shape.from = static_cast<int32_t>(orders - 2);
    c.shape.to = result ? -1 : 0;
    if (c.shape.from > c.shape.to) device.orders(c);
  }

  PrepareCall<S> preparation() const {
    PrepareCall<S> p{};
    p.shape.orders = static_cast<int32_t>(orders);
    p.shape.cin = static_cast<int32_t>(cin);
    p.shape.cout = static_cast<int32_t>(cout);
    return p;
  }
  // The weights as (R width, Cout), for orders of x, or as (Cin, R width), for orders of y, once `p` is launched.
  Tensor stacked(PrepareCall<S>& p, bool side_by_side) const {
    const int64_t width = padded(side_by_side ? cout : cin);
    if (!side_by_side && width == cin) return flat(weight, orders * cin);
    Tensor out = side_by_side ? new_empty(weight, {cin, orders * width}, weight.scalar_type())
                              : new_empty(weight, {orders * width, cout}, weight.scalar_type());
    p.weight = weight.const_data_ptr<S>();
    p.stacked = out.mutable_data_ptr<S>();
    p.shape.width = static_cast<int32_t>(width);
    p.shape.side_by_side = side_by_side;
    return out;
  }
  // Slot 0 of the workspace becomes a signal that is not of whole packs, once `p` is launched.
  void fill(PrepareCall<S>& p, const Tensor& signal, Tensor& work) const {
    if (whole_packs(signal)) return;
    p.x = signal.const_data_ptr<S>();
    p.z = work.mutable_data_ptr<S>();
    p.shape.signal_rows = signal.size(0) * vertices;
    p.shape.channels = static_cast<int32_t>(signal.size(2));
    p.shape.slot = static_cast<int32_t>(work.size(3));
    p.shape.stride = static_cast<int32_t>(orders * work.size(3));
  }
  void launch(PrepareCall<S>& p) const {
    if (p.stacked != nullptr || p.shape.signal_rows > 0 || p.shape.parts > 0) device.prepare(p);
    p = preparation();
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
    PrepareCall<S> before = preparation();
    const Tensor theta = stacked(before, narrows);
    Tensor memory = workspace(width, count);
    for_blocks(count, [&](int64_t, int64_t first, int64_t n) {
      Tensor work = part(memory, 0, n), xs = part(x, first, n), ys = part(y, first, n);
      if (narrows) {
        launch(before);
        product(flat(xs, n * vertices), theta, flat(work, n * vertices));
        clenshaw(work, &ys, bias);
      } else {
        fill(before, xs, work);
        launch(before);
        recurrence(work, xs);
        product(flat(work, n * vertices), theta, flat(ys, n * vertices), bias);
      }
    });
    return y;
  }

  std::tuple<Tensor, Tensor, Tensor, Tensor> backward(Tensor dy, int64_t entries, bool need_x, bool need_weight,
                                                      bool need_bias, bool need_values) {
    const auto zeros = [&](bool needed, std::initializer_list<int64_t> size, ScalarType dtype) {
      Tensor t = new_empty(x, size, dtype);
      if (needed) torch::stable::zero_(t);
      return t;
    };
    const bool empty = batch * vertices == 0, acts = orders > 1 && entries > 0;
    Tensor dx = new_empty(x, {need_x ? batch : 0, vertices, cin}, x.scalar_type());
    Tensor dweight = zeros(empty && need_weight, {need_weight ? orders : 0, cin, cout}, x.scalar_type());
    Tensor dbias = zeros(empty && need_bias, {need_bias ? cout : 0}, x.scalar_type());
    Tensor dvalues = zeros((empty || !acts) && need_values, {need_values ? entries : 0}, scalar_type<T>());
    need_values = need_values && acts;
    if (empty || !(need_x || need_weight || need_bias || need_values)) return {dx, dweight, dbias, dvalues};

    // On Cout one run serves both gradients; on Cin each takes a run of its own.
    const bool on_cin = need_values || (orders > 1 && padded(cin) * (int(need_x) + int(need_weight)) < padded(cout));
    const bool forms_z = on_cin && (need_weight || need_values), forms_a = on_cin && (need_x || need_values);
    const bool multiplies = need_x || need_weight || need_values;
    const int64_t width = on_cin ? cin : cout, slots = orders > 1 ? orders * padded(width) : cout;
    const int64_t count = orders > 1 ? blocks(width, forms_z && forms_a ? 2 : 1) : 1;

    PrepareCall<S> before = preparation();
    const Tensor theta = orders > 1 && (forms_a || need_x) ? stacked(before, !on_cin) : weight;
    FinishCall<S> after{};
    Tensor sums = new_empty(x, {need_bias ? sum_parts(batch * vertices, static_cast<int32_t>(cout)) : 0, cout},
                            ScalarType::Double);
    if (need_bias) sum_columns_of(dy, sums, before, after);
    // A share of dTheta per block of samples, in the type of sums.
    Tensor shares =
        new_empty(x, {need_weight ? count : 0, on_cin ? slots : cin, on_cin ? cout : slots}, scalar_type<T>());
    if (orders == 1) {  // dy is its own order 0
      launch(before);
      const Tensor dy_rows = flat(dy, batch * vertices);
      if (need_x) product(dy_rows, transposed(flat(weight, cin)), flat(dx, batch * vertices));
      if (need_weight)
        exact_product(transposed(flat(x, batch * vertices)), dy_rows, torch::stable::select(shares, 0, 0));
    } else if (multiplies) {
      Tensor first_memory = workspace(width, count),
             second_memory = forms_z && forms_a ? workspace(width, count) : first_memory;
      for_blocks(count, [&](int64_t block, int64_t first, int64_t n) {
        const int64_t matrix_rows = n * vertices;
        Tensor xs = part(x, first, n), dys = part(dy, first, n), work = part(first_memory, 0, n);
        Tensor dxs = need_x ? part(dx, first, n) : dx;
        const auto to_share = [&](const Tensor& a, const Tensor& b) {
          exact_product(transposed(flat(a, matrix_rows)), flat(b, matrix_rows),
                        torch::stable::select(shares, 0, block));
        };
        if (!on_cin) {
          fill(before, dys, work);
          launch(before);
          recurrence(work, dys);
          if (need_x) product(flat(work, matrix_rows), transposed(theta), flat(dxs, matrix_rows));
          if (need_weight) to_share(xs, work);
          return;
        }
        if (forms_z) fill(before, xs, work);
        launch(before);
        if (forms_z) recurrence(work, xs);
        if (need_weight) to_share(work, dys);
        Tensor adjoint = part(second_memory, 0, n);
        if (forms_a) {
          product(flat(dys, matrix_rows), transposed(theta), flat(adjoint, matrix_rows));
          if (need_values) clear_filling(adjoint, cin);
          clenshaw(adjoint, need_x ? &dxs : nullptr, {});
        }
        if (need_values) dots(adjoint, work, dvalues, block > 0);
      });
    } else {
      launch(before);
    }
    if (need_weight) {
      after.shares = shares.const_data_ptr<T>();
      after.dweight = dweight.mutable_data_ptr<S>();
      after.shape.width = static_cast<int32_t>(shares.size(on_cin ? 1 : 2) / orders);
      after.shape.shares = static_cast<int32_t>(shares.size(0));
      after.shape.side_by_side = !on_cin;
    }
    if (need_weight || need_bias) {
      after.dbias = dbias.mutable_data_ptr<S>();
      after.shape.orders = static_cast<int32_t>(orders);
      after.shape.cin = static_cast<int32_t>(cin);
      after.shape.cout = static_cast<int32_t>(cout);
      device.finish(after);
    }
    return {dx, dweight, dbias, dvalues};
  }

 private:
  // Filled-up channels of a product are zero times dy, which is no zero where dy is not finite; the dots of rows read
  // them.
  static void clear_filling(Tensor& work, int64_t channels) {
    if (work.size(3) == channels) return;
    Tensor filling = torch::stable::narrow(work, 3, channels, work.size(3) - channels);
    torch::stable::zero_(filling);
  }

  void sum_columns_of(const Tensor& dy, Tensor& sums, PrepareCall<S>& before, FinishCall<S>& after) const {
    before.dy = dy.const_data_ptr<S>();
    before.partial = sums.mutable_data_ptr<double>();
    before.shape.sum_rows = batch * vertices;
    before.shape.columns = after.shape.columns = static_cast<int32_t>(cout);
    before.shape.parts = after.shape.parts = static_cast<int32_t>(sums.size(0));
    after.partial = sums.const_data_ptr<double>();
  }

  void dots(const Tensor& adjoint, const Tensor& work, Tensor& dvalues, bool accumulate) const {
    const int64_t slot = work.size(3);
    DotsCall<S> call{
        &laplacian, adjoint.const_data_ptr<S>() + slot, work.const_data_ptr<S>(), dvalues.mutable_data_ptr<T>(), {}};
    call.shape.vertices = vertices;
    call.shape.stride = static_cast<uint32_t>(orders * slot);
    call.shape.samples = static_cast<uint32_t>(work.size(0));
    call.shape.slot = static_cast<uint32_t>(slot);
    call.shape.elements = static_cast<uint32_t>((orders - 1) * slot);
    call.shape.accumulate = accumulate;
    TileDotsCall<S> tiled{call, nullptr, {}};
    tiled.shape.vertices = vertices;
    tiled.shape.orders = static_cast<int32_t>(orders);
    tiled.shape.width = static_cast<int32_t>(slot);
    tiled.shape.batch = static_cast<int32_t>(work.size(0));
    tiled.shape.packs = static_cast<int32_t>((orders - 1) * slot / kPack);
    if (!device.dots_on_tiles(tiled)) return device.edge_dots(call);
    Tensor shares = new_empty(x, {tiled.shape.splits, dvalues.numel()}, scalar_type<T>());
    tiled.shares = shares.mutable_data_ptr<T>();
    device.tile_dots(tiled);
  }
};

template <class Device>
Tensor chebyshev_on(const Device& device, const Tensor& x, const Tensor& weight, const std::vector<Tensor>& pattern,
                    const Tensor& values, const std::optional<Tensor>& bias) {
  const ChebyshevOperands given = checked_chebyshev("chebyshev", x, weight, pattern, values, bias);
  std::optional<Tensor> y;
  dispatch(x, "chebyshev",
           [&](auto zero) { y = DeviceChebyshev<decltype(zero), Device>(device, given).forward(given.bias); });
  return *y;
}

template <class Device>
std::tuple<Tensor, Tensor, Tensor, Tensor> chebyshev_backward_on(const Device& device, const Tensor& grad,
                                                                 const Tensor& x, const Tensor& weight,
                                                                 const std::vector<Tensor>& pattern,
                                                                 const Tensor& values, bool need_x, bool need_weight,
                                                                 bool need_bias, bool need_values) {
  const ChebyshevOperands given = checked_chebyshev("chebyshev_backward", x, weight, pattern, values, {}, grad);
  std::tuple<Tensor, Tensor, Tensor, Tensor> gradients;
  dispatch(x, "chebyshev_backward", [&](auto zero) {
    gradients = DeviceChebyshev<decltype(zero), Device>(device, given)
                    .backward(*given.grad, values.numel(), need_x, need_weight, need_bias, need_values);
  });
  return gradients;
}

}  // namespace cheblienet
