// Sums of the columns of a matrix, in an order that does not change.

struct Rows {
  const float* partial;  // (rows, columns)
  float* sums;           // (columns)
  int rows, columns;
};

extern "C" __global__ void __launch_bounds__(1024) reduce_rows(const Rows a) {
  __shared__ float part[32][33];
  const int lane = threadIdx.x % 32, slice = threadIdx.x / 32;
  const int column = (int)blockIdx.x * 32 + lane;
  float sum = 0.0f;
  if (column < a.columns)
    for (int row = slice; row < a.rows; row += 32)
      sum += a.partial[(size_t)row * a.columns + column];
  part[slice][lane] = sum;
  __syncthreads();
  sum = part[lane][slice];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2)
    sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  const int mine = (int)blockIdx.x * 32 + slice;
  if (lane == 0 && mine < a.columns) a.sums[mine] = sum;
}
