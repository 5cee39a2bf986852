// From the network's output to a label map, and its smoothing over time.
//
// Compile with -DSCORE=<type of the logits> and -DCONFIDENCE=<type of the confidence>.
//
// Launch: any grid of one dimension, a block of any multiple of 32 threads, no shared memory. A
// thread goes on with further pixels if there are fewer threads. No atomics: every pixel is written
// by one thread.
#include "location.cuh"

// The class with the largest logit, the first of equal ones; scores are [classes, pixels].
KERNEL location_labels(const SCORE* __restrict__ scores, unsigned char* __restrict__ labels,
                       int classes, int pixels) {
  const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long pixel = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
       pixel < pixels; pixel += stride) {
    int best = 0;
    float largest = portable::load(scores[pixel]);
    for (int label = 1; label < classes; ++label) {
      const float score = portable::load(scores[static_cast<long long>(label) * pixels + pixel]);
      if (score > largest) {
        largest = score;
        best = label;
      }
    }
    labels[pixel] = static_cast<unsigned char>(best);
  }
}
EXPORT(location_labels)

// Keeps the label of the frame before where the new one differs and is not sure, for at most
// `most_delayed` frames (runtime/temporal/mask_smoothing.py). `labels`, `before` and `delayed` are
// updated in place: `before` gets the labels, `delayed` counts how long a pixel was kept.
KERNEL location_smooth(unsigned char* __restrict__ labels, const CONFIDENCE* __restrict__ confidence,
                       unsigned char* __restrict__ before, unsigned char* __restrict__ delayed,
                       const float* __restrict__ least, int most_delayed, int pixels) {
  const long long stride = static_cast<long long>(gridDim.x) * blockDim.x;
  for (long long pixel = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
       pixel < pixels; pixel += stride) {
    const unsigned char old = before[pixel], count = delayed[pixel];
    const bool is_low = portable::load(confidence[pixel]) < least[0];
    const bool stays = labels[pixel] != old && is_low && count < most_delayed;
    const unsigned char label = stays ? old : labels[pixel];
    labels[pixel] = label;
    before[pixel] = label;
    delayed[pixel] = static_cast<unsigned char>(stays ? count + 1 : 0);
  }
}
EXPORT(location_smooth)
