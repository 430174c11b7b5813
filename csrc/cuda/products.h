// Matrix products, which are the framework's, on views that it does not copy.
#pragma once
#include "../torch_api.h"

namespace cheblienet {

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

// out = a b in the type of sums, float for 16-bit matrices: not rounded to 16 bits before shares of it are added up.
inline void exact_product(const Tensor& a, const Tensor& b, const Tensor& out) {
  using torch::stable::detail::from;
  if (a.scalar_type() == out.scalar_type()) return product(a, b, out);
  if (!a.is_cuda()) {  // the framework has such products for GPUs alone
    return product(torch::stable::to(a, out.scalar_type()), torch::stable::to(b, out.scalar_type()), out);
  }
  StableIValue stack[] = {from(a), from(b), from(out.scalar_type()), from(out)};
  call_operator("aten::mm", "dtype_out", stack);
  torch::stable::detail::to<Tensor>(stack[0]);
}

}  // namespace cheblienet
