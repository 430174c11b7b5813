// The operands of batch normalisation, checked alike on every device.
#pragma once
#include <cmath>

#include "checks.h"
#include "running_statistics.h"

namespace cheblienet {

// Signals (B, V, C), or (B, C, V) whose channels are innermost in memory all the same. Whether a tensor is the latter;
// one without elements has no memory to tell.
inline bool channels_second(const Tensor& x, int64_t channels) {
  const auto size = x.sizes(), stride = x.strides();
  const auto steps = [&](int d, int64_t step) { return size[d] == 1 || stride[d] == step; };
  if (x.numel() == 0) return size[1] == channels && size[2] != channels;
  return size[1] == channels && steps(1, 1) && steps(2, channels) && steps(0, channels * size[2]) &&
         !(size[2] == channels && x.is_contiguous());
}

// A signal like another one of `channels`, in its shape and order of memory; copied where its memory is another.
inline Tensor like_signal(const Operands& operands, const char* name, const Tensor& t, const Tensor& x, bool second) {
  operands.check(name, t, x.scalar_type(), {x.size(0), x.size(1), x.size(2)});
  if (!second) return Operands::without_gaps(t);
  if (channels_second(t, x.size(1))) return t;
  return torch::stable::transpose(torch::stable::contiguous(torch::stable::transpose(t, 1, 2)), 1, 2);
}

struct NormOperands {
  Tensor x;  // s in the gradient
  std::optional<Tensor> residual, grad;
  Tensor weight, bias;
  std::optional<Tensor> mean, var;
};

inline NormOperands checked_batch_norm(const char* op, const Tensor& x, const std::optional<Tensor>& residual,
                                       const std::optional<Tensor>& grad, const Tensor& weight, const Tensor& bias,
                                       const std::optional<Tensor>& mean, const std::optional<Tensor>& var,
                                       double eps) {
  const Operands operands(op, x);
  const char* const signal = grad ? "s" : "x";
  operands.check_signal(signal, x, {kAny, kAny, kAny});
  const ScalarType dtype = arithmetic_type(x);
  operands.check("weight", weight, dtype, {kAny});
  const int64_t channels = weight.size(0);
  const bool second = channels_second(x, channels);
  STD_TORCH_CHECK(second || x.size(2) == channels, op, ": ", signal, ": expected (B, V, ", channels, "), or (B, ",
                  channels, ", V) with the channels innermost in memory, got ", words_of(x));
  STD_TORCH_CHECK(eps >= 0 && std::isfinite(eps), op, ": eps: expected a number of at least 0, got ", eps);
  STD_TORCH_CHECK(mean.has_value() == var.has_value(), op, ": mean, var: expected both or neither");
  const auto like = [&](const char* name, const std::optional<Tensor>& t) {
    return t ? std::optional<Tensor>(like_signal(operands, name, *t, x, second)) : t;
  };
  return {second ? x : Operands::without_gaps(x),
          like("residual", residual),
          like("grad", grad),
          operands.contiguous("weight", weight, dtype, {channels}),
          operands.contiguous("bias", bias, dtype, {channels}),
          operands.contiguous("mean", mean, dtype, {channels}),
          operands.contiguous("var", var, dtype, {channels})};
}

// That a batch of x (B, V, C) in any order has a variance.
inline void check_batch(const char* op, const Tensor& x, const Tensor& weight) {
  STD_TORCH_CHECK(weight.numel() == 0 || x.numel() / weight.numel() > 1, op,
                  ": x: expected more than one value per channel, got shape ", words_of(x));
}

}  // namespace cheblienet
