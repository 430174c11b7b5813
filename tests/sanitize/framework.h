// A stand-in for the framework, of as much as csrc/torch_api.h and the CPU kernels use, on threads of the standard
// library: every memory access and every thread of a program made with it is seen by a sanitizer.
#pragma once
#include <any>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <vector>

#define TORCH_SUCCESS 0
#define TORCH_ABI_VERSION 0
#define TORCH_ERROR_CODE_CHECK(call) \
  if ((call) != TORCH_SUCCESS) throw std::runtime_error(#call)
#define STD_TORCH_CHECK(condition, ...) \
  if (!(condition)) torch::headeronly::fail(__VA_ARGS__)

namespace torch::headeronly {

enum class ScalarType { Byte, Int, Long, Half, Float, Double, BFloat16 };
enum class DeviceType { CPU };

inline const char* toString(ScalarType type) {
  static constexpr const char* names[] = {"Byte", "Int", "Long", "Half", "Float", "Double", "BFloat16"};
  return names[static_cast<int>(type)];
}
inline int64_t size_of(ScalarType type) {
  static constexpr int64_t sizes[] = {1, 4, 8, 2, 4, 8, 2};
  return sizes[static_cast<int>(type)];
}

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw std::runtime_error(text.str());
}

// Numbers that are stored in the upper half of a float.
struct BFloat16 {
  uint16_t bits = 0;

  BFloat16() = default;
  BFloat16(float value) {
    uint32_t all;
    std::memcpy(&all, &value, sizeof all);
    bits = static_cast<uint16_t>((all + 0x7fff + ((all >> 16) & 1)) >> 16);
  }
  operator float() const {
    const uint32_t all = uint32_t(bits) << 16;
    float value;
    std::memcpy(&value, &all, sizeof value);
    return value;
  }
};
using Half = _Float16;

struct IntHeaderOnlyArrayRef {
  const int64_t* first;
  size_t count;

  IntHeaderOnlyArrayRef(const int64_t* data, size_t size) : first(data), count(size) {}
  IntHeaderOnlyArrayRef(const std::vector<int64_t>& of) : first(of.data()), count(of.size()) {}
  const int64_t* data() const { return first; }
  size_t size() const { return count; }
  const int64_t* begin() const { return first; }
  const int64_t* end() const { return first + count; }
  const int64_t& operator[](size_t i) const { return first[i]; }
};

}  // namespace torch::headeronly

namespace torch::stable {

using headeronly::DeviceType;
using headeronly::IntHeaderOnlyArrayRef;
using headeronly::ScalarType;

struct Device {
  explicit Device(DeviceType) {}
  bool operator==(const Device&) const { return true; }
};

struct TensorData {
  std::shared_ptr<void> memory;
  std::vector<int64_t> sizes, strides;
  ScalarType dtype;
};

class Tensor {
 public:
  explicit Tensor(TensorData* data) : data_(data) {}

  TensorData* get() const { return data_.get(); }
  bool defined() const { return data_ != nullptr; }
  int64_t dim() const { return static_cast<int64_t>(data_->sizes.size()); }
  int64_t size(int64_t i) const { return data_->sizes.at(i); }
  IntHeaderOnlyArrayRef sizes() const { return data_->sizes; }
  IntHeaderOnlyArrayRef strides() const { return data_->strides; }
  ScalarType scalar_type() const { return data_->dtype; }
  size_t element_size() const { return headeronly::size_of(data_->dtype); }
  Device device() const { return Device(DeviceType::CPU); }
  bool is_cpu() const { return true; }
  bool is_cuda() const { return false; }
  int32_t get_device_index() const { return -1; }
  int64_t numel() const {
    int64_t product = 1;
    for (const int64_t n : data_->sizes) product *= n;
    return product;
  }
  bool is_contiguous() const {
    int64_t step = 1;
    for (int64_t i = dim(); i-- > 0; step *= data_->sizes[i])
      if (data_->sizes[i] != 1 && data_->strides[i] != step) return numel() == 0;
    return true;
  }

