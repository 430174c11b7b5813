// The passes of a batch normalisation over rows of channels, in the widest instruction set of the machine.
#pragma once
#include <cstdint>

namespace cheblienet {

// Some rows of the signal s and what is done to them; the coefficients have one value per channel.
template <class T>
struct NormRows {
  const T *s, *grad;  // (rows, C); grad is of the backward only
  T* out;             // (rows, C)
  int64_t rows, channels;
  bool relu;
  const T *scale, *shift;   // y = scale s + shift
  const T* center;          // about which products of g and s are summed
  const T *along, *offset;  // ds = scale g - along s - offset, where g = grad where the ReLU let y through
  T* sums;                  // (3, C) for the moments, (2, C) for the gradient
};

template <class T>
struct NormKernels {
  void (*moments)(const NormRows<T>&);        // sums = [center, s - center, (s - center)^2], about the rows' mean
  void (*normalise)(const NormRows<T>&);      // out = y, or max(y, 0)
  void (*gradient_sums)(const NormRows<T>&);  // sums = [g, g (s - center)]
  void (*gradient)(const NormRows<T>&);       // out = ds
};

// The kernels for this machine, as in sparse_rows.h.
template <class T>
const NormKernels<T>& norm_kernels();

}  // namespace cheblienet
