import hashlib
import http.server
import threading

import pytest

from lightning_codec.data import kodak
from lightning_codec.errors import UserError
from tests.photos import photos

CONTENT = {f"{i}.png": f"image {i}".encode() for i in range(3)}


@pytest.fixture
def server(monkeypatch):
    """Address and request log of a loopback server whose three files stand for the Kodak images."""
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.lstrip("/")
            requests.append(name)
            self.send_response(200 if name in CONTENT else 404)
            self.end_headers()
            self.wfile.write(CONTENT.get(name, b""))

        def log_message(self, *_):
            pass

    checksums = {name: hashlib.md5(content).hexdigest() for name, content in CONTENT.items()}
    monkeypatch.setattr(kodak, "KODAK_FILES", checksums)
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}", requests
    httpd.shutdown()
    httpd.server_close()


def test_download_fetches_only_what_is_missing_or_damaged(tmp_path, server):
    url, requests = server
    (tmp_path / "0.png").write_bytes(CONTENT["0.png"])
    (tmp_path / "1.png").write_bytes(CONTENT["1.png"][:3])  # as an interrupted download leaves it
    kodak.download_kodak(tmp_path, url)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == CONTENT
    assert set(requests) == {"1.png", "2.png"}


def test_wrong_checksum_is_an_error(tmp_path, server, monkeypatch):
    monkeypatch.setitem(kodak.KODAK_FILES, "2.png", "0" * 32)
    with pytest.raises(UserError, match=r"2\.png: download failed"):
        kodak.download_kodak(tmp_path, server[0])


def test_unreachable_address_is_a_one_line_error(tmp_path):
    with pytest.raises(UserError, match=r"download failed .* by hand") as caught:
        kodak.download_kodak(tmp_path, "http://127.0.0.1:9")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.data
def test_checksums_are_those_of_the_images():
    folder = photos("kodak")
    digests = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in kodak.KODAK_FILES}
    assert digests == kodak.KODAK_FILES
    assert len(digests) == 24
