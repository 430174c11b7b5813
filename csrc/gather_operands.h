// The operands of pooling and unpooling, checked alike on every device.
#pragma once
#include "checks.h"
#include "reduction_name.h"

namespace cheblienet {

struct GatherOperands {
  Tensor signal, index, rowptr, entry, chosen;  // chosen: choice or winner; without elements where there is none
  Reduction reduction;
};

// The signal is x (B, V, C), or for `backward` the gradient of y (B, Vout, C).
inline GatherOperands checked_gather(const char* op, const Tensor& x, const Tensor& index, const Tensor& rowptr,
                                     const Tensor& entry, const std::optional<Tensor>& chosen, const std::string& name,
                                     bool backward) {
  const Reduction reduction = reduction_from(name);
  const Operands operands(op, x);
  constexpr ScalarType Long = ScalarType::Long, Byte = ScalarType::Byte;
  const Tensor members = operands.contiguous("index", index, Long, {kAny, kAny});
  const int64_t outputs = index.size(0);
  STD_TORCH_CHECK(index.size(1) >= 1 && index.size(1) <= 255, op,
                  ": index: expected 1 to 255 members per output, got shape ", words_of(index));
  const Tensor pointers = operands.contiguous("rowptr", rowptr, Long, {kAny});
  STD_TORCH_CHECK(rowptr.size(0) >= 1, op, ": rowptr: expected V + 1 numbers, got none");
  const Tensor signal =
      operands.contiguous_signal(backward ? "grad" : "x", x, {kAny, backward ? outputs : rowptr.size(0) - 1, kAny});
  const Tensor entries = operands.contiguous("entry", entry, Long, {kAny});
  Tensor slots = new_empty(x, {0}, Byte);
  if (reduction == Reduction::rand) {
    STD_TORCH_CHECK(chosen.has_value(), op, ": choice: expected the slot of each output for rand, got None");
    slots = operands.contiguous(backward ? "winner" : "choice", *chosen, Byte, {outputs});
  } else if (backward && reduction == Reduction::max) {
    slots = operands.contiguous("winner", *chosen, Byte, {x.size(0), outputs, x.size(2)});
  }
  return {signal, members, pointers, entries, slots, reduction};
}

}  // namespace cheblienet
