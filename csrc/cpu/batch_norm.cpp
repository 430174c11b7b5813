// Batch normalisation over all vertices of all samples, with the residual sum before it and the ReLU after it.
//
// Channels run innermost in memory, in whatever order a tensor names its dimensions, so a row of C channels is
// normalised with contiguous coefficients. With s = x + residual,
//   y = relu(scale s + shift), scale = weight / std, shift = bias - scale mean.
// The first pass over memory stores s, from which the backward finds the mask of the ReLU again. Two passes each way.
#include <algorithm>
#include <cmath>
#include <vector>

#include "../batch_norm_operands.h"
#include "../math/moments.h"
#include "norm_rows.h"
#include "result_memory.h"

namespace cheblienet {
namespace {

constexpr int64_t kPerThread = 16384;  // elements that are worth a thread

// A part of the rows of a call, in blocks that the first-level cache keeps while all their channels are worked on, and
// that are short enough to be summed in the type of the arithmetic before they go into double.
template <class S>
struct Blocks {
  using T = accumulate_t<S>;
  static constexpr bool converts = !std::is_same_v<S, T>;

  const S *x, *residual;  // s = x + residual, or x where residual is null
  S* stored;              // where s goes; null without residual
  const S* grad;
  S* out;
  int64_t rows, channels;

  // Calls f(block) for the rows [begin, end), with s, grad and out in the type of the arithmetic.
  template <class F>
  void for_each(int64_t begin, int64_t end, NormRows<T> block, const F& f) const {
    const int64_t most = std::max<int64_t>(16, 4096 / std::max<int64_t>(channels, 1));
    std::vector<T> buffer(converts ? 3 * most * channels : 0);
    block.channels = channels;
    for (int64_t row = begin; row < end; row += most) {
      block.rows = std::min(most, end - row);
      const int64_t at = row * channels, size = block.rows * channels;
      if (residual != nullptr)
        for (int64_t i = at; i < at + size; ++i) stored[i] = static_cast<S>(T(x[i]) + T(residual[i]));
      const S* s = residual != nullptr ? stored : x;
      if constexpr (converts) {
        T* part = buffer.data();
        const auto read = [&](const S* from) {
          if (from != nullptr) std::copy_n(from + at, size, part);
          const T* result = from != nullptr ? part : nullptr;
          part += size;
          return result;
        };
        block.s = read(s);
        block.grad = read(grad);
        block.out = part;
        f(block);
        if (out != nullptr) std::copy_n(block.out, size, out + at);
      } else {
        const auto part = [&](auto* p) { return p != nullptr ? p + at : nullptr; };
        block.s = part(s);
        block.grad = part(grad);
        block.out = part(out);
        f(block);
      }
    }
  }

  // Numbers (2, C) over all rows: `numbers` makes them of the kernel's sums over a block, and join(to, from, before,
  // more) puts those of `more` rows to those of the `before` rows that precede them. Threads have parts of their own:
  // the result depends on their number and the size alone.
  template <class Numbers, class Join>
  std::vector<double> reduce(void (*kernel)(const NormRows<T>&), const NormRows<T>& block, const Numbers& numbers,
                             const Join& join) const {
    const int64_t width = 2 * channels, most = 1 + rows * channels / kPerThread;
    const int64_t parts = std::min<int64_t>(torch::stable::get_num_threads(), most);
    std::vector<double> partial(parts * width, 0.0);
    const auto start = [&](int64_t part) { return rows * part / parts; };
    torch::stable::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
      std::vector<T> sums(3 * channels);
      std::vector<double> next(width);
      NormRows<T> mine = block;
      mine.sums = sums.data();
      for (int64_t part = first; part < last; ++part) {
        int64_t before = 0;
        for_each(start(part), start(part + 1), mine, [&](const NormRows<T>& r) {
          kernel(r);
          numbers(r, next.data());
          join(&partial[part * width], next.data(), before, r.rows);
          before += r.rows;
        });
      }
    });
    for (int64_t part = 1; part < parts; ++part)
      join(partial.data(), &partial[part * width], start(part), start(part + 1) - start(part));
    return partial;
  }

  // Mean, and sum of the squared distances from it.
  std::vector<double> moments() const {
    const int64_t C = channels;
    return reduce(
        norm_kernels<T>().moments, NormRows<T>{},
        [C](const NormRows<T>& r, double* numbers) {
          for (int64_t c = 0; c < C; ++c) {
            const double offset = r.sums[C + c] / static_cast<double>(r.rows);
            numbers[c] = r.sums[c] + offset;
            const double squares = r.sums[2 * C + c] - r.sums[C + c] * offset;
            numbers[C + c] = squares < 0 ? 0 : squares;  // by rounding, where all are equal; nan stays
          }
        },
        [C](double* to, const double* from, int64_t before, int64_t more) {
          const MomentSum<double> sum(before, more);
          for (int64_t c = 0; c < C; ++c) sum.add(to[c], to[C + c], from[c], from[C + c]);
        });
  }

