"""Checks Python examples: imports, names, attributes and arguments, without running them.

faults_of_code("from trocar.runtime import Session\nSession.open('a.trocar', devise='cpu')")
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import pkgutil
import sys
import types
import typing
from functools import cache
from typing import Any

from places import ROOT

import trocar

_KNOWN = ("numpy", "torch", "cv2", "click", "pathlib", "onnx", "av")
_ALIASES = {"np": "numpy"}


class Unknown:
    """Stands for a value of which nothing is known, such as a free variable of an example."""


UNKNOWN = Unknown()


class Instance:
    """Stands for an object of a known class."""

    def __init__(self, of: Any) -> None:
        self.of = of


@cache
def module_names() -> tuple[str, ...]:
    """Names of all modules of Trocar."""
    found = pkgutil.walk_packages(trocar.__path__, "trocar.", onerror=lambda name: None)
    return tuple(module.name for module in found if ".cpp" not in module.name)


@cache
def load(name: str) -> types.ModuleType | None:
    """A module, or ``None`` where it or a package that it needs is not installed.

    A name that starts with ``benchmarks.`` is a file of that folder; its helpers lie beside it.
    """
    if name.startswith("benchmarks."):
        sys.path.insert(0, str(ROOT / "benchmarks"))
        name = name.removeprefix("benchmarks.")
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


@cache
def public_names() -> dict[str, tuple[Any, ...]]:
    """Functions and classes of all modules, by name, private ones left out."""
    found: dict[str, list[Any]] = {}
    for module in filter(None, map(load, module_names())):
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_"):
                found.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in found.items()}


def faults_of_name(dotted: str) -> list[str]:
    """Whether a dotted name of Trocar is a module, or an attribute of one."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        module = load(".".join(parts[:end])) if ".".join(parts[:end]) in _all_modules() else None
        if module is None:
            continue
        value: Any = module
        for part in parts[end:]:
            value = _attribute(value, part)
            if value is None:
                return [f"{dotted} does not exist"]
        return []
    return [f"{dotted} does not exist"]


@cache
def _all_modules() -> frozenset[str]:
    return frozenset(("trocar", *module_names()))


def faults_of_code(code: str, module: str | None = None) -> list[str]:
    """What is wrong with an example.

    A name is looked up in the example, in the module whose docstring holds it, and among all public
    names of Trocar. A free name that is only used as a value is a placeholder.

    Args:
        code: Python.
        module: Import name of the module whose docstring holds it.
    """
    return Binder(module).run(ast.parse(code))


