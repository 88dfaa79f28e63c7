// WKV6 of a part of one head's state; see docs/kernels.md.
//
// In each direction the state S, keys by values, goes from token to token as
// S <- diag(d) S + k v^T, and a token reads r S before its own turn. The state of a
// part stays in the cache for the whole sequence, so memory is read and written once.

#include "bi_wkv_lanes.h"
#include "wkv6.h"

namespace medurwkv::MEDURWKV_ISA {
namespace {

constexpr int kParts = kColumns / kLanes;

struct Part {
  Lanes x[kParts];
};

MEDURWKV_INLINE Part load_part(const float* from) {
  Part p;
  for (int i = 0; i < kParts; ++i) p.x[i] = load(from + i * kLanes);
  return p;
}
MEDURWKV_INLINE void store_part(float* to, const Part& p) {
  for (int i = 0; i < kParts; ++i) store(to + i * kLanes, p.x[i]);
}
MEDURWKV_INLINE Part no_part() {
  Part p;
  for (int i = 0; i < kParts; ++i) p.x[i] = splat(0.0f);
  return p;
}
// sum += a * b
MEDURWKV_INLINE void add_scaled(Part& sum, float a, const Part& b) {
  const Lanes factor = splat(a);
  for (int i = 0; i < kParts; ++i) sum.x[i] = sum.x[i] + factor * b.x[i];
}
MEDURWKV_INLINE void add_product(Part& sum, const Part& a, const Part& b) {
  for (int i = 0; i < kParts; ++i) sum.x[i] = sum.x[i] + a.x[i] * b.x[i];
}
MEDURWKV_INLINE void add_part(float* to, const Part& p) {
  for (int i = 0; i < kParts; ++i) store(to + i * kLanes, load(to + i * kLanes) + p.x[i]);
}

MEDURWKV_INLINE void clear(float* state, int rows) {
  const Part nothing = no_part();
  for (int j = 0; j < rows; ++j) store_part(state + j * kColumns, nothing);
}

// `state` has a row of 32 values for each key.
void wkv6_forward(const Head& head, int column, float* y, float* state) {
  for (int direction = 0; direction < 2; ++direction) {
    clear(state, head.size);
    for (std::ptrdiff_t step = 0; step < head.tokens; ++step) {
      const std::ptrdiff_t t = direction ? step : head.tokens - 1 - step;
      const std::ptrdiff_t at = t * head.stride;
      const float *r = head.r + at, *k = head.k + at, *d = head.d + at;
      const Part value = load_part(head.v + at + column);
      Part even = no_part(), odd = no_part();
      for (int j = 0; j < head.size; j += 2) {
        float* row = state + j * kColumns;
        Part a = load_part(row), b = load_part(row + kColumns);
        add_scaled(even, r[j], a);
        add_scaled(odd, r[j + 1], b);
        const Lanes fade_a = splat(d[j]), fade_b = splat(d[j + 1]);
        for (int i = 0; i < kParts; ++i) {
          a.x[i] = a.x[i] * fade_a;
          b.x[i] = b.x[i] * fade_b;
        }
        add_scaled(a, k[j], value);
        add_scaled(b, k[j + 1], value);
        store_part(row, a);
        store_part(row + kColumns, b);
      }
      for (int i = 0; i < kParts; ++i) even.x[i] = even.x[i] + odd.x[i];
      if (direction)
        add_part(y + at + column, even);
      else
        store_part(y + at + column, even);
    }
  }
}

// state <- diag(d) state + k v^T, with rows for values and lanes for keys.
MEDURWKV_INLINE void advance(float* to, const float* from, int size, const Part& fade,
                             const Part& key, const float* value) {
  for (int i = 0; i < size; ++i) {
    const Part before = load_part(from + i * kColumns);
    Part after = no_part();
    add_product(after, fade, before);
    add_scaled(after, value[i], key);
    store_part(to + i * kColumns, after);
  }
}

// Scratch: a state, its adjoint, kKept states, and one state per kKept tokens.
void wkv6_backward(const Head& head, int row, const float* grad, float* gr, float* gk,
                   float* gd, float* scratch) {
  const int size = head.size;
  const std::ptrdiff_t whole = static_cast<std::ptrdiff_t>(size) * kColumns;
  float* state = scratch;
  float* adjoint = state + whole;
  float* recent = adjoint + whole;
  float* kept = recent + kKept * whole;
  const std::ptrdiff_t chunks = (head.tokens + kKept - 1) / kKept;
  for (int direction = 0; direction < 2; ++direction) {
    const auto place = [&](std::ptrdiff_t step) {
      return (direction ? step : head.tokens - 1 - step) * head.stride;
    };
    clear(state, size);
    for (std::ptrdiff_t step = 0; step < head.tokens; ++step) {
      if (step % kKept == 0)
        std::memcpy(kept + step / kKept * whole, state,
                    static_cast<std::size_t>(whole) * sizeof(float));
      const std::ptrdiff_t at = place(step);
      Part by_r = no_part();
      for (int i = 0; i < size; ++i)
        add_scaled(by_r, grad[at + i], load_part(state + i * kColumns));
      advance(state, state, size, load_part(head.d + at + row),
              load_part(head.k + at + row), head.v + at);
      if (direction)
        add_part(gr + at + row, by_r);
      else
        store_part(gr + at + row, by_r);
    }
    clear(adjoint, size);
    for (std::ptrdiff_t chunk = chunks - 1; chunk >= 0; --chunk) {
      const std::ptrdiff_t start = chunk * kKept;
      const std::ptrdiff_t left = head.tokens - start;
      const int count = static_cast<int>(left < kKept ? left : kKept);
      const float* before = kept + chunk * whole;
      for (int n = 1; n < count; ++n) {
        const std::ptrdiff_t at = place(start + n - 1);
        advance(recent + n * whole, before, size, load_part(head.d + at + row),
                load_part(head.k + at + row), head.v + at);
        before = recent + n * whole;
      }
      for (int n = count - 1; n >= 0; --n) {
        const std::ptrdiff_t at = place(start + n);
        const float* old = n ? recent + n * whole : kept + chunk * whole;
        Part by_k = no_part(), by_d = no_part();
        for (int i = 0; i < size; ++i) {
          const Part a = load_part(adjoint + i * kColumns);
          add_scaled(by_k, head.v[at + i], a);
          add_product(by_d, a, load_part(old + i * kColumns));
        }
        advance(adjoint, adjoint, size, load_part(head.d + at + row),
                load_part(head.r + at + row), grad + at);
        if (direction) {
          add_part(gk + at + row, by_k);
          add_part(gd + at + row, by_d);
        } else {
          store_part(gk + at + row, by_k);
          store_part(gd + at + row, by_d);
        }
      }
    }
  }
}

}  // namespace
}  // namespace medurwkv::MEDURWKV_ISA
