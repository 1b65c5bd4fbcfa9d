"""Memory asked for before it is needed, from compiled code: a hint to the processor that changes no result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy import ndarray

CACHE_LINE = 16
"""float32 numbers that come from memory together."""


def _hint(typing_context: Any, array: Any, at: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.gep(data, [arguments[1]])
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(hint, [place, number(0), number(2), number(1)])  # to read, some locality, data
        return context.get_dummy_value()

    return types.void(array, at), emit


ask_for = cast("Callable[[ndarray, int], None]", intrinsic(_hint))
"""`ask_for(array, at)` has the neighbourhood of `array[at]` fetched into the second-level cache; any position is safe."""
