// A bundle, opened, verified and warm. Calls are serialised.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend.hpp"
#include "bundle.hpp"
#include "locate.hpp"
#include "outputs.hpp"
#include "trocar/trocar.h"

namespace trocar::detail {

class Session {
  public:
    Session(const std::string &path, const OpenOptions &options);

    const Manifest &manifest() const { return manifest_; }
    void describe(trocar_info &info) const;
    /// `frames` and `results` are arrays of the caller's version of the structs.
    void run(const trocar_frame *frames, std::size_t count, trocar_result *results);
    void locate(const std::uint8_t *labels, int width, int height, std::ptrdiff_t stride,
                const float *confidence, const trocar_frame *frame, trocar_result *result);

  private:
    void open_model_file(const std::string &path);
    void open_bundle_folder(const std::string &path);
    void choose_precision();
    double golden_margin() const;
    /// `code` is the status of outputs that do not fit: BUNDLE while opening.
    Outputs infer(const std::uint8_t *rgb, int count, int height, int width,
                  trocar_status code = TROCAR_ERROR_BACKEND);
    /// The same for frames of NV12, by the graph for them.
    Outputs infer_nv12(const std::vector<trocar_frame> &frames,
                       trocar_status code = TROCAR_ERROR_BACKEND);
    Outputs outputs_of(const std::vector<Tensor> &tensors, std::size_t count,
                       trocar_status code) const;
    void check_labels(const Outputs &outputs) const;
    void replay(const std::string &golden);
    void open_nv12(const Bundle &bundle);
    void warm_up();
    const std::uint8_t *packed(const std::vector<trocar_frame> &frames);
    Nv12Frames packed_nv12(const std::vector<trocar_frame> &frames);
    void write(const Outputs &outputs, std::size_t index, const trocar_frame &frame,
               trocar_result &result);

    void write_instances(const Outputs &outputs, std::size_t index, const trocar_frame &frame,
                         trocar_result &result);
    /// Gives instruments that were located, and the map of them where it is wanted.
    void give_located(const std::vector<trocar_instrument> &instruments, int width, int height,
                      const trocar_frame &frame, trocar_result &result);

    std::mutex mutex_;
    Manifest manifest_;
    OpenOptions options_;
    std::string device_;
    std::string precision_;
    std::string library_;
    std::unique_ptr<Backend> backend_;
    std::unique_ptr<Backend> nv12_;  // null: NV12 is converted to RGB
    std::unique_ptr<Locator> locator_;
    bool golden_ = false;
    int scores_ = 0;
    int embedding_ = 0;
    Tensor visible_;  // labels of one frame, inside the field of view
    std::vector<trocar_frame> frames_;
    std::vector<std::uint8_t> rgb_;
    std::vector<std::uint8_t> luma_;
    std::vector<std::uint8_t> chroma_;
    std::vector<float> colour_;
    std::vector<std::uint8_t> instrument_map_;
};

}  // namespace trocar::detail