class Binder:
    """Walks over an example and follows the classes of its values."""

    def __init__(self, module: str | None) -> None:
        self.module = load(module) if module else None
        self.names: dict[str, Any] = {}
        self.faults: list[str] = []

    def run(self, tree: ast.Module) -> list[str]:
        """Checks all statements; gives the faults."""
        for statement in tree.body:
            self.statement(statement)
        return self.faults

    def statement(self, node: ast.stmt) -> None:
        """Checks one statement and what is in it."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imported(alias.name)
                top = alias.asname or alias.name.partition(".")[0]
                self.names[top] = load(alias.name if alias.asname else top) or UNKNOWN
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                bound = alias.asname or alias.name
                self.names[bound] = self.imported(node.module or "", alias.name)
        elif isinstance(node, ast.Assign):
            value = self.value(node.value)
            for target in node.targets:
                self.assign(target, value)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for decorator in node.decorator_list:
                self.value(decorator)
            self.names[node.name] = UNKNOWN
        elif isinstance(node, (ast.With, ast.For)):
            if isinstance(node, ast.For):
                self.value(node.iter)
                self.assign(node.target, UNKNOWN)
            else:
                for item in node.items:
                    value = self.value(item.context_expr)
                    if item.optional_vars is not None:
                        # What a generator of `contextmanager` yields is not known.
                        self.assign(item.optional_vars, value if entered(value) else UNKNOWN)
            for inner in node.body:
                self.statement(inner)
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self.value(child)
                elif isinstance(child, ast.stmt):
                    self.statement(child)

    def imported(self, module: str, name: str = "") -> Any:
        """The imported object; a fault if Trocar has no such module or name."""
        loaded = load(module)
        if module.partition(".")[0] != "trocar":
            return getattr(loaded, name, UNKNOWN) if name else loaded or UNKNOWN
        if loaded is None:
            self.faults.append(f"there is no module {module}")
            return UNKNOWN
        if name and not hasattr(loaded, name):
            below = load(f"{module}.{name}") if f"{module}.{name}" in _all_modules() else None
            if below is None:
                self.faults.append(f"{module} has no {name}")
            return below or UNKNOWN
        return getattr(loaded, name) if name else loaded

    def assign(self, target: ast.expr, value: Any) -> None:
        """Binds a name, or all names of a tuple."""
        if isinstance(target, ast.Name):
            self.names[target.id] = value
        else:
            for node in ast.walk(target):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    self.names[node.id] = UNKNOWN

    def value(self, node: ast.expr) -> Any:
        """What an expression gives; checks every call and attribute in it."""
        if isinstance(node, ast.Name):
            # A free name in small letters is a placeholder, even if some function has that name.
            found = self.lookup(node.id, everywhere=node.id[0].isupper())
            return found[0] if len(found) == 1 else UNKNOWN
        if isinstance(node, ast.Attribute):
            return self.attribute(self.value(node.value), node.attr)
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, (ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp)):
            for generator in node.generators:
                self.value(generator.iter)
                self.assign(generator.target, UNKNOWN)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.value(child)
        return UNKNOWN

    def lookup(self, name: str, *, everywhere: bool = True) -> tuple[Any, ...]:
        """Candidates of a name, among all public names of Trocar too if ``everywhere``."""
        if name in self.names:
            return (self.names[name],)
        if self.module is not None and hasattr(self.module, name):
            return (getattr(self.module, name),)
        if hasattr(builtins, name):
            return (getattr(builtins, name),)
        if name in _ALIASES or name in _KNOWN:
            return (load(_ALIASES.get(name, name)) or UNKNOWN,)
        if name == "Path":
            return (load("pathlib").Path,)  # type: ignore[union-attr]
        return public_names().get(name, ()) if everywhere else ()

    def attribute(self, owner: Any, name: str) -> Any:
        """An attribute of a value; a fault if a class or module of Trocar has none."""
        if isinstance(owner, Unknown):
            return UNKNOWN
        of = owner.of if isinstance(owner, Instance) else owner
        if not ours(of):
            return UNKNOWN
        found = _attribute(of, name)
        if found is None:
            self.faults.append(f"{getattr(of, '__name__', of)} has no {name}")
            return UNKNOWN
        if isinstance(owner, Instance):
            return member(of, name)
        return found

    def call(self, node: ast.Call) -> Any:
        """Binds the arguments of a call to the signature; gives what the call returns."""
        for argument in (*node.args, *(word.value for word in node.keywords)):
            self.value(argument)
        if isinstance(node.func, ast.Name):
            candidates = self.lookup(node.func.id)
            if not candidates:
                self.faults.append(f"{node.func.id}() does not exist")
                return UNKNOWN
        else:
            candidates = (self.value(node.func),)
        faults = []
        for function in candidates:
            fault = fault_of_call(function, node)
            if fault is None:
                return returned(function)
            faults.append(fault)
        self.faults.append(faults[0])
        return UNKNOWN


def ours(value: Any) -> bool:
    """Whether a module, class or function is of Trocar or of its benchmarks."""
    name = getattr(value, "__module__", None) or getattr(value, "__name__", "")
    module = sys.modules.get(str(name))
    file = getattr(module, "__file__", None) or ""
    return str(name).startswith("trocar") or file.startswith(str(ROOT / "benchmarks"))


class Method:
    """A function of a class, called on an object."""

    def __init__(self, function: Any) -> None:
        self.function = function


def entered(value: Any) -> bool:
    """Whether a value is an object that gives itself in ``with``, as far as one can see."""
    return isinstance(value, Instance) and hasattr(value.of, "__enter__")


def fault_of_call(function: Any, node: ast.Call) -> str | None:
    """Why a call does not bind; ``None`` where it does, or where nothing is known."""
    method = isinstance(function, Method)
    target = function.function if method else function
    if isinstance(target, (Unknown, Instance)) or not callable(target):
        return None
    if not ours(target):
        return None
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return None
    if any(isinstance(a, ast.Starred) for a in node.args) or any(
        word.arg is None for word in node.keywords
    ):
        return None
    partial = any(isinstance(a, ast.Constant) and a.value is ... for a in node.args)
    positional = [UNKNOWN] * (len(node.args) + method)
    bind = signature.bind_partial if partial else signature.bind
    try:
        bind(*positional, **{word.arg: UNKNOWN for word in node.keywords if word.arg})
    except TypeError as error:
        return f"{getattr(target, '__qualname__', target)}{signature}: {error}"
    return None


def returned(function: Any) -> Any:
    """What a call gives, by the annotations."""
    function = function.function if isinstance(function, Method) else function
    if inspect.isclass(function):
        return Instance(function)
    return _of_annotation(_hints(function).get("return"), function)


def member(owner: type, name: str) -> Any:
    """An attribute of an object of a class, by the annotations."""
    static = inspect.getattr_static(owner, name, None)
    if isinstance(static, property):
        return _of_annotation(_hints(static.fget).get("return"), owner)
    if inspect.isfunction(static):
        return Method(static)
    if isinstance(static, (classmethod, staticmethod)):
        return getattr(owner, name)
    return _of_annotation(_hints(owner).get(name), owner)


def _hints(value: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(value) if callable(value) else value)
    except Exception:  # names that are imported for type checkers alone
        return {}


def _of_annotation(hint: Any, owner: Any) -> Any:
    wrapped = hasattr(owner, "__wrapped__")
    return Instance(hint) if inspect.isclass(hint) and ours(hint) and not wrapped else UNKNOWN


def _attribute(owner: Any, name: str) -> Any:
    """An attribute, or the name itself where objects of the class get it when they are made."""
    found = inspect.getattr_static(owner, name, None)
    if found is not None:
        return getattr(owner, name, found)
    if hasattr(owner, name):
        return getattr(owner, name) or name
    if not inspect.isclass(owner):
        return None
    for base in owner.__mro__:
        if name in getattr(base, "__annotations__", {}):
            return name
        try:
            source = inspect.getsource(base) if base.__module__.startswith("trocar") else ""
        except OSError:
            source = ""
        if f"self.{name}" in source:
            return name
    return name if hasattr(owner, "__getattr__") else None
