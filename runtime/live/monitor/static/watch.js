"use strict";
// What the page must say about itself, from what it has seen. No element and no clock of its own:
// every call is told the time in milliseconds.

const LIMITS = { answer: 1500, check: 2000, picture: 1500, age: 1500 };

class Watch {
  constructor(now) {
    this.answered = now;
    this.stamp = -1;
    this.moved = now;
    this.checked = 0;
    this.shown = -1;
    this.counted = now;
    this.follow(now);
  }

  // Another stream is looked at.
  follow(now) {
    this.number = -1;
    this.drawn = now;
    this.captured = 0;
  }

  // An answer of /state.json has come; stream is the one that is looked at.
  answer(nowNs, stream, now) {
    this.answered = now;
    if (nowNs > this.stamp) {
      this.stamp = nowNs;
      this.moved = now;
    }
    this.checked = stream.checked_ns ? (nowNs - stream.checked_ns) / 1e6 : 0;
    const shown = stream.counts ? stream.counts.shown : -1;
    if (shown !== this.shown) {
      this.shown = shown;
      this.counted = now;
    }
  }

  // A picture has been drawn.
  picture(number, capturedNs, now) {
    if (number === this.number) return;
    this.number = number;
    this.captured = capturedNs;
    this.drawn = now;
  }

  // Age in milliseconds of the picture that is shown; null if it is not known.
  age(now) {
    if (!this.captured || this.stamp < 0) return null;
    return Math.max(0, (this.stamp - this.captured) / 1e6 + (now - this.moved));
  }

  // What is wrong: a short name and a sentence; null if nothing is.
  verdict(now) {
    const s = (ms) => (ms / 1000).toFixed(ms < 10000 ? 1 : 0) + " s";
    if (now - this.answered > LIMITS.answer)
      return ["NO CONNECTION", "No answer for " + s(now - this.answered) + ". The picture is old."];
    if (now - this.moved > LIMITS.answer)
      return ["STATE STANDS STILL", "The program's clock has not moved for " + s(now - this.moved) + "."];
    const checked = this.checked + (now - this.answered);
    if (checked > LIMITS.check)
      return ["STATE IS OLD", "The program has not checked the stream for " + s(checked) + "."];
    const still = now - this.drawn;
    if (still > LIMITS.picture) {
      if (this.counted - this.drawn > LIMITS.picture / 2)
        return ["PICTURE STANDS STILL", "No new picture for " + s(still) + ", while frames go on."];
      return ["NO NEW PICTURE", "No new picture for " + s(still) + "."];
    }
    const age = this.age(now);
    if (age !== null && age > LIMITS.age)
      return ["PICTURE IS LATE", "The picture is " + s(age) + " old."];
    return null;
  }
}

if (typeof module !== "undefined") module.exports = { Watch, LIMITS };
