// Sums over the threads of a warp or a block, in an order that depends on their number
// alone. All threads get the result.
#pragma once

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
	for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(~0u, v, d);
	return v;
}

// The larger; what is not a number wins, as in Go's max.
__device__ __forceinline__ float larger(float a, float b) { return (a > b || a != a) ? a : b; }
__device__ __forceinline__ float smaller(float a, float b) { return (a < b || a != a) ? a : b; }

__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
	for (int d = 16; d > 0; d /= 2) v = larger(v, __shfl_xor_sync(~0u, v, d));
	return v;
}

__device__ __forceinline__ float warp_min(float v) {
#pragma unroll
	for (int d = 16; d > 0; d /= 2) v = smaller(v, __shfl_xor_sync(~0u, v, d));
	return v;
}

// shared is 32 floats that the block uses for nothing else.
__device__ __forceinline__ float block_sum(float v, float *shared) {
	v = warp_sum(v);
	__syncthreads();
	if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
	__syncthreads();
	const int warps = blockDim.x / 32;
	return warp_sum((int)threadIdx.x % 32 < warps ? shared[threadIdx.x % 32] : 0);
}

__device__ __forceinline__ float block_max(float v, float *shared) {
	v = warp_max(v);
	__syncthreads();
	if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
	__syncthreads();
	const int warps = blockDim.x / 32;
	return warp_max((int)threadIdx.x % 32 < warps ? shared[threadIdx.x % 32] : shared[0]);
}
