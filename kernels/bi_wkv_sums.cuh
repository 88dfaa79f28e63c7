// Sums of weights and weighted values, each pair on a scale of its own.
//
// Exponents are logarithms to base 2. A sum is a pair (values, weights) times 2^scale.

#define STEEPEST 56.0f  // nats that a block may span in linear space
#define BONUS_LIMIT 20.0f
#define HEADROOM 20.0f  // powers of 2 by which a carry may exceed a block's own scale

// exp(-w tokens); close to 1, where many such factors are multiplied, to half an ulp.
__device__ __forceinline__ float power(float w, int tokens) {
  const float x = fminf(-w * (float)tokens, 87.0f);
  return fabsf(x) < 0.5f ? 1.0f + expm1f(x) : expf(x);
}

struct Sum {
  float values, weights, scale;
};

// Exponent of the larger of two numbers; far below all scales if both are 0. Sums of
// derivatives have any sign and size, so their scale alone does not tell how large
// they are.
__device__ __forceinline__ float exponent(float a, float b) {
  const int bits = __float_as_int(fmaxf(fabsf(a), fabsf(b)));
  return bits < 0x800000 ? EMPTY : (float)((bits >> 23) - 127);
}

// Bring the weights near 1, so that the scale tells the sum's true size.
__device__ __forceinline__ void normalise(Sum& sum) {
  const int size = min(126, ((__float_as_int(sum.weights) >> 23) & 255) - 127);
  if (size == -127) return;
  const float shift = __int_as_float((127 - size) << 23);
  sum.values *= shift;
  sum.weights *= shift;
  sum.scale += (float)size;
}

__device__ __forceinline__ Sum no_sum() { return {0.0f, 0.0f, EMPTY}; }

// A decay in two parts: whole powers of 2, which leave scales whole and thus exact, and
// the rest as a factor.
struct Step {
  float whole, factor;

  __device__ __forceinline__ explicit Step(float w2)
      : whole(rintf(w2)), factor(exp2f(rintf(w2) - w2)) {}
};

// Seen from further away.
__device__ __forceinline__ Sum aged(Sum a, Step step) {
  return {a.values * step.factor, a.weights * step.factor, a.scale - step.whole};
}

__device__ __forceinline__ Sum joined(Sum a, Sum b) {
  const float top = fmaxf(a.scale, b.scale);
  const float left = exp2_fast(a.scale - top), right = exp2_fast(b.scale - top);
  return {left * a.values + right * b.values, left * a.weights + right * b.weights, top};
}

// Sums whose scale is double, for decays or bonuses that are too steep for one scale per
// run or block: differences of large exponents are what weights are made of.
struct Steep {
  float values, weights;
  double scale;
};

// sum + (values, weights) * 2^scale
__device__ __forceinline__ Steep joined(Steep a, Steep b) {
  const double top = a.scale > b.scale ? a.scale : b.scale;
  const float left = exp2_fast((float)(a.scale - top));
  const float right = exp2_fast((float)(b.scale - top));
  return {left * a.values + right * b.values, left * a.weights + right * b.weights, top};
}

__device__ __forceinline__ Steep aged(Steep a, double w2) {
  a.scale -= w2;
  return a;
}

__device__ __forceinline__ Steep nothing() { return {0.0f, 0.0f, (double)EMPTY}; }

__device__ __forceinline__ Sum rounded(Steep a) {
  const float scale = rintf((float)a.scale);
  const float rounding = exp2_fast((float)(a.scale - (double)scale));
  return {a.values * rounding, a.weights * rounding, scale};
}
