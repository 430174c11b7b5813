// What the forward and the backward of a Chebyshev convolution share: how samples and rows are shared among threads,
// scratch memory, and the way of rows between tensors and workspaces.
#pragma once
#include <algorithm>
#include <atomic>

#include "../chebyshev_operands.h"
#include "arena.h"
#include "chebyshev_orders.h"
#include "matrix.h"
#include "result_memory.h"

namespace cheblienet {

// Calls f(begin, end) on parts of [0, count), on all threads, or small work on the calling one: to wake another takes
// as long as the work, and on a busy machine the wait for it takes a thousand times as long.
template <class F>
void for_tasks(int64_t count, bool small, const F& f) {
  if (small) f(0, count);
  else torch::stable::parallel_for(0, count, 1, f);
}

// Samples [first, last) of a batch, for one worker, or with their rows in slices for all threads. Workers, or slices,
// own buffers; chunks, and slices of a chunk, own sums, which thus do not depend on who computes them when. `part`: the
// rows of a matrix product.
struct Chunk {
  int64_t index, worker, first, last, slices, part;
  bool small;

  bool shared() const { return slices > 0; }

  // Calls f(owner of buffers, owner of sums, begin, end) on parts of the rows [begin, end).
  template <class F>
  void for_parts(int64_t begin, int64_t end, const F& f) const {
    const auto slice = [&](int64_t i, int64_t from, int64_t to) {
      for (; from < to; from += part) f(worker + i, index + i, from, std::min(from + part, to));
    };
    if (!shared()) return slice(0, begin, end);
    for_tasks(slices, small, [&](int64_t first_slice, int64_t last_slice) {
      const int64_t rows = end - begin;
      for (int64_t i = first_slice; i < last_slice; ++i)
        slice(i, begin + rows * i / slices, begin + rows * (i + 1) / slices);
    });
  }
};

// Workers take the next chunk when they are done with one: a thread that the machine holds up does not hold up the
// others. Chunks are as short as the samples that are worked on at once allow, for the last ones to end together. A
// remainder smaller than the number of threads is one shared chunk.
struct Chunks {
  static constexpr int64_t kPerWorker = 8;

  int64_t batch, at_once, part;
  bool small;
  int64_t threads = torch::stable::get_num_threads(), even = batch - batch % threads;

  bool shares() const { return even < batch; }
  int64_t workers() const { return even > 0 ? threads : 0; }
  int64_t sums() const { return even_count() + (shares() ? threads : 0); }

  template <class F>
  void for_each(const F& f) const {
    const int64_t chunks = even_count();
    std::atomic<int64_t> next{0};
    if (even > 0)
      for_tasks(threads, small, [&](int64_t begin, int64_t end) {
        for (int64_t worker = begin; worker < end; ++worker)
          for (int64_t i = next++; i < chunks; i = next++)
            f(Chunk{i, worker, i * even / chunks, (i + 1) * even / chunks, 0, part, small});
      });
    if (shares()) f(Chunk{chunks, 0, even, batch, threads, part, small});
  }

 private:
  int64_t even_count() const { return threads * std::min((even / threads + at_once - 1) / at_once, kPerWorker); }
};

// Memory for every owner, in an arena of the calling thread, and at least `all` elements together, for a shared chunk
// that has it to itself.
template <class T>
struct Scratch {
  Arena& arena;
  int64_t size, offset;

  Scratch(Arena& a, int64_t owners, int64_t elements, int64_t all = 0)
      : arena(a),
        size((elements * sizeof(T) + 63) / 64 * 64 / sizeof(T)),
        offset(arena.reserve<T>(std::max(owners * size, all))) {}
  T* of(int64_t owner) { return arena.get<T>(offset) + owner * size; }
};

// S is the type that tensors store, T that of the arithmetic.
template <class S>
struct ChebyshevCall {
  using T = accumulate_t<S>;

