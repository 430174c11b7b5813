// Batch normalisation over all vertices of all samples, with the residual sum before it and the ReLU after it.
//
// Channels run innermost, so a row of C channels is normalised with contiguous coefficients. With s = x + residual,
//   y = relu(scale s + shift), scale = weight / std, shift = bias - scale mean.
// The first pass over memory stores s, from which the backward finds the mask of the ReLU again. Two passes each way.
#include <algorithm>
#include <cmath>
#include <vector>

#include "../torch_api.h"
#include "norm_rows.h"
#include "result_memory.h"

namespace cheblienet {
namespace {

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

  // The sums (2, C) of a kernel over all rows. Threads sum parts of their own: the result depends on their number
  // alone.
  std::vector<double> sum(void (*kernel)(const NormRows<T>&), NormRows<T> block) const {
    const int64_t width = 2 * channels, parts = torch::stable::get_num_threads();
    std::vector<double> partial(parts * width, 0.0);
    torch::stable::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
      std::vector<T> sums(width);
      for (int64_t part = first; part < last; ++part) {
        NormRows<T> mine = block;
        mine.sums = sums.data();
        for_each(rows * part / parts, rows * (part + 1) / parts, mine, [&](const NormRows<T>& r) {
          std::fill(sums.begin(), sums.end(), T(0));
          kernel(r);
          for (int64_t i = 0; i < width; ++i) partial[part * width + i] += sums[i];
        });
      }
    });
    for (int64_t part = 1; part < parts; ++part)
      for (int64_t i = 0; i < width; ++i) partial[i] += partial[part * width + i];
    return partial;
  }

  void apply(void (*kernel)(const NormRows<T>&), const NormRows<T>& block) const {
    torch::stable::parallel_for(0, rows, 1 + 16384 / std::max<int64_t>(channels, 1), [&](int64_t begin, int64_t end) {
      for_each(begin, end, block, [&](const NormRows<T>& r) { kernel(r); });
    });
  }
};

// scale = weight / std and shift = bias - scale mean.
template <class T>
struct Coefficients {
  std::vector<T> scale, shift;

  Coefficients(const Tensor& weight, const Tensor& bias, const T* mean, const T* var, double eps)
      : scale(weight.numel()), shift(weight.numel()) {
    const T *w = weight.const_data_ptr<T>(), *b = bias.const_data_ptr<T>();
    for (size_t c = 0; c < scale.size(); ++c) {
      scale[c] = w[c] / std::sqrt(var[c] + static_cast<T>(eps));
      shift[c] = b[c] - scale[c] * mean[c];
    }
  }
};

std::tuple<Tensor, Tensor, Tensor, Tensor> batch_norm(const Tensor& x, std::optional<Tensor> residual,
                                                      const Tensor& weight, const Tensor& bias,
                                                      std::optional<Tensor> mean_in, std::optional<Tensor> var_in,
                                                      double eps, bool relu) {
  const int64_t channels = x.size(2), rows = x.size(0) * x.size(1);
  Tensor y = recycled_result(x, {x.size(0), x.size(1), channels});
  Tensor sum = residual ? recycled_result(x, {x.size(0), x.size(1), channels}) : new_empty(x, {0}, x.scalar_type());
  Tensor mean = new_empty(weight, {channels}, weight.scalar_type()),
         var = new_empty(weight, {channels}, weight.scalar_type());
  dispatch(x, "batch_norm", [&](auto zero) {
    using S = decltype(zero);
    using T = accumulate_t<S>;
    Blocks<S> blocks{x.const_data_ptr<S>(),
                     residual ? residual->const_data_ptr<S>() : nullptr,
                     residual ? sum.mutable_data_ptr<S>() : nullptr,
                     nullptr,
                     nullptr,
                     rows,
                     channels};
    NormRows<T> block{};
    T *mp = mean.mutable_data_ptr<T>(), *vp = var.mutable_data_ptr<T>();
    if (mean_in) {
      std::copy_n(mean_in->const_data_ptr<T>(), channels, mp);
      std::copy_n(var_in->const_data_ptr<T>(), channels, vp);
    } else {
      // About the first row, which is as near to the mean as any: sums of squares keep their digits.
      std::vector<T> center(channels, T(0));
      for (int64_t c = 0; c < channels && rows > 0; ++c)
        center[c] = static_cast<T>(blocks.x[c]) + (residual ? static_cast<T>(blocks.residual[c]) : T(0));
      block.center = center.data();
      const std::vector<double> sums = blocks.sum(norm_kernels<T>().moments, block);
      if (residual) blocks.x = blocks.stored, blocks.residual = nullptr;
      for (int64_t c = 0; c < channels; ++c) {
        const double first = sums[c] / rows;
        mp[c] = static_cast<T>(center[c] + first);
        vp[c] = static_cast<T>(std::max(0.0, sums[channels + c] / rows - first * first));
      }
    }
    const Coefficients<T> affine(weight, bias, mp, vp, eps);
    blocks.out = y.mutable_data_ptr<S>();
    block.scale = affine.scale.data();
    block.shift = affine.shift.data();
    block.relu = relu;
    blocks.apply(norm_kernels<T>().normalise, block);
  });
  return {y, mean, var, sum};
}

std::tuple<Tensor, Tensor, Tensor> batch_norm_backward(const Tensor& grad, const Tensor& s, const Tensor& weight,
                                                       const Tensor& bias, const Tensor& mean, const Tensor& var,
                                                       double eps, bool relu, bool batch_statistics) {
  const int64_t channels = s.size(2), rows = s.size(0) * s.size(1);
  Tensor ds = recycled_result(s, {s.size(0), s.size(1), channels});
  Tensor dweight = new_empty(weight, {channels}, weight.scalar_type()),
         dbias = new_empty(weight, {channels}, weight.scalar_type());
  dispatch(s, "batch_norm_backward", [&](auto zero) {
    using S = decltype(zero);
    using T = accumulate_t<S>;
    Blocks<S> blocks{s.const_data_ptr<S>(), nullptr, nullptr, grad.const_data_ptr<S>(), nullptr, rows, channels};
    const T *mp = mean.const_data_ptr<T>(), *vp = var.const_data_ptr<T>();
    const Coefficients<T> affine(weight, bias, mp, vp, eps);
    NormRows<T> block{};
    block.relu = relu;
    block.scale = affine.scale.data();
    block.shift = affine.shift.data();
    block.center = mp;
    const std::vector<double> sums = blocks.sum(norm_kernels<T>().gradient_sums, block);
    std::vector<T> along(channels, T(0)), offset(channels, T(0));
    for (int64_t c = 0; c < channels; ++c) {
      const double inverse = 1 / std::sqrt(static_cast<double>(vp[c]) + eps);
      dbias.mutable_data_ptr<T>()[c] = static_cast<T>(sums[c]);
      dweight.mutable_data_ptr<T>()[c] = static_cast<T>(sums[channels + c] * inverse);
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
  m.impl("batch_norm_backward", TORCH_BOX(&cheblienet::batch_norm_backward));
}
