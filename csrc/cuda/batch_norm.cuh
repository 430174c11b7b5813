// Batch normalisation kernels, without the framework: nvcc compiles them for the package, a simulator may run their
// PTX. With s = x + residual over all rows (samples x vertices) of C channels,
//   y = relu((s - mean) scale + bias), scale = weight / std.
// The first pass that reads x and the residual stores s, from which the backward finds the mask of the ReLU again.
#pragma once
#include "norm_rows.cuh"

namespace cheblienet {

// What a thread knows of its channels.
template <class V, int N>
struct NormCoefficients {
  V mean[N], inverse[N], scale[N], bias[N];

  __device__ __forceinline__ NormCoefficients(const V* weight, const V* biases, const V* means, const V* vars, V eps,
                                              int c) {
    load_channels<V, N>(means, c, mean);
    load_channels<V, N>(vars, c, inverse);
    load_channels<V, N>(weight, c, scale);
    load_channels<V, N>(biases, c, bias);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      inverse[n] = 1 / sqrt(inverse[n] + eps);
      scale[n] *= inverse[n];
    }
  }

  __device__ __forceinline__ V result(int n, V s) const { return (s - mean[n]) * scale[n] + bias[n]; }
};

// Sums of s - center and of its square, by parts. The first row is the center, which is as near to the mean as any:
// sums of squares keep their digits. Reads the signal once, and writes s where there is a residual.
template <class T, int N>
__global__ void __launch_bounds__(kNormBlock, kNormResident)
    norm_moments(const T* __restrict__ x, const T* __restrict__ residual, T* __restrict__ sum,
                 double* __restrict__ partial, NormShape shape) {
  using V = device_accumulate_t<T>;
  const NormPlace<N> place(shape);
  V center[N], first[N] = {}, second[N] = {};
  if (!place.idle) {
    const auto row = load_sum<T, N>(x, residual, place.c);
#pragma unroll
    for (int n = 0; n < N; ++n) center[n] = widen(row.v[n]);
  }
  place.for_rows(shape, [&](int64_t at) {
    V s[N];
    store_sum<T, N>(x, residual, sum, at, s);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const V d = s[n] - center[n];
      first[n] += d;
      second[n] += d * d;
    }
  });
  write_partial<V, N>(first, second, place, shape, partial);
}

// Mean and biased variance from the sums of norm_moments.
template <class T>
__global__ void __launch_bounds__(kStatisticsBlock)
    norm_statistics(const T* __restrict__ s, const double* __restrict__ partial,
                    device_accumulate_t<T>* __restrict__ mean, device_accumulate_t<T>* __restrict__ var,
                    NormShape shape) {
  using V = device_accumulate_t<T>;
  double first, second;
  if (!sum_partial(partial, shape.parts, shape.channels, first, second)) return;
  const int c = blockIdx.x * kWarp + threadIdx.x;
  const V center = widen(s[c]);
  first /= shape.rows;
  mean[c] = static_cast<V>(center + first);
  var[c] = static_cast<V>(fmax(0.0, second / shape.rows - first * first));
}

// y. Reads and writes the signal once, and writes s where there is a residual.
template <class T, int N>
__global__ void __launch_bounds__(kNormBlock, kNormResident)
    norm_apply(const T* __restrict__ x, const T* __restrict__ residual, T* __restrict__ sum,
               const device_accumulate_t<T>* __restrict__ weight, const device_accumulate_t<T>* __restrict__ bias,
               const device_accumulate_t<T>* __restrict__ mean, const device_accumulate_t<T>* __restrict__ var,
               double eps, bool relu, T* __restrict__ y, NormShape shape) {
  using V = device_accumulate_t<T>;
  const NormPlace<N> place(shape);
  if (place.idle) return;
  const NormCoefficients<V, N> of(weight, bias, mean, var, static_cast<V>(eps), place.c);
  place.for_rows(shape, [&](int64_t at) {
    V s[N];
    store_sum<T, N>(x, residual, sum, at, s);
    Pack<T, N> result;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const V value = of.result(n, s[n]);
      result.v[n] = narrow<T>(relu && value < 0 ? V(0) : value);
    }
    *reinterpret_cast<Pack<T, N>*>(y + at) = result;
  });
}

