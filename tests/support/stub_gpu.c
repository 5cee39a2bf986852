/* The CUDA runtime, cuBLAS, cuRAND and driver entry points that ONNX Runtime's CUDA provider needs, without a GPU.

   Memory is host memory, copies are memcpy, kernels compute nothing, a captured graph is a number. So a real provider
   loads, places nodes, inserts copies, records and replays; its results mean nothing. `stub_gpu.py` adds a function
   that returns 0 for every other name that the provider wants. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef int status;
typedef struct { unsigned x, y, z; } grid;

static int captures, instantiated, launches, kernels, capturing;

void stub_gpu_counts(int *out) {
  out[0] = captures, out[1] = instantiated, out[2] = launches, out[3] = kernels;
}

static status give(void **out, size_t value) { return *out = (void *)value, 0; }

/* Driver. */
status cuInit(unsigned flags) { return 0; }
status cuDriverGetVersion(int *version) { return *version = 13000, 0; }
status cuDeviceGetCount(int *count) { return *count = 1, 0; }
status cuDeviceGet(int *device, int index) { return *device = index, 0; }
status cuDeviceGetName(char *name, int size, int device) { return strncpy(name, "Stub H200", size), 0; }
status cuDeviceGetAttribute(int *value, int attribute, int device) { return *value = attribute == 75 ? 9 : 0, 0; }

/* The driver's own memory, streams and graphs; `stub_gpu_held` counts what was not freed. */
static int held;
/* Of the last launch: blocks, threads, shared bytes, and arguments (pointer, int, long long). */
static long long launched[6];
void stub_gpu_launched(long long *out) { memcpy(out, launched, sizeof launched); }
int stub_gpu_held(void) { return held; }
static status take(void **out, size_t size) { return held++, *out = calloc(1, size ? size : 1), 0; }
static status drop(void *memory) { return held--, free(memory), 0; }
status cuDevicePrimaryCtxRetain(void **context, int device) { return held++, give(context, 1024); }
status cuDevicePrimaryCtxRelease(int device) { return held--, 0; }
status cuCtxPushCurrent(void *context) { return 0; }
status cuCtxPopCurrent(void **context) { return give(context, 1024); }
status cuMemAlloc(void **out, size_t size) { return take(out, size); }
status cuMemFree(void *memory) { return drop(memory); }
status cuMemHostAlloc(void **out, size_t size, unsigned flags) { return take(out, size); }
status cuMemFreeHost(void *memory) { return drop(memory); }
status cuMemcpyHtoDAsync(void *to, const void *from, size_t size, void *stream) { return memcpy(to, from, size), 0; }
status cuMemcpyDtoHAsync(void *to, const void *from, size_t size, void *stream) { return memcpy(to, from, size), 0; }
/* CUDA_MEMCPY2D of cuda.h; only the fields of linear device memory are read. */
struct rows { size_t from_x, from_y; int from_kind; const void *from_host; const char *from; void *from_array; size_t from_pitch,
              to_x, to_y; int to_kind; void *to_host; char *to; void *to_array; size_t to_pitch, width, height; };
status cuMemcpy2DAsync(const struct rows *copy, void *stream) {
  for (size_t y = 0; y < copy->height; ++y) memcpy(copy->to + y * copy->to_pitch, copy->from + y * copy->from_pitch, copy->width);
  return 0;
}
status cuStreamCreate(void **out, unsigned flags) { return take(out, 1); }
status cuStreamDestroy(void *stream) { return drop(stream); }
status cuStreamSynchronize(void *stream) { return 0; }
status cuStreamBeginCapture(void *stream, int mode) { return captures++, capturing = 1, 0; }
status cuStreamEndCapture(void *stream, void **graph) { return capturing = 0, take(graph, 1); }
status cuGraphInstantiateWithFlags(void **out, void *graph, unsigned long long flags) { return take(out, 1); }
status cuGraphInstantiate(void **out, void *graph, unsigned long long flags) { return take(out, 1); }
status cuGraphLaunch(void *graph, void *stream) { return launches++, 0; }
status cuGraphDestroy(void *graph) { return drop(graph); }
status cuGraphExecDestroy(void *graph) { return drop(graph); }
status cuModuleLoadData(void **out, const void *image) { return take(out, 1); }
status cuModuleGetFunction(void **out, void *module, const char *name) { return give(out, 2048); }
status cuFuncSetAttribute(void *function, int attribute, int value) { return 0; }
status cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, void *stream, void **arguments, void **extra) {
  launched[0] = (long long)gx, launched[1] = (long long)bx, launched[2] = (long long)shared;
  launched[3] = *(long long *)arguments[0], launched[4] = *(int *)arguments[1];
  launched[5] = *(long long *)arguments[2];
  return kernels++, 0;
}
status cuGetProcAddress_v2(const char *name, void **out, int version, unsigned long long flags, int *found) {
  void *self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  *out = dlsym(self ? self : RTLD_DEFAULT, name);
  if (found) *found = *out ? 0 : 1;
  return 0;
}
status cuGetProcAddress(const char *name, void **out, int version, unsigned long long flags) {
  return cuGetProcAddress_v2(name, out, version, flags, NULL);
}

