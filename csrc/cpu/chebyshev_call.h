// What the forward and the backward of a Chebyshev convolution share: how samples are shared among threads, scratch
// memory, the way of rows between tensors and workspaces, and matrix products.
#pragma once
#include <algorithm>
#include <atomic>

#include "arena.h"
#include "chebyshev_orders.h"
#include "result_memory.h"

namespace cheblienet {

// Samples [first, last) of a batch. A chunk owns accumulators, so sums do not depend on who computes it when; a worker
// owns workspaces. The rows of a shared chunk are shared among all threads.
struct Chunk {
  int64_t index, worker, first, last;
  bool shared;
};

// Workers take the next chunk when they are done with one: a thread that the machine holds up does not hold up the
// others. A remainder smaller than the number of threads is one shared chunk.
struct Chunks {
  static constexpr int64_t kPerWorker = 4;

  int64_t batch, threads = torch::stable::get_num_threads(), even = batch - batch % threads;

  int64_t count() const { return even_count() + (shares() ? 1 : 0); }
  int64_t workers() const { return even > 0 ? threads : 0; }
  bool shares() const { return even < batch; }

  template <class F>
  void for_each(const F& f) const {
    const int64_t chunks = even_count();
    std::atomic<int64_t> next{0};
    if (even > 0)
      torch::stable::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
        for (int64_t worker = begin; worker < end; ++worker)
          for (int64_t i = next++; i < chunks; i = next++)
            f(Chunk{i, worker, i * even / chunks, (i + 1) * even / chunks, false});
      });
    if (shares()) f(Chunk{chunks, 0, even, batch, true});
  }

 private:
  int64_t even_count() const { return threads * std::min(even / threads, kPerWorker); }
};