  // Sums of g and of g (s - mean).
  std::vector<double> gradient_sums(const NormRows<T>& block) const {
    const int64_t width = 2 * channels;
    return reduce(
        norm_kernels<T>().gradient_sums, block,
        [width](const NormRows<T>& r, double* numbers) { std::copy_n(r.sums, width, numbers); },
        [width](double* to, const double* from, int64_t, int64_t) {
          for (int64_t i = 0; i < width; ++i) to[i] += from[i];
        });
  }

  void apply(void (*kernel)(const NormRows<T>&), const NormRows<T>& block) const {
    torch::stable::parallel_for(
        0, rows, 1 + kPerThread / std::max<int64_t>(channels, 1),
        [&](int64_t begin, int64_t end) { for_each(begin, end, block, [&](const NormRows<T>& r) { kernel(r); }); });
  }
};

// scale = weight / std and shift = bias - scale mean.
template <class T>
struct Coefficients {
  std::vector<T> scale, shift;

  Coefficients(const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& var, double eps)
      : scale(weight.numel()), shift(weight.numel()) {
    const T *w = weight.const_data_ptr<T>(), *b = bias.const_data_ptr<T>();
    const T *m = mean.const_data_ptr<T>(), *v = var.const_data_ptr<T>();
    for (size_t c = 0; c < scale.size(); ++c) {
      scale[c] = w[c] / std::sqrt(v[c] + static_cast<T>(eps));
      shift[c] = b[c] - scale[c] * m[c];
    }
  }
};

int64_t rows_of(const Tensor& x, const Tensor& weight) { return x.numel() / std::max<int64_t>(weight.numel(), 1); }
Tensor like_channels(const Tensor& weight) { return new_empty(weight, {weight.numel()}, weight.scalar_type()); }

// y and s, which is empty without a residual. `statistics(blocks)` is called first, with s on its way.
struct Forward {
  const Tensor& x;
  const std::optional<Tensor>& residual;
  const Tensor &weight, &bias;
  double eps;
  bool relu;
  Tensor y = recycled_like(x);
  Tensor sum = residual ? recycled_like(x) : new_empty(x, {0}, x.scalar_type());

  template <class S>
  Blocks<S> blocks() {
    return {x.const_data_ptr<S>(),
            residual ? residual->const_data_ptr<S>() : nullptr,
            residual ? sum.mutable_data_ptr<S>() : nullptr,
            nullptr,
            nullptr,
            rows_of(x, weight),
            weight.numel()};
  }

  template <class S>
  void apply(Blocks<S> blocks, const Tensor& mean, const Tensor& var) {
    using T = accumulate_t<S>;
    const Coefficients<T> affine(weight, bias, mean, var, eps);
    NormRows<T> block{};
    block.relu = relu;
    block.scale = affine.scale.data();
    block.shift = affine.shift.data();
    blocks.out = y.mutable_data_ptr<S>();
    blocks.apply(norm_kernels<T>().normalise, block);
  }
};

