"""Compiled functions kept as machine code: the next process runs them without loading numba.

In:  functions of numbers and named tuples of arrays, the modules that their code stands in.
Out: `part`, `Whole`: the same as machine code, made by numba (extra `fast`) the first time.
Left out: what they do.

numba and what it keeps itself take 0.8 s of CPU to load, machine code from the cache folder a tenth
of it: llvmlite, which comes with numba, puts it into memory. That works for functions that make no
arrays and raise no errors, as their code calls nothing outside of itself.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rackmodel import shipped

Work = TypeVar("Work", bound=Callable[..., Any])
SAME = {"nogil": True, "error_model": "numpy"}
ALONE = {  # no arrays are made, no errors raised, only compiled functions call
    **SAME,
    "_nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
DIGITS = 16  # of the digest of sources
MOST_VERSIONS = 8  # of a function's sources, for one kind of processor, are kept


class UnknownCalls(Exception):
    """This numba hands on arguments in another way than `_flat`, or calls something outside."""


_parts: list[Callable[..., Any]] = []  # that numba has not heard of yet
_loaded: list[object] = []  # code lives as long as the engine that has loaded it


def part(work: Work) -> Work:
    """Note a function that compiled ones call; by itself it stays Python."""
    _parts.append(work)
    return work


class Whole:
    """A function that is compiled with all its parts and kept; it returns a whole number.

    modules : the names of those that its code stands in. It takes arrays (C-contiguous), numbers
    and named tuples of them, of the same types at each call.
    """

    def __init__(self, work: Callable[..., int], modules: Sequence[str]) -> None:
        self.work, self.modules = work, modules
        self._run: Callable[..., int] | None = None
        self._by_numba: Callable[..., int] | None = None  # where its calls are not known here
        self._types: tuple[Any, ...] = ()

    def __call__(self, *given: Any) -> int:
        """Run it."""
        return self.on(*given)()

    def on(self, *given: Any) -> Callable[[], int]:
        """Return it with what it is given, to be run again and again on the same arrays."""
        leaves = list(_leaves(given))
        types = tuple(_type_of(leaf) for leaf in leaves)
        if not self.is_loaded:
            self._run, self._types = self._kept(types) or self._made(types, given), types
        if types != self._types:
            raise TypeError(f"{self.work.__name__} was compiled for other types of arguments")
        if self._run is None:
            assert self._by_numba is not None
            return partial(self._by_numba, *given)
        run, flat = self._run, [number for leaf in leaves for number in _flat(leaf)]
        result = ctypes.c_int64()

        def again() -> int:
            run(ctypes.byref(result), None, *flat)
            return result.value

        return again

    @property
    def is_loaded(self) -> bool:
        """Return whether it has run in this process."""
        return self._run is not None or self._by_numba is not None

    def is_kept(self) -> bool:
        """Return whether machine code of these sources is there for this kind of processor."""
        folder, stem = shipped.folder(), self._stem
        if folder is None or not any(folder.glob(f"{stem}-*.o")):
            return False  # seen without loading llvmlite
        return shipped.unchanged(folder / f"{stem}-{_processor()}.o") is not None

    @cached_property
    def _stem(self) -> str:
        """The name of its file as far as it hangs on the sources."""
        content = hashlib.sha256()
        for name in (__name__, *self.modules):
            spec = find_spec(name)
            assert spec is not None
            content.update(Path(str(spec.origin)).read_bytes())
        return f"{self.work.__name__}-{content.hexdigest()[:DIGITS]}"

    def _kept(self, types: Sequence[Any]) -> Callable[..., int] | None:
        """Load it from the cache folder, if it is there for such types."""
        folder = shipped.folder()
        if folder is None:
            return None
        path = folder / f"{self._stem}-{_processor()}.o"
        content = shipped.unchanged(path)
        if content is not None:
            with suppress(OSError):
                os.utime(path)  # one that is in use is not among the oldest
        header, _, code = (content or b"").partition(b"\n")
        symbol, _, made_for = header.decode().partition(" ")
        return _call_of(symbol, code, types) if made_for == _words(types) else None

    def _made(self, types: Sequence[Any], given: Sequence[Any]) -> Callable[..., int] | None:
        """Compile it, and keep it where that can be; None where only numba can call it."""
        if sys.stderr.isatty():  # it takes half a minute
            print(f"rackmodel: compiling {self.work.__name__}, once", file=sys.stderr)
        try:
            symbol, code = _compiled(self.work, types, given)
        except (UnknownCalls, KeyError):  # KeyError: of options. Slower to load, the same numbers
            self._by_numba = _jitted(self.work, **SAME)
            return None
        if (folder := shipped.folder()) is not None:
            content = f"{symbol} {_words(types)}\n".encode() + code
            processor = _processor()
            shipped.keep(folder / f"{self._stem}-{processor}.o", content)
            versions = f"{self.work.__name__}-{'?' * DIGITS}-{processor}.o"
            shipped.keep_newest(folder.glob(versions), MOST_VERSIONS)
        return _call_of(symbol, code, types)


def _leaves(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple):
            yield from _leaves(value)
        else:
            yield value


def _type_of(leaf: Any) -> Any:
    """Return what tells apart how a value is handed on: a number's type, an array's and axes."""
    return (leaf.dtype.str, leaf.ndim) if isinstance(leaf, np.ndarray) else type(leaf)


def _words(types: Sequence[Any]) -> str:
    return " ".join(
        f"{one[0]}:{one[1]}" if isinstance(one, tuple) else one.__name__ for one in types
    )


def _c_types(one: Any) -> list[Any]:
    """Return the C types of a value: an array is owner, parent, size, item size, data, shape and
    strides.
    """
    if isinstance(one, tuple):
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        return [pointer, pointer, number, number, pointer, *[number] * 2 * one[1]]
    return [ctypes.c_double if one is float else ctypes.c_int64]


def _flat(leaf: Any) -> list[Any]:
    """Return a value as C takes it; who holds it keeps the array."""
    if not isinstance(leaf, np.ndarray):
        return [leaf]
    if not leaf.flags.c_contiguous:
        raise TypeError("compiled code takes C-contiguous arrays")
    return [None, None, leaf.size, leaf.itemsize, leaf.ctypes.data, *leaf.shape, *leaf.strides]


def _compiled(
    work: Callable[..., int], types: Sequence[Any], given: Sequence[Any]
) -> tuple[str, bytes]:
    """Return the symbol and the object file of a function, with all parts of it."""
    import llvmlite.binding as llvm
    import numba

    made = _jitted(work, **ALONE)
    made.compile(tuple(map(numba.typeof, given)))
    (signature,) = made.signatures
    symbol: str = made.overloads[signature].fndesc.llvm_func_name
    module = llvm.parse_assembly(made.inspect_llvm(signature))
    found = [str(one.type) for one in module.get_function(symbol).arguments]
    names = {ctypes.c_void_p: "ptr", ctypes.c_int64: "i64", ctypes.c_double: "double"}
    wanted = ["ptr", "ptr", *(names[each] for one in types for each in _c_types(one))]
    outside = [f.name for f in module.functions if f.is_declaration and f.name[:5] != "llvm."]
    if found != wanted or outside:
        raise UnknownCalls
    return symbol, _target().emit_object(module)


def _jitted(work: Callable[..., int], **options: Any) -> Any:
    """Return what numba makes of a function, with all parts of it."""
    import numba
    from numba.extending import register_jitable

    for one in _parts:
        register_jitable(**ALONE)(one)
    _parts.clear()
    njit: Any = numba.njit  # its types know fewer options than it has
    return njit(**options)(work)


def _target() -> Any:
    """Return LLVM's description of this processor."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="default",
        codemodel="jitdefault",
        jit=True,
    )


def _processor() -> str:
    """Return a word for the kind of processor that code is made for."""
    import llvmlite.binding as llvm

    facts = (
        llvm.get_process_triple(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    )
    return hashlib.sha256(" ".join(facts).encode()).hexdigest()[:16]


def _call_of(symbol: str, code: bytes, types: Sequence[Any]) -> Callable[..., int]:
    """Return the function of an object file."""
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _loaded.append(engine)
    arguments = [ctypes.c_void_p] * 2 + [each for one in types for each in _c_types(one)]
    made = ctypes.CFUNCTYPE(ctypes.c_int32, *arguments)
    return made(engine.get_function_address(symbol))