// Calls f(offset, s, g) for the packs of this thread, g the gradient where the ReLU let y through.
template <class T, int N, class F>
__device__ __forceinline__ void for_gradients(const NormPlace<N>& place, const NormShape& shape, const T* grad,
                                              const T* signal, const NormCoefficients<device_accumulate_t<T>, N>& of,
                                              bool relu, const F& f) {
  using V = device_accumulate_t<T>;
  place.for_rows(shape, [&](int64_t at) {
    V s[N], g[N];
    load_signal<T, N>(signal + at, s);
    const auto above = load_norm<T, N>(grad + at);
#pragma unroll
    for (int n = 0; n < N; ++n) g[n] = relu && of.result(n, s[n]) <= 0 ? V(0) : widen(above.v[n]);
    f(at, s, g);
  });
}

// Sums of g and of g (s - mean), by parts. Reads the signal and the gradient once.
template <class T, int N>
__global__ void __launch_bounds__(kNormBlock, kNormResident)
    norm_gradient_sums(const T* __restrict__ grad, const T* __restrict__ signal,
                       const device_accumulate_t<T>* __restrict__ weight,
                       const device_accumulate_t<T>* __restrict__ bias, const device_accumulate_t<T>* __restrict__ mean,
                       const device_accumulate_t<T>* __restrict__ var, double eps, bool relu,
                       double* __restrict__ partial, NormShape shape) {
  using V = device_accumulate_t<T>;
  const NormPlace<N> place(shape);
  V first[N] = {}, second[N] = {};
  if (!place.idle) {
    const NormCoefficients<V, N> of(weight, bias, mean, var, static_cast<V>(eps), place.c);
    for_gradients<T, N>(place, shape, grad, signal, of, relu, [&](int64_t, const V* s, const V* g) {
#pragma unroll
      for (int n = 0; n < N; ++n) {
        first[n] += g[n];
        second[n] += g[n] * (s[n] - of.mean[n]);
      }
    });
  }
  write_partial<V, N>(first, second, place, shape, partial);
}

// The gradients of weight and bias from the sums of norm_gradient_sums.
template <class V>
__global__ void __launch_bounds__(kStatisticsBlock)
    norm_parameter_gradients(const double* __restrict__ partial, const V* __restrict__ var, double eps,
                             V* __restrict__ dweight, V* __restrict__ dbias, NormShape shape) {
  double first, second;
  if (!sum_partial(partial, shape.parts, shape.channels, first, second)) return;
  const int c = blockIdx.x * kWarp + threadIdx.x;
  dbias[c] = static_cast<V>(first);
  dweight[c] = static_cast<V>(second / sqrt(var[c] + eps));
}

// ds = scale (g - dbias / rows - (s - mean) / std dweight / rows); without the last two terms where mean and variance
// are not the batch's. Reads the signal and the gradient once, writes one signal.
template <class T, int N>
__global__ void __launch_bounds__(kNormBlock, kNormResident)
    norm_gradient(const T* __restrict__ grad, const T* __restrict__ signal,
                  const device_accumulate_t<T>* __restrict__ weight, const device_accumulate_t<T>* __restrict__ bias,
                  const device_accumulate_t<T>* __restrict__ mean, const device_accumulate_t<T>* __restrict__ var,
                  double eps, bool relu, const device_accumulate_t<T>* __restrict__ dweight,
                  const device_accumulate_t<T>* __restrict__ dbias, bool batch_statistics, T* __restrict__ ds,
                  NormShape shape) {
  using V = device_accumulate_t<T>;
  const NormPlace<N> place(shape);
  if (place.idle) return;
  const NormCoefficients<V, N> of(weight, bias, mean, var, static_cast<V>(eps), place.c);
  V offset[N] = {}, slope[N] = {};
  if (batch_statistics) {
    load_channels<V, N>(dbias, place.c, offset);
    load_channels<V, N>(dweight, place.c, slope);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      offset[n] /= V(shape.rows);
      slope[n] *= of.inverse[n] / V(shape.rows);
    }
  }
  for_gradients<T, N>(place, shape, grad, signal, of, relu, [&](int64_t at, const V* s, const V* g) {
    Pack<T, N> result;
#pragma unroll
    for (int n = 0; n < N; ++n)
      result.v[n] = narrow<T>(of.scale[n] * (g[n] - offset[n] - slope[n] * (s[n] - of.mean[n])));
    *reinterpret_cast<Pack<T, N>*>(ds + at) = result;
  });
}

}  // namespace cheblienet
