"""A bundle on disk: written completely or not at all, opened only if every hash matches.

    write_bundle("model.trocar", manifest, {"model.onnx": data, "golden.npz": golden})
    bundle = open_bundle("model.trocar")
    bundle.read("golden.npz")

A bundle is a folder with ``manifest.json``, ``model.onnx``, ``golden.npz``, ``parity.json``, for
classifiers the centroids or enrolled classes, and ``engines/``. Files that the manifest does not
list are ignored, and no runtime reads them: a crash during `update_bundle` can leave such a file,
but no broken bundle. The manifest itself is compared with its copies, see
`trocar.contract.integrity.guard`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from trocar.contract.errors import (
    BundleError,
    IntegrityError,
    OutputExistsError,
    SinkError,
)
from trocar.contract.integrity.guard import check_guard, exported_text, with_guard
from trocar.contract.integrity.manifest_hash import manifest_sha256
from trocar.contract.manifest import Manifest, is_safe_name
from trocar.contract.outputs import is_node

MANIFEST = "manifest.json"
MODEL = "model.onnx"
GOLDEN = "golden.npz"
PARITY = "parity.json"

Content = bytes | Path
"""A file's bytes, or the path of a file to copy."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files match the hashes in its manifest.

    Attributes:
        path: The folder.
        manifest: Its manifest, ``files`` included.
        sha256: Hash of ``manifest.json``; covers every file. See `manifest_sha256`.
    """

    path: Path
    manifest: Manifest
    sha256: str = ""

    @property
    def model(self) -> Path:
        """Path of ``model.onnx``."""
        return self.path / MODEL

    def exported(self) -> Manifest | None:
        """The manifest at export, before classes were enrolled; ``None`` without a copy of it.

        Raises:
            BundleError: ``model.onnx`` cannot be read, or its copy is malformed.
        """
        text = exported_text(self.read(MODEL))
        return None if text is None else Manifest.from_json(text, source=str(self.model))

    def read(self, name: str) -> bytes:
        """Reads one listed file and checks the hash of the bytes that it returns.

        Raises:
            BundleError: The manifest does not list it, or it cannot be read.
            IntegrityError: Its hash is not the manifest's.
        """
        digest = self.manifest.files.get(name)
        if digest is None:
            raise BundleError(
                f"{self.path} has no {name}; it has {', '.join(sorted(self.manifest.files))}",
                remedy="name one of these, or export the bundle again with that file",
            )
        if not (self.path / name).is_file():
            raise BundleError(
                f"{self.path} is incomplete: {name} is missing",
                remedy="copy the bundle again from where it was made",
            )
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise BundleError(
                f"cannot read {self.path / name}: {error}", remedy="copy the bundle again"
            ) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise _hash_differs(self.path, name)
        return data


def open_bundle(path: str | Path) -> Bundle:
    """Opens a bundle; checks the hash of every listed file, and the manifest against its copies.

    Raises:
        BundleError: It is not a bundle, a listed file is missing or unreadable, or the manifest
            does not fit the graph.
        IntegrityError: A file's SHA-256 is not the manifest's, or the manifest is not the one that
            was exported.
        VersionError: Its schema is of another major version.
    """
    root = Path(path)
    document = root / MANIFEST
    if not document.is_file():
        raise BundleError(
            f"{root} is not a Trocar bundle: it has no {MANIFEST}",
            remedy="name the folder that `trocar export` wrote",
        )
    try:
        text = document.read_bytes()
        manifest = Manifest.from_json(text, source=str(document))
    except OSError as error:
        raise BundleError(f"cannot read {document}: {error}", remedy="check the disk") from error
    if MODEL not in manifest.files:
        raise BundleError(
            f"{document} lists no {MODEL}", remedy="copy the bundle again, or export it again"
        )
    bundle = Bundle(root, manifest, manifest_sha256(text))
    for name, digest in manifest.files.items():
        if name == MODEL:
            continue
        file = root / name
        if not file.is_file():
            raise BundleError(
                f"{root} is incomplete: {name} is missing",
                remedy="copy the bundle again from where it was made",
            )
        try:
            actual = sha256_of(file)
        except OSError as error:
            raise BundleError(
                f"cannot read {file}: {error}", remedy="copy the bundle again"
            ) from error
        if actual != digest:
            raise _hash_differs(root, name)
    check_guard(text, manifest, bundle.read(MODEL), source=str(root), read=bundle.read)
    return bundle


def write_bundle(
    path: str | Path,
    manifest: Manifest,
    files: Mapping[str, Content],
    *,
    overwrite: bool = False,
) -> Bundle:
    """Writes a bundle into a temporary folder beside ``path``, then renames it.

    Args:
        path: Folder to make; by convention it ends with ``.trocar``.
        manifest: Its ``files`` are replaced by the hashes of what is written.
        files: Content by relative name. ``model.onnx`` gets the manifest's copy and hash in its
            metadata if it does not have them.
        overwrite: Replace a bundle that exists; another folder is never replaced.

    Raises:
        OutputExistsError: ``path`` exists and may not be replaced.
        SinkError: The disk is full or not writable; nothing is left behind.
    """
    target = Path(path)
    check_output(target, overwrite=overwrite)
    with replaced_folder(target) as temporary:
        guarded = dict(files)
        if MODEL in files:
            guarded[MODEL] = with_guard(_bytes_of(files[MODEL]), manifest)
        hashes = {name: _write_content(temporary, name, data) for name, data in guarded.items()}
        complete = replace(manifest, files=dict(sorted(hashes.items())))
        text = complete.to_json()
        (temporary / MANIFEST).write_text(text, encoding="utf-8")
    return Bundle(target, complete, manifest_sha256(text))


def update_bundle(
    bundle: Bundle,
    *,
    add: Mapping[str, Content] | None = None,
    remove: Iterable[str] = (),
    manifest: Manifest | None = None,
) -> Bundle:
    """Adds and removes files of a bundle; the bundle is complete at every moment.

    New files are written first. Then one rename replaces the manifest, and removed files are
    deleted. So changed content needs a new name: a name that the manifest lists with another hash
    is refused.

    Args:
        bundle: The bundle as opened.
        add: Content by relative name.
        remove: Names to take out.
        manifest: The manifest to write instead (its ``files`` are computed); default: as it was.

    Raises:
        BundleError: A name has other content already, or leaves the bundle; or ``manifest`` differs
            from what was exported in more than the classes.
        SinkError: The disk is full or not writable; the bundle is as it was.
    """
    removed = set(remove)
    files = {n: h for n, h in bundle.manifest.files.items() if n not in removed}
    written: list[Path] = []
    try:
        for name, content in (add or {}).items():
            known = bundle.manifest.files.get(name)
            digest = _digest(content)
            if known is not None and known != digest:
                raise BundleError(
                    f"{bundle.path} has {name} already, with other content",
                    remedy="give the new content another name",
                )
            if known is None:
                written.append(bundle.path / name)
                _write_content(bundle.path, name, content)
            files[name] = digest
        complete = replace(manifest or bundle.manifest, files=dict(sorted(files.items())))
        text = complete.to_json()
        updated = Bundle(bundle.path, complete, manifest_sha256(text))
        model = bundle.read(MODEL)
        check_guard(text, complete, model, source=str(bundle.path), read=updated.read)
        write_atomic(bundle.path / MANIFEST, text.encode())
    except OSError as error:
        _unlink(written)
        raise SinkError(
            f"cannot write into {bundle.path}: {error}",
            remedy="free space or correct the permissions",
        ) from error
    except BaseException:
        _unlink(written)
        raise
    _unlink(bundle.path / name for name in removed if name not in files)
    return updated


def check_output(target: Path, *, overwrite: bool = False) -> None:
    """Refuses to replace what exists.

    Raises:
        OutputExistsError: ``target`` exists and is not a bundle, or may not be replaced.
    """
    if not target.exists():
        return
    if not overwrite:
        raise OutputExistsError(
            f"{target} exists already", remedy="choose another name, or pass --overwrite"
        )
    if not ((target / MANIFEST).is_file() and (target / MODEL).is_file()):
        raise OutputExistsError(
            f"{target} exists and is not a Trocar bundle; it is never replaced",
            remedy="choose another name",
        )


@contextlib.contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Gives a temporary folder beside ``target``, and renames it to ``target`` after the block.

    After an exception or Ctrl-C the temporary folder is removed and ``target`` is unchanged.

    Raises:
        SinkError: An ``OSError`` inside the block or on renaming.
    """
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        temporary.chmod(0o755)
        yield temporary
        if target.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            os.replace(target, retired)
            os.replace(temporary, target)
            shutil.rmtree(retired, ignore_errors=True)
        else:
            os.replace(temporary, target)
    except OSError as error:
        raise SinkError(
            f"cannot write {target}: {error}", remedy="free space or correct the permissions"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name in its folder, flushes it, then renames it.

    A link is followed, and the file behind it is replaced. A device or a pipe is written to.

    Raises:
        OSError: As the system says; the file at ``path`` is then as it was.
    """
    if is_node(path):
        with path.open("ab") as node:
            node.write(data)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _digest(content: Content) -> str:
    return sha256_of(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()


def _bytes_of(content: Content) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content


def _write_content(root: Path, name: str, content: Content) -> str:
    if not is_safe_name(name):
        raise BundleError(
            f"{name!r} leaves the bundle, or is not a plain name",
            remedy="use a plain relative name",
        )
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copyfile(content, file)
    else:
        file.write_bytes(content)
    return sha256_of(file)


def _unlink(files: Iterable[Path]) -> None:
    for file in files:
        with contextlib.suppress(OSError):
            file.unlink()


def _hash_differs(root: Path, name: str) -> IntegrityError:
    return IntegrityError(
        f"{name} in {root} differs from what was exported: its SHA-256 is not the manifest's",
        remedy="copy the bundle again from where it was made; if it was edited, export it again",
    )