  Pattern pattern;
  Csr<T> laplacian;
  int64_t batch, vertices, orders, cin, cout;
  bool in_place;    // rows of tensors are those of matrices: in the order of the Laplacian, and stored as T
  bool tiles;       // matrix products take their factors rounded to bfloat16
  const S* weight;  // (R, Cin, Cout)

  ChebyshevCall(const char* op, const ChebyshevOperands& given)
      : pattern(op, given.pattern[0], given.pattern[1]),
        laplacian{static_cast<const RowSpan*>(given.pattern[0].const_data_ptr()),
                  given.pattern[1].const_data_ptr<int32_t>(), given.values.const_data_ptr<T>()},
        batch(given.x.size(0)),
        vertices(given.x.size(1)),
        orders(given.weight.size(0)),
        cin(given.weight.size(1)),
        cout(given.weight.size(2)),
        in_place(std::is_same_v<S, T> && pattern.in_order()),
        tiles(std::is_same_v<S, BFloat16> && std::min(cin, cout) >= kTileColumns && has_tiles()),
        weight(given.weight.const_data_ptr<S>()) {}

  // Whether a second thread gains nothing: below 18 us a call on a core with 512-bit vectors.
  bool small() const { return batch * vertices * orders * cin * cout < (int64_t(1) << 17); }

  // Rows of a matrix product: few enough for what one product leaves in cache for the next, and enough for full speed.
  int64_t part() const { return std::clamp<int64_t>((int64_t(1) << 14) / std::max(cin, cout), 128, 512); }

  // Samples that share the reading of an entry of the Laplacian: enough to fill two cache lines of a row.
  static int64_t samples_at_once(int64_t channels) {
    const int64_t bytes = channels * static_cast<int64_t>(sizeof(T));
    return bytes <= 32 ? 4 : bytes <= 64 ? 2 : 1;
  }

  // Rows of `width` channels of the samples that are worked on at once, in blocks; `rows` of them for a worker.
  struct Workspace {
    int64_t width, samples, block, rows;
  };

  // Few rows stay in the caches from one sweep over all vertices to the next; many do while they pass through all
  // orders in a wave, in blocks long enough for the matrix products to run at full speed. Twice the rows that are under
  // way make moving them a rare event. `whole`: all rows are needed afterwards.
  Workspace workspace(int64_t width, bool whole = false) const {
    const bool narrow = width * static_cast<int64_t>(sizeof(T)) <= 128;
    const int64_t block = vertices <= Pattern::kInCache ? vertices : narrow ? 1024 : 512;
    Workspace result{width, samples_at_once(width), block, vertices};
    if (block < vertices && !whole) result.rows = std::min(vertices, 2 * polynomial(result, 1, false).window());
    return result;
  }

  // Rows that threads share are worked on in sweeps.
  ChebyshevOrders<T> polynomial(const Workspace& w, int64_t samples, bool shared) const {
    return {laplacian,
            &pattern,
            vertices,
            orders,
            samples,
            w.width,
            shared ? vertices : w.block,
            shared ? vertices : w.rows};
  }

  Scratch<T> workspaces(Arena& arena, const Chunks& chunks, const Workspace& w, bool order_0_has_tensor = true) const {
    const auto size = [&](bool shared) {
      const ChebyshevOrders<T> p = polynomial(w, w.samples, shared);
      return (orders - (order_0_has_tensor && first_in_place(p))) * p.samples * p.capacity * p.channels;
    };
    return {arena, chunks.workers(), size(false), chunks.shares() ? size(true) : 0};
  }
  // Rows of `channels` for every thread.
  Scratch<T> buffers(Arena& arena, const Chunks& chunks, int64_t channels) const {
    return {arena, chunks.threads, chunks.part * channels};
  }

  // Order 0 is the signal, or the result of Clenshaw's form. It needs no room where its tensor is as long as the
  // matrices of a workspace, with all rows in their order.
  bool first_in_place(const ChebyshevOrders<T>& p) const { return in_place && p.capacity == vertices; }
  OrderRows<T> rows_in(T* memory, const ChebyshevOrders<T>& p, const S* samples) const {
    if constexpr (std::is_same_v<S, T>)
      if (first_in_place(p)) return p.rows_in(memory, const_cast<T*>(samples));
    return p.rows_in(memory);
  }

