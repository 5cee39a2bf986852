"""What is shown of an address never holds a password, a key or a token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trocar.runtime.sources.addresses import is_stream, redacted

# The forms in which makers of cameras, recorders and servers document their addresses.
FORMS = [
    ("rtsp://bob:pw@cam/1", "rtsp://***@cam/1"),
    ("rtsp://bob@cam/1", "rtsp://***@cam/1"),
    ("rtsp://bob:p@ss@cam:554/1", "rtsp://***@cam:554/1"),
    ("rtsp://bob:p/ss@cam:554/1", "rtsp://***@cam:554/1"),
    ("rtsp://bob:p:s:s@10.0.0.5/1", "rtsp://***@10.0.0.5/1"),
    ("rtsp://bob:a@b/c:d@[fe80::1]:554/1", "rtsp://***@[fe80::1]:554/1"),
    ("rtsp://bob:p?ss@cam/1", "rtsp://***@cam/1"),
    ("rtsp://bob:p#ss@cam/1", "rtsp://***@cam/1"),
    ("rtsp://10.0.0.5:554/Streaming/Channels/101", "rtsp://10.0.0.5:554/Streaming/Channels/101"),
    (
        "rtsp://10.0.0.5/cam/realmonitor?channel=1&subtype=0",
        "rtsp://10.0.0.5/cam/realmonitor?channel=1&subtype=0",
    ),
    (
        "rtsp://10.0.0.5:554/user=admin&password=tl9Jwp&channel=1&stream=0.sdp?",
        "rtsp://10.0.0.5:554/user=***&password=***&channel=1&stream=0.sdp?",
    ),
    (
        "rtsp://10.0.0.5:554/user=admin_password=tl9Jwp_channel=1_stream=0.sdp",
        "rtsp://10.0.0.5:554/user=***_password=***_channel=1_stream=0.sdp",
    ),
    (
        "rtsp://10.0.0.5:10554/tcp/av0_0?loginuse=admin&loginpas=88x",
        "rtsp://10.0.0.5:10554/tcp/av0_0?loginuse=***&loginpas=***",
    ),
    (
        "http://10.0.0.5/videostream.cgi?user=admin&pwd=88x&resolution=32",
        "http://10.0.0.5/videostream.cgi?user=***&pwd=***&resolution=32",
    ),
    ("http://10.0.0.5/snap.jpg?usr=a&psw=b", "http://10.0.0.5/snap.jpg?usr=***&psw=***"),
    ("http://10.0.0.5/mjpg?pw=b", "http://10.0.0.5/mjpg?pw=***"),
    (
        "http://10.0.0.5/cgi-bin/nphMotionJpeg?Resolution=640x480&Quality=Standard",
        "http://10.0.0.5/cgi-bin/nphMotionJpeg?Resolution=640x480&Quality=Standard",
    ),
    ("https://h/v?a=1&token=abc&b=2", "https://h/v?a=1&token=***&b=2"),
    ("https://h/v?a=1;api_key=abc;b=2", "https://h/v?a=1;api_key=***;b=2"),
    ("https://h/hls/x.m3u8?X-Amz-Signature=0a1b", "https://h/hls/x.m3u8?X-Amz-Signature=***"),
    ("https://h/v?access_token=abc#t=1", "https://h/v?access_token=***#t=1"),
    ("https://h/v?email=me@home.org&key=1", "https://h/v?email=me@home.org&key=***"),
    ("rtmp://live.host.org/app/abcd-efgh-1234", "rtmp://live.host.org/app/***"),
    ("rtmps://h:443/rtmp/FB-1-2-3?s_bl=1", "rtmps://h:443/rtmp/***?s_bl=1"),
    ("rtmp://h/app/inst/key", "rtmp://h/app/***"),
    ("rtmp://h/app", "rtmp://h/app"),
    ("srt://h:1?passphrase=secret&latency=20", "srt://h:1?passphrase=***&latency=20"),
    ("srt://h:1?streamid=read:cam:bob:pw", "srt://h:1?streamid=***"),
    ("rtsps://10.0.0.1:7441/aB3dE5fG7hJ9kL1m?enableSrtp", "rtsps://10.0.0.1:7441/***?enableSrtp"),
    (
        "https://h/live/550e8400-e29b-41d4-a716-446655440000/index.m3u8",
        "https://h/live/***/index.m3u8",
    ),
    ("udp://239.0.0.1:1234", "udp://239.0.0.1:1234"),
    ("/data/video@home.mp4", "/data/video@home.mp4"),
    ("file:///data/key=1/a.mp4", "file:///data/key=1/a.mp4"),
    ("/recordings/user=bob/key.mp4", "/recordings/user=bob/key.mp4"),
]


@pytest.mark.parametrize(("address", "shown"), FORMS)
def test_secrets_of_every_form_are_hidden(address: str, shown: str) -> None:
    assert redacted(address) == shown


@pytest.mark.parametrize(("address", "shown"), FORMS)
def test_addresses_within_messages_are_found(address: str, shown: str) -> None:
    text = f"[rtsp @ 0x55] cannot open {address}: refused; tried '{address}', \"{address}\"."
    assert redacted(text) == (
        f"[rtsp @ 0x55] cannot open {shown}: refused; tried '{shown}', \"{shown}\"."
    )


SECRET = st.text(
    st.characters(codec="ascii", exclude_characters=" \t\r\n\v\f\x1c\x1d\x1e\x1f\"'<>`"), min_size=6
)


@given(
    password=SECRET.map(lambda text: f"Q7{text}Z"), path=st.sampled_from(["", "/", "/1", "/a/b"])
)
def test_no_password_before_a_host_is_shown(password: str, path: str) -> None:
    shown = redacted(f"rtsp://bob:{password}@10.0.0.5:554{path}")
    assert password not in shown
    assert "bob" not in shown
    assert shown.endswith(f"10.0.0.5:554{path}")


@given(value=st.text("abcXYZ0189%+.~!*", min_size=6))
@pytest.mark.parametrize("name", ["password", "loginpas", "psw", "Token", "apiKey", "auth"])
def test_no_value_of_a_secret_parameter_is_shown(name: str, value: str) -> None:
    assert value not in redacted(f"http://cam/x?a=1&{name}=Q{value}Q&b=2")


@pytest.mark.parametrize(
    ("place", "stream"),
    [
        ("rtsp://h/1", True), ("RTSP://h/1", True), ("/dev/video0", True), ("udp://:1", True),
        ("file:///a.mp4", False), ("a.mp4", False), ("a:b.mp4", False), ("C:\\a.mp4", False),
    ],
)  # fmt: skip
def test_what_is_a_stream(place: str, stream: bool) -> None:
    assert is_stream(place) is stream
