"""libtrocar from Python by ctypes alone: shows what any language with a C interface needs.

    TROCAR_ONNXRUNTIME=…/libonnxruntime.so.1 python trocar_ctypes.py libtrocar.so model.trocar frame.npy

(Python programs have `trocar.runtime.Session`; this file is the pattern for other languages.)
"""

import ctypes as c
import sys

import numpy as np

P8, PF = c.POINTER(c.c_uint8), c.POINTER(c.c_float)
LOG = c.CFUNCTYPE(None, c.c_void_p, c.c_int32, c.c_char_p)
FORMATS = {"rgb": 0, "bgr": 1, "rgba": 2, "bgra": 3, "gray": 4, "nv12": 5}


def struct(name: str, /, **fields: object) -> type[c.Structure]:
    """A struct of trocar.h; every one begins with its size."""
    made = type(name, (c.Structure,), {"_fields_": [("size", c.c_uint32), *fields.items()]})
    return made


def make(kind: type[c.Structure], **values: object) -> c.Structure:
    return kind(size=c.sizeof(kind), **values)


Error = struct("Error", code=c.c_int32, message=c.c_char * 1024, remedy=c.c_char * 512)
Options = struct(
    "Options", threads=c.c_int32, backend=c.c_char_p, device=c.c_char_p, provider=c.c_char_p,
    precision=c.c_char_p, library=c.c_char_p, no_spinning=c.c_int32, min_pixels=c.c_int32,
    min_area=c.c_double, log=LOG, log_context=c.c_void_p, min_score=c.c_double,
    max_instruments=c.c_int32, no_nv12=c.c_int32, classes=c.c_char_p, location=c.c_char_p,
    trust=c.c_char_p,
    frame_width=c.c_int32, frame_height=c.c_int32, out_of_body=c.c_char_p,
    body_certainty=c.c_double, privacy=c.c_int32, reserved_2=c.c_int32,
)
Frame = struct(
    "Frame", format=c.c_int32, width=c.c_int32, height=c.c_int32, data=c.c_void_p,
    stride=c.c_ssize_t, chroma=c.c_void_p, chroma_stride=c.c_ssize_t, yuv=c.c_int32,
    reserved=c.c_int32, view=c.c_double * 3,
)
Instrument = struct(
    "Instrument", class_id=c.c_int32, touches_border=c.c_int32, has_entry=c.c_int32,
    tip_count=c.c_int32, joined=c.c_int32, score=c.c_double, box=c.c_double * 4,
    centroid=c.c_double * 2, area=c.c_double, axis=c.c_double * 2, angle=c.c_double,
    tips=(c.c_double * 2) * 2, entry=c.c_double * 2, instance=c.c_int32, reserved=c.c_int32,
)
Result = struct(
    "Result", label_size=c.c_int32, labels=P8, label_stride=c.c_ssize_t, label_bytes=c.c_size_t,
    confidence=PF, confidence_capacity=c.c_size_t, instruments=c.POINTER(Instrument),
    instrument_capacity=c.c_uint32, instrument_size=c.c_uint32, scores=PF,
    score_capacity=c.c_size_t, embedding=PF, embedding_capacity=c.c_size_t,
    instrument_count=c.c_uint32, instrument_total=c.c_uint32, label_width=c.c_int32,
    label_height=c.c_int32, convert_ms=c.c_double, infer_ms=c.c_double, locate_ms=c.c_double,
    instrument_map=P8, instrument_map_stride=c.c_ssize_t, instrument_map_bytes=c.c_size_t,
    instance_count=c.c_int32, reserved=c.c_int32, body=c.c_int32, reserved_2=c.c_int32,
)
Info = struct(
    "Info", task=c.c_int32, network_width=c.c_int32, network_height=c.c_int32,
    class_count=c.c_int32, score_count=c.c_int32, embedding_count=c.c_int32, golden=c.c_int32,
    name=c.c_char_p, method=c.c_char_p, backend=c.c_char_p, device=c.c_char_p,
    precision=c.c_char_p, library=c.c_char_p, takes_nv12=c.c_int32, reserved=c.c_int32,
)


class TrocarFailure(Exception):
    def __init__(self, error: c.Structure) -> None:
        self.code = error.code
        super().__init__(error.message.decode() + "\n  → " + error.remedy.decode())