std::tuple<Tensor, Tensor> batch_norm_fixed(const Tensor& x, std::optional<Tensor> residual, const Tensor& weight,
                                            const Tensor& bias, const Tensor& mean, const Tensor& var, double eps,
                                            bool relu) {
  const NormOperands given = checked_batch_norm("batch_norm", x, residual, {}, weight, bias, mean, var, eps);
  Forward forward{given.x, given.residual, given.weight, given.bias, eps, relu};
  dispatch(x, "batch_norm",
           [&](auto zero) { forward.apply(forward.blocks<decltype(zero)>(), *given.mean, *given.var); });
  return {forward.y, forward.sum};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> batch_norm_tracked(const Tensor& x, std::optional<Tensor> residual,
                                                              const Tensor& weight, const Tensor& bias,
                                                              std::vector<Tensor> running,
                                                              std::optional<double> momentum, double eps, bool relu) {
  const NormOperands given = checked_batch_norm("batch_norm", x, residual, {}, weight, bias, {}, {}, eps);
  check_batch("batch_norm", x, weight);
  check_running("batch_norm", running, x, weight.numel());
  Forward forward{given.x, given.residual, given.weight, given.bias, eps, relu};
  Tensor mean = like_channels(weight), var = like_channels(weight);
  dispatch(x, "batch_norm", [&](auto zero) {
    using S = decltype(zero);
    using T = accumulate_t<S>;
    Blocks<S> blocks = forward.blocks<S>();
    const std::vector<double> moments = blocks.moments();
    if (residual) blocks.x = blocks.stored, blocks.residual = nullptr;
    T *mp = mean.mutable_data_ptr<T>(), *vp = var.mutable_data_ptr<T>();
    for (int64_t c = 0; c < blocks.channels; ++c) {
      mp[c] = static_cast<T>(moments[c]);
      vp[c] = static_cast<T>(moments[blocks.channels + c] / blocks.rows);
    }
    const auto tracked = running_statistics<T>(running, momentum);
    forward.apply(blocks, mean, var);
    if (tracked.mean == nullptr) return;  // otherwise last: a call that fails for want of memory does not count
    ++*tracked.batches;
    const T step = tracked.step(), count = static_cast<T>(blocks.rows);
    for (int64_t c = 0; c < blocks.channels; ++c) tracked.follow(c, mp[c], vp[c], count, step);
  });
  return {forward.y, mean, var, forward.sum};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> batch_norm(const Tensor& x, std::optional<Tensor> residual,
                                                      const Tensor& weight, const Tensor& bias,
                                                      std::optional<Tensor> mean, std::optional<Tensor> var, double eps,
                                                      bool relu) {
  STD_TORCH_CHECK(mean.has_value() == var.has_value(), "batch_norm: mean, var: expected both or neither");
  if (!mean) return batch_norm_tracked(x, residual, weight, bias, {}, 0.0, eps, relu);
  auto [y, sum] = batch_norm_fixed(x, residual, weight, bias, *mean, *var, eps, relu);
  return {y, torch::stable::clone(*mean), torch::stable::clone(*var), sum};
}

std::tuple<Tensor, Tensor, Tensor> batch_norm_backward(const Tensor& gradient, const Tensor& signal,
                                                       const Tensor& scale, const Tensor& shift,
                                                       const Tensor& mean_used, const Tensor& var_used, double eps,
                                                       bool relu, bool batch_statistics) {
  const NormOperands given =
      checked_batch_norm("batch_norm_backward", signal, {}, gradient, scale, shift, mean_used, var_used, eps);
  const Tensor &grad = *given.grad, &s = given.x, &weight = given.weight, &bias = given.bias, &mean = *given.mean,
               &var = *given.var;
  const int64_t channels = weight.numel(), rows = rows_of(s, weight);
  Tensor ds = recycled_like(s), dweight = like_channels(weight), dbias = like_channels(weight);
  dispatch(s, "batch_norm_backward", [&](auto zero) {
    using S = decltype(zero);
    using T = accumulate_t<S>;
    Blocks<S> blocks{s.const_data_ptr<S>(), nullptr, nullptr, grad.const_data_ptr<S>(), nullptr, rows, channels};
    const T *mp = mean.const_data_ptr<T>(), *vp = var.const_data_ptr<T>();
    T *dw = dweight.mutable_data_ptr<T>(), *db = dbias.mutable_data_ptr<T>();
    const Coefficients<T> affine(weight, bias, mean, var, eps);
    NormRows<T> block{};
    block.relu = relu;
    block.scale = affine.scale.data();
    block.shift = affine.shift.data();
    block.center = mp;
    const std::vector<double> sums = blocks.gradient_sums(block);
    std::vector<T> along(channels, T(0)), offset(channels, T(0));
    for (int64_t c = 0; c < channels; ++c) {
      const double inverse = 1 / std::sqrt(static_cast<double>(vp[c]) + eps);
      db[c] = static_cast<T>(sums[c]);
      dw[c] = static_cast<T>(sums[channels + c] * inverse);
      if (!batch_statistics || rows == 0) continue;
      const double slope = sums[channels + c] / rows * inverse * inverse * affine.scale[c];
      along[c] = static_cast<T>(slope);
      offset[c] = static_cast<T>(affine.scale[c] * sums[c] / rows - slope * mp[c]);
    }
    block.along = along.data();
    block.offset = offset.data();
    blocks.out = ds.mutable_data_ptr<S>();
    blocks.apply(norm_kernels<T>().gradient, block);
  });
  return {ds, dweight, dbias};
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CPU, m) {
  m.impl("batch_norm", TORCH_BOX(&cheblienet::batch_norm));
  m.impl("batch_norm.tracked", TORCH_BOX(&cheblienet::batch_norm_tracked));
  m.impl("batch_norm.fixed", TORCH_BOX(&cheblienet::batch_norm_fixed));
  m.impl("batch_norm_backward", TORCH_BOX(&cheblienet::batch_norm_backward));
}
