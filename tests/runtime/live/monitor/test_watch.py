"""What the page says about itself: its watch in Node, and the colours of its states."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest
from colour_vision import VISION, smallest_distance

STATIC = Path(str(resources.files("trocar.runtime.live.monitor"))) / "static"
NODE = shutil.which("node")

SCRIPT = """
const { Watch } = require(process.argv[1]);
const said = {};
// A page that gets an answer each 500 ms and a picture each 40 ms until something stops.
function run(name, stops, resumes = 1e9) {
  const watch = new Watch(0);
  const on = (what, t) => !stops[what] || t < stops[what] || t >= resumes;
  said[name] = [];
  let last = null;
  for (let t = 20; t <= 12000; t += 20) {
    const ns = (at) => 1e15 + at * 1e6;
    if (t % 500 === 0 && on("answer", t)) {
      const held = (what) => (on(what, t) ? t : stops[what]);
      watch.answer(ns(held("clock")), { checked_ns: ns(held("check")),
        counts: { shown: Math.floor(held("frames") / 40) } }, t);
    }
    if (t % 40 === 0 && on("picture", t))
      watch.picture(t / 40, ns(t - (stops.late && t >= stops.late ? t - stops.late : 0)), t);
    const now = (watch.verdict(t) || ["fine"])[0];
    if (now !== last) said[name].push([t, now]);
    last = now;
  }
}
run("all is well", {});
run("no answer", { answer: 5000 }, 9000);
run("dead", { answer: 5000, picture: 5000 });
run("clock", { clock: 5000 });
run("unchecked", { check: 5000 });
run("picture", { picture: 5000 }, 9000);
run("source", { picture: 5000, frames: 5000 });
run("late", { late: 5000 });
process.stdout.write(JSON.stringify(said));
"""


@pytest.mark.skipif(NODE is None, reason="no Node")
def test_each_thing_that_stops_is_said_within_two_seconds() -> None:
    done = subprocess.run(
        [str(NODE), "-e", SCRIPT, str(STATIC / "watch.js")], check=True, capture_output=True
    )
    said = json.loads(done.stdout)
    assert said.pop("all is well") == [[20, "fine"]]
    expected = {
        "no answer": "NO CONNECTION",
        "dead": "NO CONNECTION",
        "clock": "STATE STANDS STILL",
        "unchecked": "STATE IS OLD",
        "picture": "PICTURE STANDS STILL",
        "source": "NO NEW PICTURE",
        "late": "PICTURE IS LATE",
    }
    for name, words in expected.items():
        assert [words for _, words in said[name]][:2] == ["fine", words], said[name]
        # The clock and the check are seen in answers, which come each 500 ms.
        assert 5000 < said[name][1][0] <= 7000 + 500 * (name in ("clock", "unchecked")), name
    for name in ("no answer", "picture"):
        assert said[name][2][1] == "fine", "it is taken back"


@pytest.mark.parametrize("vision", VISION)
def test_states_are_told_apart_by_colour_and_by_sign(vision: str) -> None:
    css = (STATIC / "page.css").read_text(encoding="utf-8")
    colours = {}
    for name in ("good", "warn", "bad"):
        (found,) = re.findall(rf"--{name}: #([0-9a-f]{{6}})", css)
        colours[name] = (int(found[:2], 16), int(found[2:4], 16), int(found[4:], 16))
    assert smallest_distance(list(colours.values()), vision) > 30
    states = r"\.state\.(LIVE|DEGRADED|STALE|FAULT)::before"
    signs = dict(re.findall(states + r'[^{]*{ content: "(.)', css))
    assert len(set(signs.values())) == 4


def test_the_page_has_no_inline_code_and_loads_nothing_from_elsewhere() -> None:
    html = (STATIC / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script[^>]*>(?!</script>)", html) == []
    assert re.findall(r"\son\w+=|style=|https?://", html) == []
    assert re.findall(r"innerHTML|eval\(|https?://", (STATIC / "page.js").read_text()) == []
