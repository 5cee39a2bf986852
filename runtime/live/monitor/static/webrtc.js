"use strict";
// Pictures by WebRTC: a video track, and a data channel that tells what each picture shows. The
// number of a picture stands above it (strip.py), so that both are of one frame whatever is lost.

const STRIP = { block: 16, columns: 16, height: 32, kept: 64 };
const WAITS = { candidates: 1000, picture: 4000 };

// The number above a picture, from its pixels; null where it is damaged.
function numberOf(pixels) {
  const { block, columns } = STRIP, stride = block * columns, edge = block / 4;
  let word = 0;
  for (let bit = 0; bit < 2 * columns; bit++) {
    const left = (bit % columns) * block, top = Math.floor(bit / columns) * block;
    let sum = 0;
    for (let y = top + edge; y < top + block - edge; y++)
      for (let x = left + edge; x < left + block - edge; x++) sum += pixels[4 * (y * stride + x) + 1];
    if (sum > 125.5 * (block - 2 * edge) ** 2) word += 2 ** bit;
  }
  const number = Math.floor(word / 256);
  return word % 256 === Math.imul(number, 0x9e3779b1) >>> 24 ? number : null;
}

// One connection. page.present(message, image, x, y, width, height) is called for each picture whose
// message is here; page.ended() once, when no picture comes this way any more.
class Direct {
  static get possible() {
    return typeof RTCPeerConnection === "function" && typeof HTMLVideoElement === "function"
      && "requestVideoFrameCallback" in HTMLVideoElement.prototype;
  }

  constructor(wish, page) {
    this.page = page;
    this.told = new Map();
    this.waiting = null;
    this.work = document.createElement("canvas");
    this.video = document.createElement("video");
    this.video.muted = true;
    this.video.playsInline = true;
    this.peer = new RTCPeerConnection();
    this.open(wish).catch(() => this.end());
  }

  async open(wish) {
    const peer = this.peer;
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.createDataChannel("results").onmessage = (event) => this.message(JSON.parse(event.data));
    peer.ontrack = (event) => {
      if ("jitterBufferTarget" in event.receiver) event.receiver.jitterBufferTarget = 0;
      this.video.srcObject = new MediaStream([event.track]);
      this.video.play().catch(() => this.end());
      this.next();
    };
    peer.onconnectionstatechange = () => {
      if (["failed", "closed"].includes(peer.connectionState)) this.end();
    };
    await peer.setLocalDescription();
    await this.gathered();
    const answer = await fetch("/offer", {
      method: "POST", headers: { "Content-Type": "application/json" }, cache: "no-store",
      body: JSON.stringify({ sdp: peer.localDescription.sdp, n: wish.n, show: wish.show }),
    });
    if (!answer.ok) throw new Error(answer.status);
    await peer.setRemoteDescription(await answer.json());
    this.expect();
  }

  // Waits for the own candidates, but not for ones that do not come.
  gathered() {
    return new Promise((resolve) => {
      const done = () => { if (this.peer.iceGatheringState === "complete") resolve(); };
      this.peer.onicegatheringstatechange = done;
      setTimeout(resolve, WAITS.candidates);
      done();
    });
  }

  // Ends the connection when the next picture does not come in time.
  expect() {
    clearTimeout(this.limit);
    if (this.page) this.limit = setTimeout(() => this.end(), WAITS.picture);
  }

  next() {
    this.video.requestVideoFrameCallback(() => {
      if (!this.page) return;
      this.next();
      const { video, work } = this;
      if (!video.videoWidth) return;
      if (work.width !== video.videoWidth) work.width = video.videoWidth;
      if (work.height !== video.videoHeight) work.height = video.videoHeight;
      // Number and picture come from one copy: the video may go on meanwhile.
      const context = work.getContext("2d", { willReadFrequently: true });
      context.drawImage(video, 0, 0);
      const wide = STRIP.block * STRIP.columns;
      this.waiting = numberOf(context.getImageData(0, 0, wide, STRIP.height).data);
      this.match();
    });
  }

  message(told) {
    this.told.set(told.number % 2 ** 24, told);
    if (this.told.size > STRIP.kept) this.told.delete(this.told.keys().next().value);
    this.match();
  }

  match() {
    const told = this.waiting === null ? undefined : this.told.get(this.waiting);
    if (!told || !this.page) return;
    this.waiting = null;
    this.expect();
    this.page.present(told, this.work, 0, STRIP.height, told.width, told.height);
  }

  end() {
    const page = this.page;
    if (!page) return;
    this.page = null;
    clearTimeout(this.limit);
    this.video.srcObject = null;
    this.peer.close();
    page.ended();
  }
}

if (typeof module !== "undefined") module.exports = { numberOf, STRIP };