// Memory for every worker or every chunk, in an arena of the calling thread, and at least `all` elements together, for
// a shared chunk that has it to itself.
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

  Csr<T> laplacian;
  int64_t batch, vertices, orders, cin, cout;
  bool in_place;    // rows of tensors are those of matrices: in the order of the Laplacian, and stored as T
  Tensor like;      // on whose device and with whose allocator scratch memory is made
  const S* weight;  // (R, Cin, Cout)

  ChebyshevCall(const Tensor& x, const Tensor& w, const Tensor& rows, const Tensor& col, const Tensor& values)
      : laplacian{static_cast<const RowSpan*>(rows.const_data_ptr()), col.const_data_ptr<int32_t>(),
                  values.const_data_ptr<T>()},
        batch(x.size(0)),
        vertices(x.size(1)),
        orders(w.size(0)),
        cin(w.size(1)),
        cout(w.size(2)),
        in_place(std::is_same_v<S, T> && laplacian.in_order(vertices)),
        like(x),
        weight(w.const_data_ptr<S>()) {}

  // Samples that share the reading of an entry of the Laplacian: enough to fill two cache lines of a row.
  static int64_t samples_at_once(int64_t channels) {
    const int64_t bytes = channels * static_cast<int64_t>(sizeof(T));
    return bytes <= 32 ? 4 : bytes <= 64 ? 2 : 1;
  }

  // Elements of the row of one sample in a workspace: a cache line more than its contents, since strides that are
  // powers of two would share few cache sets.
  int64_t segment(int64_t channels) const {
    constexpr int64_t line = 64 / sizeof(T);
    return (orders * channels + line - 1) / line * line + line;
  }
  // Rows of `width` channels of the samples that are worked on at once, in blocks; `rows` of them for a worker.
  struct Workspace {
    int64_t width, samples, segment, block, rows;

    Rows<T> in(T* memory) const { return {memory, samples * segment, segment}; }
    int64_t row_size() const { return samples * segment; }
  };

  // Few rows stay in the caches from one sweep over all vertices to the next; many do while they pass through all
  // orders in a wave, in blocks long enough for the matrix products to run at full speed. Twice the rows that are under
  // way make moving them a rare event. `whole`: all rows are needed afterwards.
  Workspace workspace(int64_t width, bool whole = false) const {
    const bool narrow = width * static_cast<int64_t>(sizeof(T)) <= 128;
    const int64_t block = vertices <= 8192 ? vertices : narrow ? 1024 : 512;
    Workspace result{width, samples_at_once(width), segment(width), block, vertices};
    if (block < vertices && !whole) result.rows = std::min(vertices, 2 * polynomial(result, 1, false).window());
    return result;
  }

  // Rows that threads share are worked on in sweeps.
  ChebyshevOrders<T> polynomial(const Workspace& w, int64_t samples, bool shared) const {
    return {laplacian, vertices, orders, samples, w.width, shared ? vertices : w.block, shared ? vertices : w.rows};
  }

  // Memory for rows of `elements` elements, as many as in the workspace of a chunk.
  Scratch<T> rows_for(Arena& arena, const Chunks& chunks, const Workspace& w, int64_t elements) const {
    return {arena, chunks.workers(), w.rows * elements, chunks.shares() ? vertices * elements : 0};
  }

  // The weights as (R Cin, Cout), for orders of x, or as (Cin, R Cout), for orders of y.
  Tensor arranged_weight(bool side_by_side) const {
    Tensor out = new_empty(like, {orders * cin * cout}, scalar_type<T>());
    T* to = out.mutable_data_ptr<T>();
    for (int64_t k = 0; k < orders; ++k)
      for (int64_t i = 0; i < cin; ++i)
        std::copy_n(weight + (k * cin + i) * cout, cout, to + (side_by_side ? i * orders + k : k * cin + i) * cout);
    return out;
  }
  MatrixView<const T> stacked(const Tensor& t) const { return {t.const_data_ptr<T>(), orders * cin, cout, cout}; }
  MatrixView<const T> side_by_side(const Tensor& t) const {
    return {t.const_data_ptr<T>(), cin, orders * cout, orders * cout};
  }

  // The rows [begin, end) of one sample as a matrix.
  static MatrixView<T> matrix(Rows<T> rows, int64_t sample, int64_t begin, int64_t end, int64_t columns) {
    return {rows(begin, sample), end - begin, columns, rows.stride};
  }

  // Rows [begin, end) of the Laplacian's order of a sample (V, C), as a matrix: where they are, or else for their
  // copies.
  MatrixView<T> block_of(const S* sample, int64_t channels, int64_t begin, int64_t end, T* copies) const {
    if constexpr (std::is_same_v<S, T>)
      if (in_place) copies = const_cast<T*>(sample) + begin * channels;
    return {copies, end - begin, channels, channels};
  }

  // From a sample to a matrix of its rows and back, with a bias on the way; nothing is copied onto itself.
  void gather(const S* sample, int64_t begin, int64_t end, const MatrixView<T>& to) const {
    const int64_t channels = to.columns;
    if constexpr (std::is_same_v<S, T>) {
      if (to.data == sample + begin * channels) return;
      row_kernels<T>().gather({laplacian.rows, channels, to.row_stride, const_cast<T*>(sample), to.data, nullptr},
                              begin, end);
    } else {
      for (int64_t row = begin; row < end; ++row)
        std::copy_n(sample + laplacian.rows[row].vertex * channels, channels, to.data + (row - begin) * to.row_stride);
    }
  }
  void scatter(const MatrixView<T>& from, int64_t begin, int64_t end, const T* bias, S* sample) const {
    const int64_t channels = from.columns;
    if constexpr (std::is_same_v<S, T>) {
      if (from.data == sample + begin * channels && bias == nullptr) return;
      row_kernels<T>().scatter({laplacian.rows, channels, from.row_stride, sample, from.data, bias}, begin, end);
    } else {
      for (int64_t row = begin; row < end; ++row) {
        const T* source = from.data + (row - begin) * from.row_stride;
        S* target = sample + laplacian.rows[row].vertex * channels;
        for (int64_t c = 0; c < channels; ++c) target[c] = static_cast<S>(bias ? source[c] + bias[c] : source[c]);
      }
    }
  }

  // Calls f(begin, end) on parts of [begin, end) that the matrix products of `columns` columns keep in cache, where the
  // library is fastest.
  template <class F>
  void for_parts(int64_t begin, int64_t end, int64_t columns, const F& f) const {
    const int64_t part = std::max<int64_t>(64, (int64_t(512) << 10) / (columns * static_cast<int64_t>(sizeof(T))));
    torch::stable::parallel_for(0, (end - begin + part - 1) / part, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) f(begin + i * part, std::min(begin + (i + 1) * part, end));
    });
  }
};

}  // namespace cheblienet
