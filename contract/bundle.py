"""A bundle on disk: written whole or not at all, opened only when every hash is right.

    write_bundle("model.trocar", manifest, {"model.onnx": data, "golden.npz": golden})
    bundle = open_bundle("model.trocar")
    bundle.read("golden.npz")

A bundle is a folder: ``manifest.json``, ``model.onnx``, ``golden.npz``, ``parity.json``, for
classifiers the centroids or enrolled classes, and ``engines/``. Files that the manifest does not
list are ignored: a crash during `update_bundle` leaves at worst such a file, never a broken bundle.
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
from trocar.contract.manifest import Manifest, is_safe_name

MANIFEST = "manifest.json"
MODEL = "model.onnx"
GOLDEN = "golden.npz"
PARITY = "parity.json"

Content = bytes | Path
"""A file's bytes, or the path of a file to copy."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were found to be what the manifest says.

    Attributes:
        path: The folder.
        manifest: Its manifest, ``files`` included.
    """

    path: Path
    manifest: Manifest

    @property
    def model(self) -> Path:
        """Path of ``model.onnx``."""
        return self.path / MODEL

    def read(self, name: str) -> bytes:
        """Reads one listed file and checks its hash again.

        Raises:
            BundleError: The manifest does not list it, or it cannot be read.
            IntegrityError: Its hash is not the manifest's.
        """
        digest = self.manifest.files.get(name)
        if digest is None:
            raise BundleError(
                f"{self.path} holds no {name}; it holds {', '.join(sorted(self.manifest.files))}",
                remedy="export the bundle again with what you need",
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
    """Opens a bundle and checks the hash of every file that its manifest lists.

    Raises:
        BundleError: It is no bundle, or a listed file is missing or unreadable.
        IntegrityError: A file's SHA-256 is not the manifest's.
        VersionError: Its schema is of another major version.
    """
    root = Path(path)
    document = root / MANIFEST
    if not document.is_file():
        raise BundleError(
            f"{root} is no Trocar bundle: there is no {MANIFEST} in it",
            remedy="name the folder that `trocar export` wrote",
        )
    try:
        manifest = Manifest.from_json(document.read_bytes(), source=str(document))
    except OSError as error:
        raise BundleError(f"cannot read {document}: {error}", remedy="check the disk") from error
    if MODEL not in manifest.files:
        raise BundleError(f"{document} lists no {MODEL}", remedy="export the bundle again")
    for name, digest in manifest.files.items():
        file = root / name
        if not file.is_file():
            raise BundleError(
                f"{root} is not whole: {name} is missing", remedy="copy or export the bundle again"
            )
        try:
            found = sha256_of(file)
        except OSError as error:
            raise BundleError(
                f"cannot read {file}: {error}", remedy="copy the bundle again"
            ) from error
        if found != digest:
            raise _hash_differs(root, name)
    return Bundle(root, manifest)


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
        files: Content by relative name.
        overwrite: Replace a bundle that is there already (never any other folder).

    Raises:
        OutputExistsError: ``path`` exists and may not be replaced.
        SinkError: The disk is full or not writable; nothing is left behind.
    """
    target = Path(path)
    check_output(target, overwrite=overwrite)
    with replaced_folder(target) as temporary:
        hashes = {name: _place(temporary, name, content) for name, content in files.items()}
        whole = replace(manifest, files=dict(sorted(hashes.items())))
        (temporary / MANIFEST).write_text(whole.to_json(), encoding="utf-8")
    return Bundle(target, whole)


def update_bundle(
    bundle: Bundle,
    *,
    add: Mapping[str, Content] | None = None,
    remove: Iterable[str] = (),
    manifest: Manifest | None = None,
) -> Bundle:
    """Adds and removes files of a bundle so that it is whole at every moment.

    New files are placed first, then the manifest is replaced by one rename, then removed files are
    deleted. So content that changes needs a new name: an added name that the manifest lists with
    another hash is refused.

    Args:
        bundle: The bundle as opened.
        add: Content by relative name.
        remove: Names to take out.
        manifest: The manifest to write instead (its ``files`` are computed); default: as it was.

    Raises:
        BundleError: A name is taken by other content, or leaves the bundle.
        SinkError: The disk is full or not writable; the bundle is as it was.
    """
    gone = set(remove)
    files = {n: h for n, h in bundle.manifest.files.items() if n not in gone}
    placed: list[Path] = []
    try:
        for name, content in (add or {}).items():
            known = bundle.manifest.files.get(name)
            digest = _digest(content)
            if known is not None and known != digest:
                raise BundleError(
                    f"{name} is in {bundle.path} already, with other content",
                    remedy="give the new content a name of its own",
                )
            if known is None:
                placed.append(bundle.path / name)
                _place(bundle.path, name, content)
            files[name] = digest
        whole = replace(manifest or bundle.manifest, files=dict(sorted(files.items())))
        write_atomic(bundle.path / MANIFEST, whole.to_json().encode())
    except OSError as error:
        _unlink(placed)
        raise SinkError(
            f"cannot write into {bundle.path}: {error}", remedy="free space or mend permissions"
        ) from error
    except BaseException:
        _unlink(placed)
        raise
    _unlink(bundle.path / name for name in gone if name not in files)
    return Bundle(bundle.path, whole)


def check_output(target: Path, *, overwrite: bool = False) -> None:
    """Refuses to write over what is there.

    Raises:
        OutputExistsError: ``target`` exists and is no bundle, or may not be replaced.
    """
    if not target.exists():
        return
    if not overwrite:
        raise OutputExistsError(
            f"{target} exists already", remedy="choose another name, or pass --overwrite"
        )
    if not (target / MANIFEST).is_file():
        raise OutputExistsError(
            f"{target} exists and is no Trocar bundle; it is never replaced",
            remedy="choose another name",
        )


@contextlib.contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Gives a temporary folder beside ``target`` that takes its place when the block succeeds.

    On any exception, Ctrl-C included, the temporary folder is removed and ``target`` is as it was.

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
            f"cannot write {target}: {error}", remedy="free space or mend permissions"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name in its folder, flushes it, then renames it.

    Raises:
        OSError: As the system says; the file at ``path`` is then as it was.
    """
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


def _place(root: Path, name: str, content: Content) -> str:
    if not is_safe_name(name):
        raise BundleError(f"{name!r} leaves the bundle", remedy="use a plain relative name")
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
        f"{name} in {root} was changed after export: its SHA-256 is not the manifest's",
        remedy="copy the bundle again from where it was made, or export it again",
    )
