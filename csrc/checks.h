// What an operator asks of a tensor before it reads its memory. Programs that were exported call operators themselves,
// so nothing that a Python function checked is taken for granted here.
#pragma once
#include <initializer_list>

#include "torch_api.h"

namespace cheblienet {

constexpr int64_t kAny = -1;  // any size

template <class Sizes>
std::string words(const Sizes& sizes) {
  std::string text = "(";
  for (const int64_t n : sizes) {
    if (text.size() > 1) text += ", ";
    text += n == kAny ? "any" : std::to_string(n);
  }
  return text + ")";
}

inline std::string words_of(const Tensor& t) { return words(t.sizes()); }

// As users know it.
inline std::string words_of(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Double: return "float64";
    case ScalarType::Float: return "float32";
    case ScalarType::Half: return "float16";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::Int: return "int32";
    case ScalarType::Long: return "int64";
    case ScalarType::Byte: return "uint8";
    default: return torch::headeronly::toString(dtype);
  }
}

// The type of the arithmetic on a signal.
inline ScalarType arithmetic_type(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// Checks the tensors of one call, which live on one device.
class Operands {
 public:
  Operands(const char* op, const Tensor& first) : op_(op), first_(first) {}

  const char* op() const { return op_; }

  // The framework lets None pass for a tensor, which then has no properties.
  void check_given(const char* name, const Tensor& t) const {
    STD_TORCH_CHECK(t.defined(), op_, ": ", name, ": expected a tensor, got None");
  }

  void check(const char* name, const Tensor& t, ScalarType dtype, std::initializer_list<int64_t> sizes) const {
    check_given(name, t);
    const auto given = t.sizes();
    const bool fits = given.size() == sizes.size() &&
                      std::equal(sizes.begin(), sizes.end(), given.begin(),
                                 [](int64_t wanted, int64_t got) { return wanted == kAny || wanted == got; });
    STD_TORCH_CHECK(fits && t.scalar_type() == dtype, op_, ": ", name, ": expected ", words_of(dtype), " ",
                    words(sizes), ", got ", words_of(t.scalar_type()), " ", words(given));
    STD_TORCH_CHECK(!first_.defined() || t.device() == first_.device(), op_, ": ", name,
                    ": expected all tensors on one device");
  }

  // The same of a signal, of any floating-point type.
  void check_signal(const char* name, const Tensor& t, std::initializer_list<int64_t> sizes) const {
    check_given(name, t);
    dispatch(t, (std::string(op_) + ": " + name).c_str(), [](auto) {});
    check(name, t, t.scalar_type(), sizes);
  }

  // A tensor that fits in memory without gaps, copied where it is not, or where it starts at no multiple of
  // `alignment`.
  Tensor contiguous(const char* name, const Tensor& t, ScalarType dtype, std::initializer_list<int64_t> sizes,
                    uintptr_t alignment = 1) const {
    check(name, t, dtype, sizes);
    const Tensor whole = without_gaps(t);
    return reinterpret_cast<uintptr_t>(whole.const_data_ptr()) % alignment == 0 ? whole : torch::stable::clone(whole);
  }
  Tensor contiguous_signal(const char* name, const Tensor& t, std::initializer_list<int64_t> sizes) const {
    check_signal(name, t, sizes);
    return without_gaps(t);
  }
  std::optional<Tensor> contiguous(const char* name, const std::optional<Tensor>& t, ScalarType dtype,
                                   std::initializer_list<int64_t> sizes) const {
    return t ? std::optional<Tensor>(contiguous(name, *t, dtype, sizes)) : t;
  }

  static Tensor without_gaps(const Tensor& t) { return t.is_contiguous() ? t : torch::stable::contiguous(t); }

 private:
  const char* op_;
  const Tensor& first_;
};

// A kernel of a GPU is called wherever one of the tensors is there.
inline void check_on_gpu(const char* op, const char* name, const Tensor& t) {
  STD_TORCH_CHECK(t.defined() && t.is_cuda(), op, ": ", name, ": expected all tensors on one device");
}

// That `count` numbers on the CPU lie in [least, last].
template <class T>
void check_range(const char* op, const char* name, const T* numbers, int64_t count, int64_t least, int64_t last) {
  if (count == 0) return;
  T smallest = numbers[0], largest = numbers[0];
  for (int64_t i = 1; i < count; ++i) {
    smallest = std::min(smallest, numbers[i]);
    largest = std::max(largest, numbers[i]);
  }
  STD_TORCH_CHECK(int64_t(smallest) >= least && int64_t(largest) <= last, op, ": ", name, ": expected numbers from ",
                  least, " to ", last, ", got ", int64_t(smallest), " to ", int64_t(largest));
}

}  // namespace cheblienet
