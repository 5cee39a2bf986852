"""Print where libtrocar is, for building programs in C and C++.

trocar config --cmake-dir        # for cmake -Dtrocar_DIR=…
"""

from __future__ import annotations

import click


@click.command()
@click.option("--cmake-dir", is_flag=True, help="Folder of the CMake package: for trocar_DIR.")
@click.option("--include", is_flag=True, help="Folder of the headers.")
@click.option("--library", is_flag=True, help="The shared library.")
@click.option("--pkg-config", is_flag=True, help="Folder of trocar.pc: for PKG_CONFIG_PATH.")
def config(cmake_dir: bool, include: bool, library: bool, pkg_config: bool) -> None:
    """Prints where the libtrocar of this installation is: one line for each option, or all.

    Wheels for Linux contain it. Exit code 10 if this installation has none, 9 if it is for another
    machine.
    """
    from trocar.native_library import find_native

    native = find_native()
    wanted = {
        "cmake-dir": (cmake_dir, native.cmake_dir),
        "include": (include, native.include),
        "library": (library, native.library),
        "pkg-config": (pkg_config, native.pkg_config),
    }
    chosen = [path for is_wanted, path in wanted.values() if is_wanted]
    for path in chosen:
        click.echo(path)
    if not chosen:
        for name, (_, path) in wanted.items():
            click.echo(f"{name:<11}{path}")
