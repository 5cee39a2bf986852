// A stand-in for libnvinfer over the stand-in CUDA, built against TensorRT's own headers. Its
// "engines" are lines of text:
//
//     engine HEIGHT WIDTH MOST          labels of the nearest pixels and confidence, MOST frames
//     contextless                       loads, and makes no execution context
#include <algorithm>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include "stubs.hpp"
#pragma GCC diagnostic pop

#include "fake_cuda.hpp"
#include "half.hpp"

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::TensorIOMode;

namespace {

struct Line {
    int height = 0, width = 0, most = 0;
};

const char *const names[] = {"frame", "labels", "confidence"};

Dims dims(const std::vector<std::int64_t> &sides) {
    Dims made{};
    made.nbDims = static_cast<std::int32_t>(sides.size());
    std::copy(sides.begin(), sides.end(), made.d);
    return made;
}

std::size_t index_of(const char *name) {
    std::size_t i = 0;
    while (std::strcmp(names[i], name) != 0) ++i;
    return i;
}

class Context final : public nvinfer1::IExecutionContext {
  public:
    explicit Context(const Line &line) : impl_(line) { mImpl = &impl_; }

  private:
    class Impl final : public nvinfer1::apiv::StubVExecutionContext {
      public:
        explicit Impl(const Line &line) : line_(line) {}
        bool setInputShape(const char *, const Dims &shape) noexcept override {
            if (shape.d[0] > line_.most) return false;
            shape_ = shape;
            return true;
        }
        Dims getTensorShape(const char *name) const noexcept override {
            if (index_of(name) == 0) return shape_;
            return dims({shape_.d[0], line_.height, line_.width});
        }
        bool setTensorAddress(const char *name, void *data) noexcept override {
            addresses_[index_of(name)] = data;
            return true;
        }
        bool enqueueV3(cudaStream_t) noexcept override {
            fake::submit([line = line_, shape = shape_, in = addresses_[0], labels = addresses_[1],
                          confidence = addresses_[2]] {
                segment(line, shape, static_cast<const std::uint8_t *>(in),
                        static_cast<std::uint8_t *>(labels),
                        static_cast<std::uint16_t *>(confidence));
            });
            return true;
        }

      private:
        static void segment(const Line &line, const Dims &shape, const std::uint8_t *pixels,
                            std::uint8_t *labels, std::uint16_t *confidence) {
            for (std::int64_t n = 0; n < shape.d[0]; ++n)
                for (int y = 0; y < line.height; ++y)
                    for (int x = 0; x < line.width; ++x) {
                        const std::int64_t row = n * shape.d[1] + y * shape.d[1] / line.height;
                        const std::uint8_t *rgb =
                            pixels + 3 * (row * shape.d[2] + x * shape.d[2] / line.width);
                        *labels++ = rgb[2] > 150 ? 1 : rgb[1] > 150 ? 2 : 0;
                        *confidence++ =
                            trocar::detail::half_from_float(static_cast<float>(rgb[0]) / 255);
                    }
        }
        Line line_;
        Dims shape_{};
        void *addresses_[3] = {};
    };
    Impl impl_;
};

class Loaded final : public nvinfer1::ICudaEngine {
  public:
    explicit Loaded(const Line &line) : impl_(line) { mImpl = &impl_; }

  private:
    class Impl final : public nvinfer1::apiv::StubVCudaEngine {
      public:
        explicit Impl(const Line &line) : line_(line) {}
        std::int32_t getNbIOTensors() const noexcept override { return 3; }
        const char *getIOTensorName(std::int32_t i) const noexcept override { return names[i]; }
        TensorIOMode getTensorIOMode(const char *name) const noexcept override {
            return index_of(name) == 0 ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
        }
        DataType getTensorDataType(const char *name) const noexcept override {
            return index_of(name) == 2 ? DataType::kHALF : DataType::kUINT8;
        }
        Dims getProfileShape(const char *, std::int32_t,
                             nvinfer1::OptProfileSelector select) const noexcept override {
            if (select == nvinfer1::OptProfileSelector::kMIN) return dims({1, 1, 1, 3});
            return dims({line_.most, 4096, 4096, 3});
        }
        nvinfer1::IExecutionContext *createExecutionContext(
            nvinfer1::ExecutionContextAllocationStrategy) noexcept override {
            return line_.most == 0 ? nullptr : new Context(line_);
        }

      private:
        Line line_;
    };
    Impl impl_;
};

class Runtime final : public nvinfer1::IRuntime {
  public:
    explicit Runtime(nvinfer1::ILogger &logger) : impl_(logger) { mImpl = &impl_; }

  private:
    class Impl final : public nvinfer1::apiv::StubVRuntime {
      public:
        explicit Impl(nvinfer1::ILogger &logger) : logger_(logger) {}
        nvinfer1::ICudaEngine *deserializeCudaEngine(const void *data,
                                                     std::size_t size) noexcept override {
            std::istringstream text(std::string(static_cast<const char *>(data), size));
            std::string kind;
            Line line;
            text >> kind >> line.height >> line.width >> line.most;
            logger_.log(nvinfer1::ILogger::Severity::kWARNING, "loading");
            if (kind == "engine" || kind == "contextless") return new Loaded(line);
            logger_.log(nvinfer1::ILogger::Severity::kERROR, "the magic tag does not match");
            return nullptr;
        }

      private:
        nvinfer1::ILogger &logger_;
    };
    Impl impl_;
};

}  // namespace

#define SHOWN extern "C" __attribute__((visibility("default")))

SHOWN void *createInferRuntime_INTERNAL(void *logger, std::int32_t version) noexcept {
    if (version != NV_TENSORRT_VERSION) return nullptr;
    return new Runtime(*static_cast<nvinfer1::ILogger *>(logger));
}
SHOWN std::int32_t getInferLibMajorVersion() noexcept {
    return NV_TENSORRT_MAJOR + FAKE_MAJOR_DIFFERENCE;
}
SHOWN std::int32_t getInferLibMinorVersion() noexcept { return NV_TENSORRT_MINOR; }
SHOWN std::int32_t getInferLibPatchVersion() noexcept { return NV_TENSORRT_PATCH; }
SHOWN std::int32_t getInferLibBuildVersion() noexcept { return NV_TENSORRT_BUILD; }
