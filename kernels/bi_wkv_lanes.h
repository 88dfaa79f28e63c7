// Vectors of floats for one instruction set, in the compiler's own vector types
// where it has them and as small arrays elsewhere. Nothing here may come from a
// standard header that defines inline functions: the linker keeps one copy of
// those, and it could keep the one that was compiled for a newer processor.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>  // whose functions are always inlined
#endif

#ifndef MEDURWKV_ISA
#error "define MEDURWKV_ISA (a namespace) and MEDURWKV_LANES before this header"
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define MEDURWKV_INLINE __forceinline
#else
#define MEDURWKV_INLINE inline __attribute__((always_inline))
#endif

namespace medurwkv::MEDURWKV_ISA {

constexpr int kLanes = MEDURWKV_LANES;

#if defined(__GNUC__) && !defined(MEDURWKV_PLAIN_LANES)

typedef float Lanes __attribute__((vector_size(4 * MEDURWKV_LANES)));
typedef std::int32_t Words __attribute__((vector_size(4 * MEDURWKV_LANES)));

MEDURWKV_INLINE Lanes splat(float x) { return x - Lanes{}; }
// Where a is below b, x; elsewhere, and where either is NaN, y.
MEDURWKV_INLINE Lanes where_below(Lanes a, Lanes b, Lanes x, Lanes y) {
  return a < b ? x : y;
}
MEDURWKV_INLINE Lanes shift_to_exponent(Lanes x) {
  Words bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits <<= 23;
  std::memcpy(&x, &bits, sizeof bits);
  return x;
}

#else

struct Lanes {
  float lane[MEDURWKV_LANES];
};

#define MEDURWKV_LANEWISE(OP)                                            \
  MEDURWKV_INLINE Lanes operator OP(const Lanes& a, const Lanes& b) {    \
    Lanes c;                                                             \
    for (int i = 0; i < kLanes; ++i) c.lane[i] = a.lane[i] OP b.lane[i]; \
    return c;                                                            \
  }
MEDURWKV_LANEWISE(+)
MEDURWKV_LANEWISE(-)
MEDURWKV_LANEWISE(*)
MEDURWKV_LANEWISE(/)
#undef MEDURWKV_LANEWISE

MEDURWKV_INLINE Lanes splat(float x) {
  Lanes c;
  for (int i = 0; i < kLanes; ++i) c.lane[i] = x;
  return c;
}
MEDURWKV_INLINE Lanes where_below(const Lanes& a, const Lanes& b, const Lanes& x,
                                  const Lanes& y) {
  Lanes c;
  for (int i = 0; i < kLanes; ++i)
    c.lane[i] = a.lane[i] < b.lane[i] ? x.lane[i] : y.lane[i];
  return c;
}
MEDURWKV_INLINE Lanes shift_to_exponent(const Lanes& x) {
  std::uint32_t bits[MEDURWKV_LANES];
  std::memcpy(bits, &x, sizeof bits);
  for (int i = 0; i < kLanes; ++i) bits[i] <<= 23;
  Lanes c;
  std::memcpy(&c, bits, sizeof bits);
  return c;
}

#endif

MEDURWKV_INLINE Lanes load(const float* from) {
  Lanes x;
  std::memcpy(&x, from, sizeof x);
  return x;
}
MEDURWKV_INLINE void store(float* to, Lanes x) { std::memcpy(to, &x, sizeof x); }
// Asks for a row of lanes that will be read soon: rows lie too far apart for the
// processor to guess.
MEDURWKV_INLINE void fetch(const float* from) {
#if defined(__GNUC__)
  for (int i = 0; i < kLanes; i += 16) __builtin_prefetch(from + i);
#else
  (void)from;
#endif
}
// Asks for a row of lanes that will be written soon.
MEDURWKV_INLINE void claim(float* to) {
#if defined(__GNUC__)
  for (int i = 0; i < kLanes; i += 16) __builtin_prefetch(to + i, 1);
#else
  (void)to;
#endif
}
// The larger one; where either is NaN, a.
MEDURWKV_INLINE Lanes larger(Lanes a, Lanes b) {
#if defined(__AVX512F__) && MEDURWKV_LANES == 16
  return _mm512_max_ps(b, a);
#elif defined(__AVX2__) && MEDURWKV_LANES == 8
  return _mm256_max_ps(b, a);
#else
  return where_below(a, b, b, a);
#endif
}
MEDURWKV_INLINE bool any_below(Lanes a, Lanes b) {
#if defined(__AVX512F__) && MEDURWKV_LANES == 16
  return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ) != 0;
#elif defined(__AVX2__) && MEDURWKV_LANES == 8
  return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ)) != 0;
