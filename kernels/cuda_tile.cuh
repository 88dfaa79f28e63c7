// What a kernel that works on a tile of (tokens, channels) needs.
//
// Constants come as compiler options:
//   VECTOR   neighbouring channels per thread, 1 or 2
//   LANES    threads side by side along the channels, a divisor of 32
//   RUN      tokens in a row that one thread sums, in pieces of PIECE
//   ALIGNED  1 if rows can be copied 16 bytes at a time
//   CLUSTER  blocks of one cluster, 1 where the device has no clusters
//   THREADS  most threads of a block; BLOCKS blocks that shall share a processor

#define EMPTY (-1e30f)  // scale of a sum without terms
#define COLUMNS (LANES * VECTOR)
#define RUNS (THREADS / LANES)
#define PIECES (RUN / PIECE)

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

// One thread's channels of one token, as they lie in memory.
#if ELEMENT == 0
typedef float Word;
#elif VECTOR == 2
typedef u32 Word;
#else
typedef u16 Word;
#endif

__device__ __forceinline__ void unpack(Word word, float (&to)[VECTOR]) {
#if VECTOR == 1
  to[0] = widen(word);
#elif ELEMENT == 1
  to[0] = widen((u16)(word & 0xffffu));
  to[1] = widen((u16)(word >> 16));
#else
  to[0] = __uint_as_float(word << 16);
  to[1] = __uint_as_float(word & 0xffff0000u);
#endif
}

__device__ __forceinline__ Word pack(const float (&from)[VECTOR]) {
#if VECTOR == 1
  return narrow(from[0]);
#else
  return narrow_pair(from[0], from[1]);
#endif
}

// A key that weighs nothing: minus infinity.
#if ELEMENT == 0
#define NO_KEY __int_as_float(0xff800000)
#elif ELEMENT == 1
#define NO_KEY ((Word)0xfc00fc00u)
#else
#define NO_KEY ((Word)0xff80ff80u)
#endif

// Copy 16 bytes from memory into shared memory, behind the registers' back; zeros if not
// `real`. No branch: a thread that has nothing to copy must not leave its warp.
__device__ __forceinline__ void copy_ahead(void* to, const void* from, bool real) {
#if ALIGNED
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   (u32)__cvta_generic_to_shared(to)),
               "l"(from), "r"(real ? 16 : 0)
               : "memory");
#endif
}

// The larger of two keys, channel by channel.
__device__ __forceinline__ Word larger(Word a, Word b) {
#if ELEMENT == 0
  return fmaxf(a, b);
#elif VECTOR == 2 && ALIGNED
  Word c;
#if ELEMENT == 1
  asm("max.f16x2 %0, %1, %2;" : "=r"(c) : "r"(a), "r"(b));
#else
  asm("max.bf16x2 %0, %1, %2;" : "=r"(c) : "r"(a), "r"(b));
#endif
  return c;
#else
  float left[VECTOR], right[VECTOR];
  unpack(a, left);
  unpack(b, right);
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) left[q] = fmaxf(left[q], right[q]);
  return pack(left);
#endif
}

// Write a piece of a thread's run, tokens `pitch` bytes apart. `full` if all are real.
__device__ __forceinline__ void write_piece(
    char* to, u32 pitch, int first, int count, bool full, const float (&y)[PIECE][VECTOR]) {
  if (full) {
#pragma unroll
    for (int i = 0; i < PIECE; ++i)
      *reinterpret_cast<Word*>(to + (unsigned long long)pitch * (u32)(first + i)) =
          pack(y[i]);
  } else {
#pragma unroll
    for (int i = 0; i < PIECE; ++i)
      if (first + i < count)
        *reinterpret_cast<Word*>(to + (unsigned long long)pitch * (u32)(first + i)) =
            pack(y[i]);
  }
}

__device__ __forceinline__ void copies_done() {
#if ALIGNED
  asm volatile("cp.async.wait_all;" ::: "memory");
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