  // Memory to round up to `rows` of `columns` in, for a factor of either side.
  Scratch<BFloat16> rounding(Arena& arena, int64_t owners, int64_t rows, int64_t columns) const {
    return {arena, owners, tiles ? even(rows) * even(columns) : 0};
  }
  Factor<T> left(const MatrixView<const T>& a, BFloat16* memory) const { return rounded(a, memory, round_left); }
  Factor<T> right(const MatrixView<const T>& b, BFloat16* memory) const { return rounded(b, memory, round_right); }
  // A matrix of weights for each order, as right factors.
  std::vector<Factor<T>> weights(const T* matrices, int64_t rows, int64_t columns, Scratch<BFloat16>& memory) const {
    std::vector<Factor<T>> factors;
    for (int64_t k = 0; k < orders; ++k, matrices += rows * columns)
      factors.push_back(right({matrices, rows, columns, columns}, memory.of(k)));
    return factors;
  }

  // Numbers in the type of the arithmetic: where they are, or else their copies in `memory`.
  static const T* arithmetic(const S* from, int64_t count, T* memory) {
    if constexpr (std::is_same_v<S, T>) {
      return from;
    } else {
      std::copy_n(from, count, memory);
      return memory;
    }
  }

  // The transposed weights, (R, Cout, Cin).
  void transpose_weights(T* to) const {
    const S* from = weight;
    for (int64_t k = 0; k < orders; ++k, to += cin * cout)
      for (int64_t i = 0; i < cin; ++i)
        for (int64_t o = 0; o < cout; ++o) to[o * cin + i] = static_cast<T>(*from++);
  }

  // The rows [begin, end) of one sample as a matrix.
  static MatrixView<T> matrix(const Rows<T>& rows, int64_t sample, int64_t begin, int64_t end) {
    return {rows(begin, sample), end - begin, rows.stride, rows.stride};
  }

  // Rows [begin, end) of the Laplacian's order of a sample (V, C), as a matrix: where they are, or else for their
  // copies.
  MatrixView<T> block_of(const S* sample, int64_t channels, int64_t begin, int64_t end, T* copies) const {
    if constexpr (std::is_same_v<S, T>)
      if (in_place) copies = const_cast<T*>(sample) + begin * channels;
    return {copies, end - begin, channels, channels};
  }

  // From a sample to a matrix of its rows and back; nothing is copied onto itself.
  void gather(const S* sample, int64_t begin, int64_t end, const MatrixView<T>& to) const {
    const int64_t channels = to.columns;
    if constexpr (std::is_same_v<S, T>) {
      if (to.data == sample + begin * channels) return;
      row_kernels<T>().gather({laplacian.rows, channels, to.stride, const_cast<T*>(sample), to.data}, begin, end);
    } else {
      for (int64_t row = begin; row < end; ++row)
        std::copy_n(sample + laplacian.rows[row].vertex * channels, channels, to.data + (row - begin) * to.stride);
    }
  }
  void scatter(const MatrixView<T>& from, int64_t begin, int64_t end, S* sample) const {
    const int64_t channels = from.columns;
    if constexpr (std::is_same_v<S, T>) {
      if (from.data == sample + begin * channels) return;
      row_kernels<T>().scatter({laplacian.rows, channels, from.stride, sample, from.data}, begin, end);
    } else {
      for (int64_t row = begin; row < end; ++row)
        std::copy_n(from.data + (row - begin) * from.stride, channels, sample + laplacian.rows[row].vertex * channels);
    }
  }

 private:
  template <class Round>
  Factor<T> rounded(const MatrixView<const T>& m, BFloat16* memory, const Round& round) const {
    if constexpr (std::is_same_v<S, BFloat16>)
      if (tiles) {
        round(m.data, m.stride, m.rows, m.columns, memory);
        return {m, memory};
      }
    return {m};
  }
};

}  // namespace cheblienet
