// Element types and fast functions, for every CUDA kernel here.
//
// No header is included, so that NVRTC needs no include path.
//   ELEMENT  0 float32, 1 float16, 2 bfloat16

#define LOG2E 1.44269504088896341f

typedef unsigned short u16;
typedef unsigned int u32;

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

#if ELEMENT == 0
typedef float Element;
#else
typedef u16 Element;
#endif

__device__ __forceinline__ float widen(Element x) {
#if ELEMENT == 0
  return x;
#elif ELEMENT == 1
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
  return y;
#else
  return __uint_as_float((u32)x << 16);
#endif
}

__device__ __forceinline__ Element narrow(float x) {
#if ELEMENT == 0
  return x;
#elif ELEMENT == 1
  u16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
  return y;
#else
  u32 bits = __float_as_uint(x);
  if (x != x) return 0x7fc0;
  return (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}
