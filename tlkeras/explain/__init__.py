"""Explanations: which part of an input speaks for an answer. One file per method; the job is `tlkeras.jobs.explain`.

The package has the name of the function `tlkeras.explain`, so it can be called like it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A package that is called as the function of its name: once it is imported, it hides that attribute of `tlkeras`."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        import tlkeras

        return tlkeras.__getattr__("explain")(*arguments, **settings)


sys.modules[__name__].__class__ = _Callable
