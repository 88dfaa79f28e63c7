// Sums of overlapping windows in a ring of planes, and what is made of finished planes.
//
// The ring holds R planes of K x Y x X floats; plane z of the image lies at z mod R. For
// pictures a plane is one row of the image: Y is 1. Shares are a product of one number
// per axis, and those of all windows at one voxel add up to 1, so sums are averages.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

// The compiler makes one version of a loop per instruction set; the loader chooses.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define EACH_LEVEL __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define EACH_LEVEL
#endif

namespace {

constexpr int64_t kBlock = 1024;  // floats of a class that are looked at together

EACH_LEVEL void add_row(float* __restrict sum, const float* __restrict logits,
                        const float* __restrict share, float factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sum[i] += logits[i] * (factor * share[i]);
}

// Finds the class with the largest sum (the first of equals), and whether all are finite.
EACH_LEVEL bool best_of(const float* __restrict plane, int64_t stride, int64_t classes,
                        int64_t n, int32_t* __restrict best) {
  float most[kBlock];
  int32_t bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float x = plane[i];
    most[i] = x;
    best[i] = 0;
    bad |= !(x - x == 0.0f);
  }
  for (int64_t c = 1; c < classes; ++c) {
    const float* row = plane + c * stride;
    const int32_t number = static_cast<int32_t>(c);
    for (int64_t i = 0; i < n; ++i) {
      const float x = row[i];
      bad |= !(x - x == 0.0f);
      const bool more = x > most[i];
      most[i] = more ? x : most[i];
      best[i] = more ? number : best[i];
    }
  }
  return bad == 0;
}

EACH_LEVEL bool move_row(float* __restrict from, float* __restrict to, int64_t n) {
  int32_t bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float x = from[i];
    bad |= !(x - x == 0.0f);
    to[i] = x;
    from[i] = 0.0f;
  }
  return bad == 0;
}

template <typename Label>
int decide(int threads, float* ring, const int64_t* shape, int64_t first, int64_t end,
           const Label* values, Label* out, int64_t plane_stride, int64_t row_stride) {
  const int64_t planes = shape[0], classes = shape[1], rows = shape[2], n = shape[3];
  const int64_t step = rows * n;
  int bad = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(| : bad)
  for (int64_t zy = 0; zy < (end - first) * rows; ++zy) {
    const int64_t z = first + zy / rows, y = zy % rows;
    float* sums = ring + (z % planes) * classes * step + y * n;
    Label* row = out + (z - first) * plane_stride + y * row_stride;
    for (int64_t x = 0; x < n; x += kBlock) {
      const int64_t count = std::min(kBlock, n - x);
      int32_t best[kBlock];
      if (!best_of(sums + x, step, classes, count, best)) bad |= 1;
      for (int64_t i = 0; i < count; ++i) row[x + i] = values[best[i]];
    }
    for (int64_t c = 0; c < classes; ++c)
      std::fill(sums + c * step, sums + c * step + n, 0.0f);
  }
  return bad;
}

}  // namespace

// Adds one window. shape: planes, classes, rows, columns of the ring. strides: of the
// logits' classes, planes and rows, in floats; columns are contiguous. place: first and
// number of planes, rows and columns of the image that the window covers.
EXPORT void medurwkv_window_add(int threads, float* ring, const int64_t* shape,
                                const float* logits, const int64_t* strides,
                                const float* z_share, const float* y_share,
                                const float* x_share, const int64_t* place) {
  const int64_t planes = shape[0], classes = shape[1], rows = shape[2], n = shape[3];
  const int64_t z0 = place[0], nz = place[1], y0 = place[2], ny = place[3];
  const int64_t x0 = place[4], nx = place[5];
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t zc = 0; zc < nz * classes; ++zc) {
    const int64_t z = zc / classes, c = zc % classes;
    float* plane = ring + (((z0 + z) % planes) * classes + c) * rows * n;
    const float* from = logits + c * strides[0] + z * strides[1];
    for (int64_t y = 0; y < ny; ++y)
      add_row(plane + (y0 + y) * n + x0, from + y * strides[2], x_share,
              z_share[z] * y_share[y], nx);
  }
}

// Writes the value of the largest sum and empties the planes; 1 if any sum is not finite.
EXPORT int medurwkv_window_labels_u8(int threads, float* ring, const int64_t* shape,
                                     int64_t first, int64_t end, const uint8_t* values,
                                     uint8_t* out, int64_t plane_stride,
                                     int64_t row_stride) {
  return decide(threads, ring, shape, first, end, values, out, plane_stride, row_stride);
}

EXPORT int medurwkv_window_labels_u16(int threads, float* ring, const int64_t* shape,
                                      int64_t first, int64_t end, const uint16_t* values,
                                      uint16_t* out, int64_t plane_stride,
                                      int64_t row_stride) {
  return decide(threads, ring, shape, first, end, values, out, plane_stride, row_stride);
}

// Moves planes out as (classes, planes, rows, columns); 1 if any sum is not finite.
EXPORT int medurwkv_window_take(int threads, float* ring, const int64_t* shape,
                                int64_t first, int64_t end, float* out) {
  const int64_t planes = shape[0], classes = shape[1], rows = shape[2], n = shape[3];
  const int64_t step = rows * n, count = end - first;
  int bad = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(| : bad)
  for (int64_t zc = 0; zc < count * classes; ++zc) {
    const int64_t z = zc / classes, c = zc % classes;
    float* from = ring + (((first + z) % planes) * classes + c) * step;
    float* to = out + (c * count + z) * step;
    for (int64_t x = 0; x < step; x += kBlock)
      if (!move_row(from + x, to + x, std::min(kBlock, step - x))) bad |= 1;
  }
  return bad;
}
