import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from lightning_codec import weights
from lightning_codec.errors import UserError
from lightning_codec.weights import (
    FILES,
    WeightFile,
    fetch,
    find,
    folders,
    is_intact,
    load_weights,
    named,
    require,
    sha256_prefix,
)
from tests.trunks import Payload, use_weights

CONTENT = b"weights of a network" * 5000
DIGITS = hashlib.sha256(CONTENT).hexdigest()


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder; says nothing; of `cut-...` it promises more than it sends."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if not self.path.startswith("/cut-"):
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:-7])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files are fetched to."""
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    return tmp_path / "weights"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Address of a server on this machine that has the small file, whole and damaged."""
    root = tmp_path / "served"
    root.mkdir()
    (root / f"small-{DIGITS[:8]}.pth").write_bytes(CONTENT)
    (root / f"damaged-{DIGITS[:8]}.pth").write_bytes(CONTENT.replace(b"network", b"netwark", 1))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root))) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def small(address: str, stem: str = "small") -> WeightFile:
    return WeightFile("small", f"{address}/{stem}-{DIGITS[:8]}.pth", 1, "a test", "none")


def test_the_known_files_carry_their_hashes() -> None:
    prefixes = {file.name: sha256_prefix(file.file) for file in FILES}
    assert prefixes == {"alexnet": "7be5be79", "vgg16": "397923af", "inception": "6726825d"}
    assert all(file.url.startswith("https://") and file.url.endswith(f"/{file.file}") for file in FILES)
    with pytest.raises(ValueError, match="8 hexadecimal digits"):
        sha256_prefix("model.pth")


def test_named_gives_all_or_those_and_refuses_others() -> None:
    assert named([]) == list(FILES)
    assert [file.name for file in named(["inception", "alexnet"])] == ["inception", "alexnet"]
    with pytest.raises(UserError, match=r"'vgg': the known ones are alexnet, vgg16, inception$"):
        named(["vgg"])


def test_the_own_folder_is_searched_before_torch_hubs(folder: Path, tmp_path: Path, monkeypatch) -> None:
    file = small("http://none")
    hub = tmp_path / "hub" / "hub" / "checkpoints"
    assert folders() == [folder, hub]
    assert find(file.file) is None
    for place in (hub, folder):
        place.mkdir(parents=True)
        (place / file.file).write_bytes(CONTENT)
        assert find(file.file) == place / file.file
    monkeypatch.delenv(weights.FOLDER_VARIABLE)
    assert folders() == [hub]
    assert find(file.file) == hub / file.file


def test_a_file_is_fetched_checked_and_renamed(folder: Path, server: str) -> None:
    file = small(server)
    path = fetch(file, progress=False)
    assert path == folder / file.file
    assert path.read_bytes() == CONTENT
    assert is_intact(path)
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("stem", ["damaged", "cut"])
def test_a_damaged_download_is_refused_and_nothing_is_left(stem: str, folder: Path, server: str) -> None:
    with pytest.raises(UserError, match=rf"^{server}/{stem}.*damaged .*fetch it again"):
        fetch(small(server, stem), progress=False)
    assert list(folder.iterdir()) == []


def test_a_damaged_download_does_not_replace_a_file(folder: Path, server: str) -> None:
    file = small(server, "damaged")
    folder.mkdir()
    (folder / file.file).write_bytes(CONTENT)
    with pytest.raises(UserError, match="damaged"):
        fetch(file, progress=False)
    assert (folder / file.file).read_bytes() == CONTENT


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "file:///nowhere"])
def test_what_cannot_be_reached_is_an_error_of_one_line(address: str, folder: Path) -> None:
    with pytest.raises(UserError, match=rf"^{address}/small.*: cannot be fetched to {folder}") as caught:
        fetch(small(address), progress=False)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


def test_an_interrupted_download_leaves_no_file(folder: Path, server: str, monkeypatch) -> None:
    seen: list[list[str]] = []

    class Interrupting:
        """In place of the progress bar, which is told of every block."""

        def __init__(self, **_: object) -> None:
            pass

        def __enter__(self) -> "Interrupting":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, _: int) -> None:
            seen.append([path.name for path in folder.iterdir()])
            raise KeyboardInterrupt

    monkeypatch.setattr(torch.hub, "tqdm", Interrupting)
    file = small(server)
    with pytest.raises(KeyboardInterrupt):
        fetch(file, progress=True)
    assert len(seen[0]) == 1
    assert file.file not in seen[0]
    assert list(folder.iterdir()) == []


def test_what_is_absent_names_the_folders_and_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_weights(monkeypatch, tmp_path)
    with pytest.raises(UserError) as caught:
        require("vgg16", "DISTS")
    hub = tmp_path / "no_hub" / "hub" / "checkpoints"
    assert str(caught.value) == (
        f"DISTS: vgg16-397923af.pth is neither in {tmp_path} nor in {hub}; "
        "fetch it where there is a network with: lightning-codec weights fetch vgg16"
    )


def test_tensors_are_read_and_nothing_else_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_weights(monkeypatch, tmp_path)
    path = tmp_path / "alexnet-owt-7be5be79.pth"
    torch.save({"a": torch.arange(3), "version": 4}, path)
    assert {name: value.tolist() for name, value in load_weights("alexnet", "LPIPS").items()} == {"a": [0, 1, 2]}
    whole = path.read_bytes()
    trace = tmp_path / "trace"
    wrong: list[object] = [whole[:100], b"", [torch.zeros(1)], {"a": torch.zeros(1), "b": Payload(trace)}]
    for content in wrong:
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with pytest.raises(UserError, match=rf"^LPIPS: {path} is damaged or no file of weights .*verify alexnet$"):
            load_weights("alexnet", "LPIPS")
    assert not trace.exists()