  const void* const_data_ptr() const { return data_->memory.get(); }
  void* mutable_data_ptr() const { return data_->memory.get(); }
  template <class T>
  const T* const_data_ptr() const {
    return static_cast<const T*>(const_data_ptr());
  }
  template <class T>
  T* mutable_data_ptr() const {
    return static_cast<T*>(mutable_data_ptr());
  }

 private:
  std::shared_ptr<TensorData> data_;
};

inline Tensor of_memory(std::shared_ptr<void> memory, IntHeaderOnlyArrayRef sizes, IntHeaderOnlyArrayRef strides,
                        ScalarType dtype) {
  return Tensor(
      new TensorData{std::move(memory), {sizes.begin(), sizes.end()}, {strides.begin(), strides.end()}, dtype});
}

inline Tensor empty(IntHeaderOnlyArrayRef sizes, IntHeaderOnlyArrayRef strides, ScalarType dtype) {
  int64_t bytes = headeronly::size_of(dtype);
  for (const int64_t n : sizes) bytes *= n;
  return of_memory({::operator new(bytes), [](void* p) { ::operator delete(p); }}, sizes, strides, dtype);
}

template <class Deleter = void (*)(void*)>
Tensor from_blob(
    void* data, IntHeaderOnlyArrayRef sizes, IntHeaderOnlyArrayRef strides, Device, ScalarType dtype,
    Deleter deleter = [](void*) {}) {
  return of_memory({data, deleter}, sizes, strides, dtype);
}

inline Tensor clone(const Tensor& t) {
  Tensor copy = empty(t.sizes(), t.strides(), t.scalar_type());
  std::memcpy(copy.mutable_data_ptr(), t.const_data_ptr(), t.numel() * t.element_size());
  return copy;
}

inline Tensor transpose(const Tensor& t, int64_t i, int64_t j) {
  const TensorData& of = *t.get();
  std::vector<int64_t> sizes = of.sizes, strides = of.strides;
  std::swap(sizes.at(i), sizes.at(j));
  std::swap(strides.at(i), strides.at(j));
  return of_memory(of.memory, sizes, strides, of.dtype);
}

// A copy without gaps, its last index the fastest.
inline Tensor contiguous(const Tensor& t) {
  const int64_t width = static_cast<int64_t>(t.element_size());
  std::vector<int64_t> dense(t.dim(), 1);
  for (int64_t i = t.dim() - 1; i > 0; --i) dense[i - 1] = dense[i] * t.size(i);
  const Tensor copy = empty(t.sizes(), dense, t.scalar_type());
  for (int64_t k = 0; k < t.numel(); ++k) {
    int64_t from = 0;
    for (int64_t i = 0; i < t.dim(); ++i) from += k / dense[i] % t.size(i) * t.strides()[i];
    std::memcpy(static_cast<char*>(copy.mutable_data_ptr()) + k * width,
                static_cast<const char*>(t.const_data_ptr()) + from * width, width);
  }
  return copy;
}

// As at::parallel_for shares a range, with a thread of its own for every part but the first. Nested calls run on the
// calling thread, and the first exception reaches the caller.
inline std::atomic<uint32_t>& thread_count() {
  static std::atomic<uint32_t> count{1};
  return count;
}
inline uint32_t get_num_threads() { return thread_count(); }

template <class F>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const F& f) {
  thread_local bool nested = false;
  if (begin >= end) return;
  const int64_t range = end - begin, most = (range + grain - 1) / std::max<int64_t>(grain, 1);
  const int64_t threads = std::min<int64_t>(get_num_threads(), most);
  if (threads <= 1 || nested) return f(begin, end);
  const int64_t part = (range + threads - 1) / threads;
  std::vector<std::exception_ptr> errors(threads);
  const auto run = [&](int64_t i) {
    nested = true;
    try {
      const int64_t first = begin + i * part;
      if (first < end) f(first, std::min(end, first + part));
    } catch (...) {
      errors[i] = std::current_exception();
    }
    nested = false;
  };
  std::vector<std::thread> others;
  for (int64_t i = 1; i < threads; ++i) others.emplace_back(run, i);
  run(0);
  for (std::thread& thread : others) thread.join();
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

namespace detail {

using Value = uint64_t;

template <class T>
Value from(const T& value) {
  if constexpr (std::is_same_v<T, Tensor>) return reinterpret_cast<Value>(new Tensor(value));
  else return static_cast<Value>(value);
}
template <class T>
T to(Value value) {
  if constexpr (std::is_same_v<T, Tensor>) {
    const std::unique_ptr<Tensor> owned(reinterpret_cast<Tensor*>(value));
    return *owned;
  } else {
    return static_cast<T>(value);
  }
}

}  // namespace detail

// Operators by name, as the files of kernels register them.
inline std::map<std::string, std::any>& operators() {
  static std::map<std::string, std::any> all;
  return all;
}
struct Library {
  template <class F>
  void impl(const char* name, F* f) {
    operators()[name] = f;
  }
};

}  // namespace torch::stable

