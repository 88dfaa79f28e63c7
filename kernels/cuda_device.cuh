// What every CUDA kernel here needs: element types, exponentials, clusters.
//
// No header is included, so that NVRTC needs no include path. Constants come as
// compiler options:
//   ELEMENT  0 float32, 1 float16, 2 bfloat16 (the type of k, v and y)
//   VECTOR   neighbouring channels per thread, 1 or 2
//   LANES    threads side by side along the channels, a divisor of 32
//   RUN      tokens that one thread keeps in registers
//   CLUSTER  blocks of one cluster, 1 where the device has no clusters
//   THREADS  most threads of a block; BLOCKS blocks that shall share a processor

#define LOG2E 1.44269504088896341f
#define EMPTY (-1e30f)  // scale of a sum without terms
#define NOTHING __int_as_float(0xff800000)  // the key of no token
#define COLUMNS (LANES * VECTOR)
#define RUNS (THREADS / LANES)

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

#if ELEMENT != 0 && VECTOR == 2
__device__ __forceinline__ u32 narrow_pair(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  u32 pair;
#if ELEMENT == 1
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
#else
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
#endif
  return pair;
#else
  return (u32)narrow(low) | ((u32)narrow(high) << 16);
#endif
}
#endif

__device__ __forceinline__ void load(const Element* at, float (&to)[VECTOR]) {
#if VECTOR == 1
  to[0] = widen(*at);
#elif ELEMENT == 0
  const float2 pair = *reinterpret_cast<const float2*>(at);
  to[0] = pair.x;
  to[1] = pair.y;
#else
  const u32 pair = *reinterpret_cast<const u32*>(at);
#if ELEMENT == 1
  to[0] = widen((u16)(pair & 0xffffu));
  to[1] = widen((u16)(pair >> 16));
#else
  to[0] = __uint_as_float(pair << 16);
  to[1] = __uint_as_float(pair & 0xffff0000u);
#endif
#endif
}

__device__ __forceinline__ void store(Element* at, const float (&from)[VECTOR]) {
#if VECTOR == 1
  *at = narrow(from[0]);
#elif ELEMENT == 0
  *reinterpret_cast<float2*>(at) = make_float2(from[0], from[1]);
#else
  *reinterpret_cast<u32*>(at) = narrow_pair(from[0], from[1]);
#endif
}

// Floats as integers of the same order, for the integer maximum in shared memory.
__device__ __forceinline__ int ordered(float x) {
  const int bits = __float_as_int(x);
  return bits >= 0 ? bits : bits ^ 0x7fffffff;
}

__device__ __forceinline__ float unordered(int bits) {
  return __int_as_float(bits >= 0 ? bits : bits ^ 0x7fffffff);
}

#if CLUSTER > 1
#define CLUSTERED __cluster_dims__(1, CLUSTER, 1)
__device__ __forceinline__ void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// Store into the shared memory of another block of the cluster.
__device__ __forceinline__ void push(float* local, int block, float value) {
  u32 address = (u32)__cvta_generic_to_shared(local), remote;
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(remote)
      : "r"(address), "r"(block));
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(remote), "f"(value)
               : "memory");
}
#define PUSH(shared, field, block, value) push(&(shared).field, block, value)
#else
#define CLUSTERED
__device__ __forceinline__ void cluster_arrive() {}
__device__ __forceinline__ void cluster_wait() {}
#define PUSH(shared, field, block, value) ((shared).field = (value))
#endif