#else
  float below[kLanes];
  store(below, where_below(a, b, splat(1.0f), splat(0.0f)));
  float sum = 0.0f;
  for (int i = 0; i < kLanes; ++i) sum += below[i];
  return sum > 0.0f;
#endif
}
// a / b, to one unit in the last place, of b that is neither 0 nor infinite.
MEDURWKV_INLINE Lanes divided(Lanes a, Lanes b) {
#if defined(__AVX512F__) && MEDURWKV_LANES == 16
  // Two steps from an estimate of 14 bits: half the time of a division.
  Lanes inverse = _mm512_rcp14_ps(b);
  inverse = inverse * (splat(2.0f) - b * inverse);
  return a * inverse;
#else
  return a / b;
#endif
}

// Adding this number leaves the nearest whole number in the lowest mantissa bits.
constexpr float kRounder = 12582912.0f;
constexpr float kLog2E = 1.44269504088896341f;
// Logarithms further out than this cannot be split into whole and fraction.
constexpr float kKeyLimit = 2.8e6f;

MEDURWKV_INLINE Lanes nearest_whole(Lanes x) {
  return (x + splat(kRounder)) - splat(kRounder);
}

// 2^x of whole x up to 127; zero below -126.
MEDURWKV_INLINE Lanes power_of_two(Lanes x) {
  const Lanes lowest = splat(-126.0f);
  const Lanes power = shift_to_exponent(x + splat(kRounder + 127.0f));
  return where_below(x, lowest, splat(0.0f), power);
}

// Binary exponent of e^k, of keys within the limit.
MEDURWKV_INLINE Lanes binary_exponent(Lanes k) {
  return nearest_whole(k * splat(kLog2E));
}

// 2^r for |r| <= 1/2, the error spread over them.
MEDURWKV_INLINE Lanes power_of_fraction(Lanes r) {
  Lanes p = splat(1.3264725402770436e-3f);
  p = p * r + splat(9.671512768035295e-3f);
  p = p * r + splat(5.550733749215513e-2f);
  p = p * r + splat(2.402224208257638e-1f);
  p = p * r + splat(6.93146977595017e-1f);
  return p * r + splat(1.0f);
}

// e^k / 2^scale. The error stays at one unit in the last place for what counts beside
// the largest key, however large keys and scale are. Keys may lie below the limit: they
// count as zero beside a scale within it. What is too small becomes zero.
MEDURWKV_INLINE Lanes exponential(Lanes k, Lanes scale) {
#if defined(__AVX512F__) && MEDURWKV_LANES == 16
  const Lanes x = k * splat(kLog2E) - scale;  // rounded once
  const Lanes whole = nearest_whole(x);
  // Zero at minus infinity too, where the fraction is not a number; the caller has
  // numbers below the normal format flushed.
  return _mm512_scalef_ps(power_of_fraction(x - whole), whole);
#elif defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  const Lanes x = larger(k * splat(kLog2E) - scale, splat(-127.0f));
  const Lanes rounded = x + splat(kRounder + 127.0f);
  const Lanes whole = rounded - splat(kRounder + 127.0f);
  return power_of_fraction(x - whole) * shift_to_exponent(rounded);  // times 0 at -127
#else
  // The product would be rounded before the scale is taken away, so the whole part is
  // taken off the key: ln 2 in two parts, the first of which makes the product exact.
  const Lanes logarithm = nearest_whole(k * splat(kLog2E));
  const Lanes r = (k - logarithm * splat(0.693359375f)) - logarithm * splat(-2.12194440e-4f);
  const Lanes whole = logarithm - scale;
  return where_below(whole, splat(-126.0f), splat(0.0f),
                     power_of_fraction(r * splat(kLog2E)) *
                         shift_to_exponent(whole + splat(kRounder + 127.0f)));
#endif
}

}  // namespace medurwkv::MEDURWKV_ISA