def pointer(array: np.ndarray, kind: type = P8):
    return array.ctypes.data_as(kind)


class Session:
    """An opened bundle; `options` are those of `trocar_options`, texts as str."""

    def __init__(self, library: str, bundle: str, /, **options: object) -> None:
        self.api = c.CDLL(library)
        self.api.trocar_session_close.argtypes = [c.c_void_p]
        self.handle = c.c_void_p()
        texts = {k: v.encode() if isinstance(v, str) else v for k, v in options.items()}
        self.call("open", bundle.encode(), c.byref(make(Options, **texts)), c.byref(self.handle))
        self.info = make(Info)
        self.call("info", self.handle, c.byref(self.info))

    def call(self, name: str, *arguments: object) -> None:
        error = make(Error)
        if getattr(self.api, f"trocar_session_{name}")(*arguments, c.byref(error)):
            raise TrocarFailure(error)

    def run(self, *frames: np.ndarray, form: str = "rgb", yuv: int = 0, capacity: int = 64,
            full: bool = False):
        """Runs frames of one size; gives one dictionary of arrays and instruments each."""
        given = (Frame * len(frames))(*(self.frame(frame, form, yuv) for frame in frames))
        made = [self.room(given[i], capacity, full) for i in range(len(frames))]
        results = (Result * len(frames))(*(result for result, _ in made))
        self.call("run", self.handle, given, c.c_uint32(len(frames)), results)
        return [
            held | {"instruments": held["instruments"][: result.instrument_count],
                    "result": result}
            for result, (_, held) in zip(results, made, strict=True)
        ]

    def mask(self, run: dict, index: int) -> np.ndarray:
        """The mask of one instrument of a run: 255 inside, 0 outside."""
        mask = np.zeros(run["map"].shape, np.uint8)
        error = make(Error)
        if self.api.trocar_instrument_mask(c.byref(run["result"]), c.c_uint32(index), pointer(mask),
                                           c.c_size_t(mask.nbytes), c.byref(error)):
            raise TrocarFailure(error)
        return mask

    def frame(self, array: np.ndarray, form: str, yuv: int = 0) -> c.Structure:
        # Odd heights too: H rows of luma, then (H + 1) // 2 of chroma.
        height = array.shape[0] * 2 // 3 if form == "nv12" else array.shape[0]
        return make(Frame, format=FORMATS[form], width=array.shape[1], height=height,
                    data=array.ctypes.data, stride=array.strides[0], yuv=yuv)

    def room(self, frame: c.Structure, capacity: int, full: bool):
        """A result whose buffers are NumPy arrays."""
        info = self.info
        network = (info.network_height, info.network_width)
        size = (frame.height, frame.width) if full else network
        held = {"instruments": (Instrument * capacity)()}
        result = make(Result, label_size=int(full), instruments=held["instruments"],
                      instrument_capacity=capacity, instrument_size=c.sizeof(Instrument))
        if info.task != 1:
            held |= {"labels": np.zeros(size, np.uint8), "map": np.zeros(size, np.uint8)}
            result.labels, result.label_bytes = pointer(held["labels"]), held["labels"].nbytes
            result.instrument_map = pointer(held["map"])
            result.instrument_map_bytes = held["map"].nbytes
        if info.task == 0:
            held |= {"confidence": np.zeros(network, np.float32)}
        if info.task == 1:
            held |= {"scores": np.zeros(info.score_count, np.float32),
                     "embedding": np.zeros(info.embedding_count, np.float32)}
        for name, capacity_name in (("confidence", "confidence_capacity"),
                                    ("scores", "score_capacity"), ("embedding", "embedding_capacity")):
            if name in held:
                setattr(result, name, pointer(held[name], PF))
                setattr(result, capacity_name, held[name].size)
        return result, held

    def close(self) -> None:
        self.api.trocar_session_close(self.handle)
        self.handle = c.c_void_p()


if __name__ == "__main__":
    session = Session(sys.argv[1], sys.argv[2])
    for instrument in session.run(np.load(sys.argv[3]))[0]["instruments"]:
        print(instrument.class_id, round(instrument.score, 3), [round(v, 1) for v in instrument.box])
    session.close()