#define CHEBLIENET_JOIN_NAMES(a, b) a##b
#define CHEBLIENET_JOIN(a, b) CHEBLIENET_JOIN_NAMES(a, b)
#define TORCH_BOX(f) (f)
#define STABLE_TORCH_LIBRARY_IMPL(name, key, m)                              \
  static void CHEBLIENET_JOIN(register_, __LINE__)(torch::stable::Library&); \
  static const bool CHEBLIENET_JOIN(registered_, __LINE__) = [] {            \
    torch::stable::Library library;                                          \
    CHEBLIENET_JOIN(register_, __LINE__)(library);                           \
    return true;                                                             \
  }();                                                                       \
  static void CHEBLIENET_JOIN(register_, __LINE__)(torch::stable::Library & m)

using AtenTensorHandle = torch::stable::TensorData*;
using StableIValue = torch::stable::detail::Value;

inline int aoti_torch_get_device_type(AtenTensorHandle, int32_t* type) { return *type = 0, TORCH_SUCCESS; }
inline int aoti_torch_get_device_index(AtenTensorHandle, int32_t* index) { return *index = 0, TORCH_SUCCESS; }
inline int aoti_torch_empty_strided(int64_t dim, const int64_t* sizes, const int64_t* strides, int32_t dtype, int32_t,
                                    int32_t, AtenTensorHandle* out) {
  using namespace torch::stable;
  const size_t count = static_cast<size_t>(dim);
  const Tensor made = empty({sizes, count}, {strides, count}, static_cast<ScalarType>(dtype));
  *out = new TensorData(*made.get());
  return TORCH_SUCCESS;
}

// The product of two matrices, the one operator of the framework that CPU kernels call.
inline int torch_call_dispatcher(const char* name, const char*, StableIValue* stack, int) {
  using namespace torch::stable;
  STD_TORCH_CHECK(std::string(name) == "aten::mm", "no operator ", name);
  const Tensor a = detail::to<Tensor>(stack[0]), b = detail::to<Tensor>(stack[1]);
  const int64_t sizes[] = {a.size(0), b.size(1)}, strides[] = {b.size(1), 1};
  const Tensor c = empty({sizes, 2}, {strides, 2}, a.scalar_type());
  const auto multiply = [&](auto zero) {
    using T = decltype(zero);
    const int64_t row = a.get()->strides[0], inner = b.get()->strides[0];
    for (int64_t i = 0; i < sizes[0]; ++i)
      for (int64_t j = 0; j < sizes[1]; ++j) {
        T sum = 0;
        for (int64_t k = 0; k < a.size(1); ++k)
          sum += a.const_data_ptr<T>()[i * row + k] * b.const_data_ptr<T>()[k * inner + j];
        c.mutable_data_ptr<T>()[i * sizes[1] + j] = sum;
      }
  };
  if (a.scalar_type() == ScalarType::Double) multiply(double(0));
  else multiply(float(0));
  stack[0] = detail::from(c);
  return TORCH_SUCCESS;
}