/* Devices. */
status cudaGetDevice(int *device) { return *device = 0; }
status cudaGetDeviceCount(int *count) { return *count = 1, 0; }
status cudaDriverGetVersion(int *version) { return *version = 13000, 0; }
status cudaRuntimeGetVersion(int *version) { return *version = 13000, 0; }
status cudaMemGetInfo(size_t *free, size_t *total) { return *free = *total = (size_t)140 << 30, 0; }
status cudaDeviceGetAttribute(int *value, int attribute, int device) {
  /* 16: multiprocessors, 75: major compute capability. */
  return *value = attribute == 75 ? 9 : attribute == 16 ? 132 : 0, 0;
}
status cudaGetDeviceProperties(void *out, int device) {
  /* Places of CUDA 13's cudaDeviceProp: `offsetof` divided by the size of an int, or of a size_t. */
  int *numbers = memset(out, 0, 1008);
  size_t *sizes = out;
  strcpy(out, "Stub H200");
  sizes[36] = (size_t)140 << 30, sizes[37] = 49152;                 /* totalGlobalMem, sharedMemPerBlock */
  numbers[76] = 65536, numbers[77] = 32, numbers[80] = 1024;        /* registers, warpSize, maxThreadsPerBlock */
  numbers[90] = 9, numbers[96] = 132, numbers[151] = 2048;          /* major, multiprocessors, threads of each */
  return 0;
}

/* Memory. */
status cudaMalloc(void **out, size_t size) { return posix_memalign(out, 256, size ? size : 1); }
status cudaMallocHost(void **out, size_t size) { return cudaMalloc(out, size); }
status cudaHostAlloc(void **out, size_t size, unsigned flags) { return cudaMalloc(out, size); }
status cudaFree(void *memory) { return free(memory), 0; }
status cudaFreeAsync(void *memory, void *stream) { return free(memory), 0; }
status cudaFreeHost(void *memory) { return free(memory), 0; }
status cudaMemcpy(void *to, const void *from, size_t size, int kind) { return memcpy(to, from, size), 0; }
status cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
  return memcpy(to, from, size), 0;
}
status cudaMemset(void *to, int value, size_t size) { return memset(to, value, size), 0; }
status cudaMemsetAsync(void *to, int value, size_t size, void *stream) { return memset(to, value, size), 0; }
status cudaPointerGetAttributes(void *out, const void *memory) { return memset(out, 0, 24), 0; }

/* Streams, events, handles. */
status cudaStreamCreate(void **out) { return give(out, 8); }
status cudaStreamCreateWithFlags(void **out, unsigned flags) { return give(out, 8); }
status cudaEventCreate(void **out) { return give(out, 16); }
status cudaEventCreateWithFlags(void **out, unsigned flags) { return give(out, 16); }
status cublasCreate_v2(void **out) { return give(out, 32); }
status cublasLtCreate(void **out) { return give(out, 64); }
status cublasGetMathMode(void *handle, int *mode) { return *mode = 0; }
status cudnnCreate(void **out) { return give(out, 128); }
size_t cudnnGetVersion(void) { return 92400; }
size_t cudnnGetCudartVersion(void) { return 13000; }

/* Kernels. */
void **__cudaRegisterFatBinary(void *binary) {
  static void *handle;
  return &handle;
}
status __cudaPopCallConfiguration(grid *blocks, grid *threads, size_t *shared, void **stream) {
  *blocks = *threads = (grid){1, 1, 1};
  return *shared = 0, *stream = NULL, 0;
}
status __cudaGetKernel(void **out, const void *function) { return *out = (void *)function, 0; }
status __cudaLaunchKernel(void *f, grid b, grid t, void **args, size_t shared, void *stream) { return kernels++, 0; }
status cudaLaunchKernel(const void *f, grid b, grid t, void **args, size_t s, void *stream) { return kernels++, 0; }
status cudaLaunchKernelExC(const void *config, const void *f, void **args) { return kernels++, 0; }
status cudaFuncGetAttributes(void *out, const void *function) {
  memset(out, 0, 48);
  return ((int *)out)[6] = 1024, 0; /* maxThreadsPerBlock, behind three sizes */
}
status cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *out, const void *f, int b, size_t s, unsigned g) {
  return *out = 2, 0;
}

/* Graphs. */
status cudaStreamBeginCapture(void *stream, int mode) { return captures++, capturing = 1, 0; }
status cudaStreamEndCapture(void *stream, void **graph) { return capturing = 0, give(graph, 256); }
status cudaStreamIsCapturing(void *stream, int *out) { return *out = capturing, 0; }
status cudaGraphInstantiate(void **out, void *graph, unsigned long long flags) { return instantiated++, give(out, 512); }
status cudaGraphLaunch(void *graph, void *stream) { return launches++, 0; }

/* Texts. */
const char *cudaGetErrorString(int error) { return "stub"; }
const char *cudaGetErrorName(int error) { return "stub"; }
const char *cublasGetStatusString(int error) { return "stub"; }
const char *cublasGetStatusName(int error) { return "stub"; }
const char *cudnnGetErrorString(int error) { return "stub"; }
